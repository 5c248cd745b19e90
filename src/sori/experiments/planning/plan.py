"""Plan training: from hours, device and deadline to recipe, settings, time, memory and disk (`sori plan`)."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from sori import recipes
from sori.core.counts import require_amount
from sori.data.manifest import read_manifest
from sori.experiments.planning import disk
from sori.experiments.planning.costs import HERE, Cost, Device, Planned
from sori.experiments.planning.recorded import similar_runs
from sori.experiments.planning.stage import Stage, TrainingPlan, duration
from sori.recipes import sizes
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe

_MARGIN = 0.95
"""Fraction of the time that is planned: the rest is for checkpoints and what comes between."""
_WITHOUT_DEADLINE_HOURS = 168.0
"""With which a recipe is chosen where there is no deadline."""
_LEAST_MICRO_BATCH = 10.0
"""Seconds of audio: shorter micro-batches have few crops, and no device is busy with them."""
_MOST_PASSES = 11
"""Over the recordings, in any recorded run (docs/results/former-tiny.md, "What limits the gain")."""
_DEVICES_PER_NODE = 8


class _Candidate(NamedTuple):
    recipe: str
    least_hours: float
    """Hours of recordings; a rule of thumb, from what the recipe was used with."""
    least_processed: float
    """Hours processed, below which no result is known."""


_CANDIDATES = (
    _Candidate("wav2vec2_lv60k", 10_000.0, 400_000.0),
    _Candidate("wav2vec2_large", 500.0, 170_000.0),
    _Candidate("wav2vec2_base", 300.0, 160_000.0),
    _Candidate("wav2vec2_small", 20.0, 72.0),
    _Candidate("wav2vec2_tiny", 1.0, 12.0),
)
"""From large to small. Least processed: our shortest useful runs of tiny and small, else a quarter of the paper's."""
_LABELS = ((30.0, "10min"), (300.0, "1h"), (3_000.0, "10h"), (30_000.0, "100h"), (math.inf, "960h"))
"""Recipes of recognisers, by the minutes up to which each is used."""


_SIZES = {"tiny": "", "small": "", "smoke": "", "base": "_base"}
"""Endings of recipes of recognisers, by those of pre-training recipes; larger ones have `_large`."""


_LAPTOP = "ctc_10min_xlsr_laptop"
"""Recipe of recognisers on a public model, which needs no pre-training."""
_PUBLIC_MODEL = "hf://facebook/wav2vec2-xls-r-300m"
"""The model that this recipe was made for."""


class _CannotError(Exception):
    """A recipe cannot do what is wanted; says why, and what would."""


class _Wanted(NamedTuple):
    hours: float
    device: Device
    deadline_hours: float | None
    minutes_of_labels: float | None


def plan(
    hours: float,
    *,
    device: str = HERE,
    devices: int = 1,
    deadline_hours: float | None = None,
    minutes_of_labels: float | None = None,
    recipe: str | None = None,
    data: str | Path | None = None,
    seconds: float = 20.0,
) -> TrainingPlan:
    """Plan pre-training, and the fine-tuning of a recogniser; or the latter alone, on a public model.

    Args:
        hours: recordings to pre-train on, or with `ctc_10min_xlsr_laptop`, all there are.
        device: `here` measures updates on this machine for less than a minute; a named GPU (`h100`) is estimated from
            its maker's figures where nothing was recorded.
        devices: number of devices.
        deadline_hours: time for everything but `sori prepare`; None: as long as the recipe takes.
        minutes_of_labels: transcribed speech to fine-tune on; None: pre-training only.
        recipe: pre-training recipe, or `ctc_10min_xlsr_laptop`; None: the largest for pre-training that fits.
        data: prepared folder to train on; the measured updates have audio of the lengths of its utterances.
        seconds: time for each measurement.

    Raises:
        ValueError: nothing fits; the message says why, and what would.
    """
    for name, value in (("hours", hours), ("deadline_hours", deadline_hours), ("minutes_of_labels", minutes_of_labels)):
        if value is not None:
            require_amount(name, value)
        if value == 0:
            raise ValueError(f"expected {name} to be more than 0; leave it out where there is none")
    if minutes_of_labels is not None and minutes_of_labels > 60 * hours:
        raise ValueError(
            f"expected the labelled speech to be part of the recordings, got {minutes_of_labels:g} minutes of labels "
            f"and {hours:g} h in all; give the hours of all recordings"
        )
    lengths = [] if data is None else [one.duration_seconds for one in read_manifest(Path(data))]
    wanted = _Wanted(hours, Device(device, devices, seconds, lengths), deadline_hours, minutes_of_labels)
    reasons = []
    for candidate in _CANDIDATES if recipe is None else (_candidate(recipe),):
        try:
            return _on_public_model(wanted) if candidate.recipe == _LAPTOP else _plan_for(candidate, wanted)
        except _CannotError as reason:
            reasons.append(f"{candidate.recipe}: {reason}")
    raise ValueError("nothing fits:\n  " + "\n  ".join(reasons))


def _candidate(recipe: str) -> _Candidate:
    return next((one for one in _CANDIDATES if one.recipe == recipe), _Candidate(recipe, 0.0, 0.0))


def _plan_for(candidate: _Candidate, wanted: _Wanted) -> TrainingPlan:
    settings: Any = recipes.by_name(candidate.recipe)
    if not isinstance(settings, SpeechRecipe):
        raise ValueError(  # noqa: TRY004 - the user names it
            f"expected a recipe that pre-trains on speech, or {_LAPTOP}, got {candidate.recipe}; see `sori list`"
        )
    one_update = settings.data.batch_seconds * settings.train.num_accumulate / 3600
    least = max(candidate.least_hours, one_update)
    if wanted.hours < least:
        raise _CannotError(
            f"{wanted.hours:g} h of recordings; it was made for {least:,.5g} h and more, and learns little from less"
        )
    limit = 3600 * (_WITHOUT_DEADLINE_HOURS if wanted.deadline_hours is None else wanted.deadline_hours) * _MARGIN
    if wanted.device.is_hopeless(settings.system, hours=candidate.least_processed, seconds=limit):
        raise _CannotError(
            f"it needs {candidate.least_processed:,.0f} h processed, far more than this processor can in "
            f"{duration(limit)}; use GPUs"
        )
    stages = []
    if wanted.minutes_of_labels is not None:
        stages.append(_fine_tuning(settings, wanted))
    limit -= sum(stage.seconds for stage in stages)
    stages.insert(0, _pretraining(settings, candidate, wanted, limit))
    return TrainingPlan(
        hours=wanted.hours,
        minutes_of_labels=wanted.minutes_of_labels,
        device=wanted.device.name,
        deadline_hours=wanted.deadline_hours,
        stages=tuple(stages),
        disk_gb=disk.of_pretraining(settings, wanted.hours, len(stages)),
        expect=tuple(similar_runs(candidate.recipe, wanted.minutes_of_labels)),
        notes=(*_passes(stages[0], wanted), *_notes(stages, wanted)),
    )


def _on_public_model(wanted: _Wanted) -> TrainingPlan:
    """Plan the fine-tuning of a public model, whose frozen blocks are computed once."""
    recipe, encoder = recipes.recogniser(_LAPTOP), sizes.xlsr_300m()
    if wanted.minutes_of_labels is not None:
        recipe = recipe.override({"labels.minutes": wanted.minutes_of_labels})
    elif recipe.labels.minutes is not None and recipe.labels.minutes > 60 * wanted.hours:
        recipe = recipe.override({"labels.minutes": 60 * wanted.hours})
    stage = _recogniser(recipe, encoder, wanted, init=_PUBLIC_MODEL)
    if wanted.deadline_hours is not None and stage.seconds > 3600 * wanted.deadline_hours * _MARGIN:
        raise _CannotError(
            f"it takes {duration(stage.seconds)}; possible with a deadline of {duration(stage.seconds / _MARGIN)}, "
            "or fewer updates, `--train.num-steps`"
        )
    return TrainingPlan(
        hours=wanted.hours,
        minutes_of_labels=recipe.labels.minutes,
        device=wanted.device.name,
        deadline_hours=wanted.deadline_hours,
        stages=(stage,),
        disk_gb=disk.of_recogniser(recipe, encoder),
        expect=tuple(similar_runs(recipe.name, recipe.labels.minutes)),
        notes=(
            *_notes([stage], wanted),
            f"without the download of {_PUBLIC_MODEL}; no error rate was measured with it",
        ),
    )


def _pretraining(recipe: SpeechRecipe, candidate: _Candidate, wanted: _Wanted, limit: float) -> Stage:
    recipe, devices = _divided(recipe, wanted.device.number)
    cost = _cost(recipe, recipe.system, wanted.device, devices)
    of_steps = recipe.train.num_steps
    is_free = wanted.deadline_hours is None
    possible = of_steps if is_free else int((limit - cost.start_seconds) / cost.seconds_per_update)
    steps = min(of_steps, possible)
    processed = steps * cost.audio_seconds_per_update / 3600
    if processed < min(candidate.least_processed, of_steps * cost.audio_seconds_per_update / 3600) or steps < 1:
        needed = candidate.least_processed * 3600 / cost.audio_seconds_per_update * cost.seconds_per_update
        needed += cost.start_seconds + 3600 * (wanted.deadline_hours or 0.0) * _MARGIN - limit
        raise _CannotError(
            f"it processes {max(0.0, processed):,.1f} h until the deadline, and no result is known below "
            f"{candidate.least_processed:,.0f} h; possible with a deadline of {duration(needed / _MARGIN)}, more "
            "devices, or a smaller recipe"
        )
    return _stage(recipe, cost, steps=steps, devices=devices, of_steps=of_steps)


def _fine_tuning(pretrained: SpeechRecipe, wanted: _Wanted) -> Stage:
    assert wanted.minutes_of_labels is not None  # noqa: S101
    amount = next(name for minutes, name in _LABELS if wanted.minutes_of_labels <= minutes)
    size = next((size for end, size in _SIZES.items() if pretrained.name.endswith(end)), "_large")
    recipe = recipes.recogniser(f"ctc_{amount}{size}")
    return _recogniser(recipe, pretrained.system, wanted, init=f"runs/{pretrained.name}")


def _recogniser(recipe: RecogniserRecipe, encoder: Any, wanted: _Wanted, *, init: str) -> Stage:
    """Plan a recogniser: frozen blocks if they are computed once, updates, evaluations."""
    recipe, devices = _divided(recipe, wanted.device.number)
    cost = _cost(recipe, encoder, wanted.device, devices)
    steps = recipe.train.num_steps
    stage = _stage(recipe, cost, steps=steps, devices=devices, of_steps=steps, init=init)
    evaluated = steps / (recipe.train.evaluate_every or steps) * recipe.labels.dev_minutes * 60
    # An evaluation has the forward pass alone, a third of the work on the same audio, and all of the frozen blocks.
    forward = cost.seconds_per_update / cost.audio_seconds_per_update / 3 + cost.frozen_seconds
    cached = disk.cached_seconds(recipe) if recipe.cache_frozen else 0.0
    return stage.longer(evaluated * forward + cached * cost.frozen_seconds, cpu=cached * cost.frozen_cpu_seconds)


def _divided(recipe: Any, devices: int) -> tuple[Any, int]:
    """Divide the audio of an update among devices: as few micro-batches as the recipe's length of them allows."""
    whole = recipe.data.batch_seconds * recipe.train.num_accumulate
    used = max(1, min(devices, int(whole // _LEAST_MICRO_BATCH)))
    accumulate = math.ceil(whole / (used * recipe.data.batch_seconds) - 1e-9)
    micro = whole / (used * accumulate)
    return recipe.override({"data.batch_seconds": micro, "train.num_accumulate": accumulate}), used


def _cost(recipe: Planned, encoder: Any, device: Device, used: int) -> Cost:
    cost = device.cost(recipe, encoder, used)
    if cost.gib > cost.limit_gib:
        raise _CannotError(
            f"{recipe.name} needs {cost.gib:,.0f} GiB with micro-batches of {recipe.data.batch_seconds:g} s, a device "
            f"has {cost.limit_gib:,.0f}; possible with a device of more memory, or a smaller `--data.batch-seconds` "
            "with more `--train.num-accumulate`"
        )
    return cost


def _stage(recipe: Planned, cost: Cost, *, steps: int, devices: int, of_steps: int, init: str | None = None) -> Stage:
    return Stage(
        recipe=recipe.name,
        devices=devices,
        num_steps=steps,
        of_steps=of_steps,
        batch_seconds=round(recipe.data.batch_seconds, 3),
        accumulate=recipe.train.num_accumulate,
        lr=recipe.optim.lr,
        hours_processed=steps * cost.audio_seconds_per_update / 3600,
        seconds=cost.start_seconds + steps * cost.seconds_per_update,
        seconds_per_update=cost.seconds_per_update,
        cpu_seconds_per_update=cost.cpu_seconds_per_update,
        gib=cost.gib,
        based_on=cost.based_on,
        command=_command(recipe, steps, devices, init),
    )


def _command(recipe: Planned, steps: int, devices: int, init: str | None) -> str:
    standard: Any = recipes.by_name(recipe.name)
    words = []
    if devices > 1:
        nodes = math.ceil(devices / _DEVICES_PER_NODE)
        many = f"--nnodes {nodes} " if nodes > 1 else ""
        words.append(f"torchrun {many}--nproc-per-node {math.ceil(devices / nodes)} -m")
    words.append(f"sori train {recipe.name} --data PREPARED")
    words += [f"--init {init}"] if init is not None else []
    words.append(f"--into runs/{recipe.name}")
    if steps != standard.train.num_steps:
        words.append(f"--train.num-steps {steps}")
        if (decay := getattr(recipe.system, "gumbel_decay", None)) is not None:
            # The temperature falls as far as in the whole recipe.
            words.append(f"--system.gumbel-decay {decay ** (standard.train.num_steps / steps):.6f}")
    if recipe.data.batch_seconds != standard.data.batch_seconds:
        words.append(f"--data.batch-seconds {recipe.data.batch_seconds:.3f}")
    if recipe.train.num_accumulate != standard.train.num_accumulate:
        words.append(f"--train.num-accumulate {recipe.train.num_accumulate}")
    return " ".join(words)


def _passes(first: Stage, wanted: _Wanted) -> list[str]:
    """Return what there is to say of pre-training."""
    passes = first.hours_processed / wanted.hours
    notes = [f"{passes:.1f} passes over {wanted.hours:,g} h of recordings"]
    if passes > _MOST_PASSES:
        notes.append(f"more than {_MOST_PASSES} passes were never recorded; from 2 to 11 over 6 h, little was gained")
    if first.num_steps < first.of_steps:
        notes.append("shorter than the recipe, for the deadline: the result is that of fewer hours processed")
    if first.devices < wanted.device.number:
        notes.append(
            f"{wanted.device.number - first.devices} devices stay idle: the batch of this recipe is too small for them"
        )
    return notes


def _notes(stages: list[Stage], wanted: _Wanted) -> list[str]:
    notes = []
    if wanted.device.name == HERE:
        cpu = sum(one.num_steps * (one.cpu_seconds_per_update or 0.0) + one.frozen_cpu_seconds for one in stages)
        notes.append(
            f"other programs that computed while it was measured count as if they went on; the updates take "
            f"{duration(cpu)} of processor time"
        )
    else:
        notes.append("an estimate may be wrong by a factor of two: run `sori plan --device here` on that machine")
    if "--init" in stages[-1].command:
        notes.append("without the language model of the recogniser, which is estimated and tuned after fine-tuning")
    return notes
