"""Measure how long an update of a recipe takes on this machine: real updates, on random audio."""

import itertools
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sori.core import distributed
from sori.core.audio import SAMPLE_RATE
from sori.core.precision import Precision, chosen
from sori.core.seeds import Rng, derive
from sori.core.shapes import Float, Tensor
from sori.data.batches.loader import CropBatches, TextBatches
from sori.data.manifest import Utterance
from sori.experiments.planning.frozen_batches import FrozenBatches
from sori.models import factory
from sori.models.vq_wav2vec import VqWav2Vec
from sori.models.wav2vec2 import Wav2Vec2
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe
from sori.text.vocabulary import BLANK, Vocabulary
from sori.training.optim import make_optimizer, scale_and_clip, set_lr
from sori.training.schedule import factor

MOST_SECONDS = 50.0
"""Longest calibration of one recipe."""
LEAST_UPDATES = 3
_WARM_UP = 2
"""Updates before the clock starts: the first ones allocate memory and choose kernels."""
_NUM_UTTERANCES, _MOST_UTTERANCES = 400, 5000
_MEDIAN_SECONDS = 8.0
"""Median length of the random utterances, with which the crops of a batch have plausible lengths."""
_LONGEST_SECONDS, _LONGEST_LABELLED_SECONDS = 30.0, 15.0
_LETTERS_PER_SECOND = 14
_TYPICAL_BATCHES = 300
"""Batches of whole utterances whose mean length is that of all."""
_CODEBOOK_SECONDS = 15 * 60.0
"""Audio from which a codebook is started (`runs/tasks/pretraining.py`)."""


class Measured(NamedTuple):
    """What updates of a recipe take on this machine."""

    seconds_per_update: float
    """Elapsed time; other programs that compute at the same time count."""
    cpu_seconds_per_update: float
    """Processor time of this process."""
    audio_seconds_per_update: float
    start_seconds: float
    """Time from the start of a run to its first update, without reading the audio."""
    start_cpu_seconds: float
    num_updates: int
    peak_gib: float
    """Memory: of the process on a CPU, of the device on a GPU."""
    device: str
    precision: str
    frozen_seconds: float = 0.0
    """Elapsed time to compute the frozen blocks of a second of audio, where the recipe does so once (`cache_frozen`);
    it is not in the time of an update."""
    frozen_cpu_seconds: float = 0.0
    """Processor time of the same."""


def calibrate(
    recipe: SpeechRecipe | RecogniserRecipe,
    encoder: Any,
    *,
    seconds: float = 20.0,
    lengths: Sequence[float] = (),
    seed: int = 0,
) -> Measured:
    """Update a model of a recipe as the training loop does, on random audio.

    Args:
        recipe: what to train; its micro-batches are those of one process.
        encoder: settings of the encoder, for a recogniser.
        seconds: time to spend, at most `MOST_SECONDS`; slow recipes take longer, for `LEAST_UPDATES`.
        lengths: seconds of each utterance that it will be trained on, which decide how well they fill a batch; none:
            plausible ones.
        seed: seed of the audio.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    device = distributed.device()
    torch.manual_seed(seed)
    most = _LONGEST_SECONDS if isinstance(recipe, SpeechRecipe) else _LONGEST_LABELLED_SECONDS
    utterances = _utterances(lengths, seed, most=most)
    batches, system = (
        _pretraining(recipe, utterances, seed)
        if isinstance(recipe, SpeechRecipe)
        else _tuning(recipe, encoder, utterances, seed)
    )
    precision = chosen(recipe.train.precision, device)
    typical = _audio_per_update(batches, recipe.train.num_accumulate) if isinstance(batches, TextBatches) else None
    once = None
    if isinstance(recipe, RecogniserRecipe) and recipe.cache_frozen:
        batches = once = FrozenBatches(batches, system, device, precision)
    step = _Update(recipe, system.to(device).train(), batches, device, precision)
    start_seconds, start_cpu = time.perf_counter() - began, time.process_time() - cpu_began
    for number in range(_WARM_UP):
        step(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    if once is not None:
        once.reset()
    elapsed, cpu, audio, count = _timed(step, seconds)
    frozen = (0.0, 0.0)
    if once is not None:
        elapsed, cpu = elapsed - once.seconds, cpu - once.cpu_seconds
        frozen = once.seconds / once.audio_seconds, once.cpu_seconds / once.audio_seconds
    # Whole utterances fill some batches better than others; few updates may have more or less audio than most have.
    part = 1 / count if typical is None else typical / audio
    return Measured(
        elapsed * part,
        cpu * part,
        audio * part,
        start_seconds,
        start_cpu,
        count,
        _peak_gib(device),
        torch.cuda.get_device_name() if device.type == "cuda" else f"this CPU, {torch.get_num_threads()} threads",
        precision,
        *frozen,
    )


def _timed(step: "_Update", seconds: float) -> tuple[float, float, float, int]:
    """Return elapsed time, processor time, seconds of audio and number of updates, at least `LEAST_UPDATES`."""
    number, audio = _WARM_UP, 0.0
    began, cpu_began = time.perf_counter(), time.process_time()
    while number < _WARM_UP + LEAST_UPDATES or time.perf_counter() - began < min(seconds, MOST_SECONDS):
        audio += step(number)
        number += 1
    if step.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - cpu_began, audio, number - _WARM_UP


class _Update:
    """Updates of the weights, with everything that the training loop does in each of them."""

    def __init__(
        self,
        recipe: SpeechRecipe | RecogniserRecipe,
        system: Any,
        batches: Any,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.recipe, self.system, self.batches, self.device = recipe, system, batches, device
        self.precision = precision
        lr_factors: dict[str, float] = getattr(system, "lr_factors", dict)()
        self.optimizer = make_optimizer(system, recipe.optim, lr_factors=lr_factors)

    def __call__(self, number: int) -> float:
        """Run update `number`, and return its seconds of audio."""
        recipe, accumulate = self.recipe, self.recipe.train.num_accumulate
        seconds, count = 0.0, 0.0
        for part in range(accumulate):
            batch = self.batches[number * accumulate + part]
            seconds += batch.seconds
            torch.manual_seed(derive(recipe.train.seed, number, part, "dropout"))
            rng = Rng(recipe.train.seed, number, part, self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                loss = self.system.loss(batch.to(self.device), step=number, rng=rng)
            loss.total.backward()
            count += float(loss.count)
        scale_and_clip(self.system, scale=1 / max(count, 1.0), max_norm=recipe.optim.max_norm)
        set_lr(self.optimizer, recipe.optim.lr * factor(recipe.schedule, number, recipe.train.num_steps))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return seconds


def _pretraining(recipe: SpeechRecipe, utterances: list[Utterance], seed: int) -> tuple[Any, Any]:
    batches = CropBatches(utterances, recipe.data, seed=seed, reader=_noise)
    system: Any = factory.build(recipe.system)
    if (isinstance(system, Wav2Vec2) and system.targets is not None) or (
        isinstance(system, VqWav2Vec) and system.config.start_sharpness
    ):
        system.start_codebook(_first(batches), Rng(seed))
    return batches, system


def _first(batches: CropBatches) -> Iterator[Any]:
    seconds = 0.0
    for index in itertools.count():
        batch = batches[index]
        yield batch
        seconds += batch.seconds
        if seconds > _CODEBOOK_SECONDS:
            return


def _tuning(recipe: RecogniserRecipe, encoder: Any, utterances: list[Utterance], seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    symbols = (BLANK, "|", *"abcdefghijklmnopqrstuvwxyz'")
    labels = [
        rng.integers(1, len(symbols), max(1, int(one.duration_seconds * _LETTERS_PER_SECOND))).tolist()
        for one in utterances
    ]
    batches = TextBatches(utterances, labels, recipe.data, seed=seed, reader=_noise)
    changed = encoder.model_copy(
        update={name: value for name, value in recipe.encoder_changes.items() if name in type(encoder).model_fields}
    )
    return batches, factory.build(recipe.system, encoder=changed, vocabulary=Vocabulary(symbols=symbols))


def _audio_per_update(batches: TextBatches, accumulate: int) -> float:
    """Return the mean seconds of audio of an update."""
    samples = [int(batches.num_samples[batches.rows(index)].sum()) for index in range(_TYPICAL_BATCHES)]
    return accumulate * float(np.mean(samples)) / SAMPLE_RATE


def _utterances(lengths: Sequence[float], seed: int, *, most: float) -> list[Utterance]:
    """Return utterances of given lengths, or as in read and in spontaneous speech that was cut at silences."""
    rng = np.random.default_rng(seed)
    if len(lengths):
        seconds = rng.choice(np.asarray(lengths), min(len(lengths), _MOST_UTTERANCES), replace=False)
    else:
        seconds = np.clip(_MEDIAN_SECONDS * np.exp(0.5 * rng.standard_normal(_NUM_UTTERANCES)), 2.0, most)
    return [
        Utterance(f"{number}", "", 0.0, int(length * SAMPLE_RATE), None, None, "und", None)
        for number, length in enumerate(seconds)
    ]


def _noise(row: int, first: int, num_samples: int) -> Float[Tensor, " sample"]:
    """Return quiet noise; see `loader.Reader`."""
    return 0.05 * torch.randn(num_samples, generator=torch.Generator().manual_seed(row * 1_000_003 + first))


def _peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def free_gib(device: torch.device) -> float | None:
    """Return the memory that a run could take on this machine, or None if the system does not state it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info()[1] / 2**30
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) / 2**20
