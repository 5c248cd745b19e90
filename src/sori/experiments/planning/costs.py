"""What an update of a recipe costs on a device: measured here, recorded, or estimated from its maker's figures."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from sori.core import distributed
from sori.core.counts import require_count
from sori.experiments.planning.calibration import calibrate, free_gib
from sori.experiments.planning.gpu_estimates import (
    FRACTION_OF_PEAK,
    GPUS,
    SCALING,
    memory_gib,
    size_of,
    update_seconds,
)
from sori.experiments.planning.recorded import speed_of_gpu
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe

Planned = SpeechRecipe | RecogniserRecipe
HERE = "here"
_MOST_DEVICES = 4096
_CPU_LIMIT_TERAFLOPS = 2.0
"""More than any CPU is expected to do with sori: recipes that are too slow even at this rate are not measured."""


class Cost(NamedTuple):
    """What updates cost, with the micro-batches of the recipe."""

    seconds_per_update: float
    cpu_seconds_per_update: float | None
    """None: not measured."""
    audio_seconds_per_update: float
    """Sum over all devices."""
    start_seconds: float
    gib: float
    """Memory in use on each device."""
    limit_gib: float
    """Memory of a device."""
    based_on: str
    frozen_seconds: float = 0.0
    """Time to compute the frozen blocks of a second of audio, where this is done once, before the first update."""
    frozen_cpu_seconds: float = 0.0
    """Processor time of the same."""


class Device:
    """A kind of device, and how many of them.

    Args:
        name: `here`, or a GPU of `gpu_estimates.GPUS`.
        number: how many.
        seconds: time for each measurement, on this machine.
        lengths: seconds of each utterance; none: plausible ones.

    Raises:
        ValueError: an unknown name, or several devices where there is one.
    """

    def __init__(self, name: str, number: int, seconds: float, lengths: Sequence[float] = ()) -> None:
        require_count("devices", number, most=_MOST_DEVICES)
        self.name, self.number = name.lower().replace(" ", ""), number
        self.seconds, self.lengths = seconds, lengths
        if self.name != HERE and self.name not in GPUS:
            raise ValueError(f"expected a device of here, {', '.join(GPUS)}, got {name!r}; here measures this machine")
        if self.name == HERE and number > 1:
            raise ValueError(
                f"expected devices=1 with device here, got {number}: one process is measured, and how several of them "
                "share this machine is not; plan with one, or name the GPU"
            )

    @property
    def is_cpu(self) -> bool:
        """Whether this is the processor of this machine."""
        return self.name == HERE and distributed.device().type == "cpu"

    def cost(self, recipe: Planned, encoder: Any, used: int) -> Cost:
        """Return what updates of a recipe cost.

        Args:
            recipe: with the micro-batches and the accumulation of each process.
            encoder: settings of the encoder that is trained.
            used: number of devices among which an update is divided.
        """
        if self.name == HERE:
            return self._measured(recipe, encoder)
        return self._on_gpu(recipe, encoder, used)

    def is_hopeless(self, encoder: Any, *, hours: float, seconds: float) -> bool:
        """Return whether even an optimistic estimate is too slow to process some hours of audio."""
        if not self.is_cpu or not hours:
            return False
        return size_of(encoder, 10.0).flops_per_second * hours * 3600 > _CPU_LIMIT_TERAFLOPS * 1e12 * seconds

    def _measured(self, recipe: Planned, encoder: Any) -> Cost:
        found = calibrate(recipe, encoder, seconds=self.seconds, lengths=self.lengths)
        free = free_gib(distributed.device())
        text = (
            f"measured: {found.num_updates} updates on random audio, {found.device}, {found.precision}, "
            f"{100 * found.cpu_seconds_per_update / found.seconds_per_update:.0f} % of a processor while measuring"
        )
        return Cost(
            found.seconds_per_update,
            found.cpu_seconds_per_update,
            found.audio_seconds_per_update,
            found.start_seconds,
            found.peak_gib,
            math.inf if free is None else free + found.peak_gib,
            text,
            found.frozen_seconds,
            found.frozen_cpu_seconds,
        )

    def _on_gpu(self, recipe: Planned, encoder: Any, used: int) -> Cost:
        if isinstance(recipe, RecogniserRecipe) and recipe.system.frozen_blocks:
            raise ValueError(
                f"expected device here for {recipe.name}, got {self.name}: operations of models with frozen blocks are "
                "not counted, so that they can only be measured; use --device here on the machine with the GPU"
            )
        gpu, accumulate, batch = GPUS[self.name], recipe.train.num_accumulate, recipe.data.batch_seconds
        size = size_of(encoder, min(recipe.data.max_crop_seconds, batch))
        seconds = update_seconds(size, gpu, batch_seconds=batch, accumulate=accumulate, devices=used)
        gib = memory_gib(size, batch)
        text = (
            f"ESTIMATED, nothing was recorded on this GPU: {100 * FRACTION_OF_PEAK:.0f} % of the "
            f"{gpu.peak_teraflops:g} TFLOP/s that its maker states"
            + (f", {100 * SCALING:.0f} % of it with several devices" if used > 1 else "")
        )
        if (known := speed_of_gpu(self.name, recipe.name)) is not None:
            seconds = batch * accumulate / known["hours_per_hour"] / (SCALING if used > 1 else 1.0)
            gib, text = known["gib"], f"recorded on this GPU (`{known['command']}`)"
        return Cost(seconds, None, batch * accumulate * used, 120.0, gib, gpu.gib, text)
