"""Train every system on the same hours, measure each alike, go on where it was interrupted.

The folder holds for each system `SYSTEM/pretrained` and `SYSTEM/ctc` (run folders), `SYSTEM/sheet.json`, `sheet.md`,
`test.json` (character errors), `cost.json` and, where it came to nothing, `failed.txt`; and of all together `lab.json`,
`lab.md`, `lab.png`, written anew after each system.
"""

import json
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from sori.checkpoints import store
from sori.core.files import write_json, write_text
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.data.manifest import read_manifest
from sori.data.sources.alignments import read_alignments
from sori.data.utterances import training_utterances
from sori.evaluation import probing
from sori.evaluation.bootstrap import Estimate
from sori.evaluation.probing import ProbingConfig
from sori.experiments import low_resource
from sori.experiments.comparison.budget import LabConfig, pretraining
from sori.experiments.comparison.results import (
    CER,
    FILES,
    Gain,
    Results,
    Row,
    Training,
    gains_of,
    rows_of,
    together,
)
from sori.recipes.recipe import SpeechRecipe
from sori.runs import run
from sori.training.metrics import read_metrics
from sori.training.watch import contrastive

PRETRAINED, RECOGNISER = "pretrained", "ctc"
SHEET, TEST, COST, FAILED = "sheet.json", "test.json", "cost.json", "failed.txt"
_SMOKE_MINUTES = 10.0
_TITLE = "What each system has learnt"
_TOYS = "Toy models that heard little: everything runs, the figures mean nothing"


class _Plan(NamedTuple):
    """What is done to every system."""

    into: Path
    probe_data: list[Path]
    alignments: Path | None
    labels: list[Path]
    """Empty: no recognisers."""
    config: LabConfig


class _Found(NamedTuple):
    """About one system, as far as it came; an interruption leaves None in its place."""

    training: Training | None = None
    rows: tuple[Row, ...] = ()
    gains: tuple[Gain, ...] = ()
    notes: tuple[str, ...] = ()
    """Of its sheet."""
    failed: str | None = None


class _Interrupted(Exception):  # noqa: N818 - not an error
    """Training was asked to stop."""


def lab(
    data: Path | Sequence[Path],
    *,
    into: Path,
    alignments: Path | None = None,
    probe_data: Path | Sequence[Path] | None = None,
    labels: Path | Sequence[Path] | None = None,
    config: LabConfig | None = None,
) -> Results | None:
    """Train, measure and compare; the same call again continues, and what is finished is not done again.

    Args:
        data: prepared folders that all systems are trained on, but for their held-out splits.
        into: folder for everything that is made.
        alignments: when each phone of `probe_data` is spoken, see `data.alignments.read_alignments`; without, only
            speakers are asked for.
        probe_data: prepared folders that representations are measured on; None: `data`.
        labels: prepared folders with transcripts and a split `test`, from which each system becomes a recogniser; None:
            none does.
        config: systems and budget.

    Returns:
        None after an interruption (Ctrl-C, SIGTERM).

    Raises:
        ValueError, FileNotFoundError: data, labels or alignments cannot be used, or the folder holds another study.
        RuntimeError: every system failed.
    """
    config, into = config or LabConfig(), Path(into)
    folders = _folders(data)
    plan = _Plan(into, _folders(probe_data) or folders, alignments, _folders(labels), config)
    _check(plan)
    recipes = pretraining(config, folders)
    found = dict[str, _Found]()
    run_folder = RunFolder(into)
    with run_folder.locked():
        same = config.model_dump(mode="json", include={"size", "hours_heard", "updates", "seed"})
        run_folder.check_free(into / name for name in (*FILES, *(f"{name}/{FAILED}" for name in config.systems)))
        run_folder.begin(yaml.safe_dump(same | {"data": [str(folder.resolve()) for folder in folders]}))
        for number, (name, recipe) in enumerate(recipes.items(), start=1):
            logger.info(f"\n== {name} ({number} of {len(recipes)}), {into / name}")
            try:
                found[name] = _one(plan, name, recipe)
            except _Interrupted:
                return None
            results = _results(plan, recipes, found)
            results.write(into)
    if not any(one.rows for one in found.values()):
        reasons = "\n".join(f"  {name}: {one.failed}" for name, one in found.items())
        raise RuntimeError(f"every system failed:\n{reasons}\nMore in {into}/SYSTEM/{FAILED}")
    return results


def _check(plan: _Plan) -> None:
    """What would otherwise come to light after hours."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("expected one process: the budget is counted for one; leave torchrun out")
    for folder in plan.probe_data:
        read_manifest(folder)
    if plan.alignments is not None:
        read_alignments(plan.alignments)
    if not plan.labels:
        return
    low_resource.check(plan.labels)


def _one(plan: _Plan, name: str, recipe: SpeechRecipe) -> _Found:
    """Train and measure one system; what comes to nothing is noted and ends it, not the others."""
    home, found = plan.into / name, _Found()
    home.mkdir(exist_ok=True)
    (home / FAILED).unlink(missing_ok=True)
    try:
        found = found._replace(training=_trained(recipe, home))
        measured = _measured(plan, home)
        found = found._replace(
            rows=tuple(rows_of(name, measured)),
            gains=tuple(gains_of(name, measured)),
            notes=tuple(measured["notes"]),
        )
        if plan.labels:
            (first, *others), error = found.rows, _recognised(plan, home)
            first = first._replace(scores=first.scores | {CER: error})
            found = found._replace(rows=(first, *others))
    except _Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, a night's other systems are not to suffer
        write_text(home / FAILED, traceback.format_exc())
        stage = "training" if found.training is None else "fine-tuning" if found.rows else "measuring"
        found = found._replace(failed=f"{stage}: {error!s} ({type(error).__name__})")
        logger.info(f"{name} failed: {found.failed}")
    return found


def _trained(recipe: SpeechRecipe, home: Path) -> Training:
    folder, before = home / PRETRAINED, _read(home / COST, {"cpu_seconds": 0.0, "seconds": 0.0})
    fresh = not (RunFolder(folder).model).exists()
    cpu, clock = time.process_time(), time.monotonic()
    try:
        finished = run.train(recipe, into=folder).finished
    finally:
        if fresh:
            spent = {"cpu_seconds": time.process_time() - cpu, "seconds": time.monotonic() - clock}
            cost = {key: before[key] + more for key, more in spent.items()} | {"device": _device()}
            write_json(home / COST, cost)
    if not finished:
        raise _Interrupted
    last = [row for row in read_metrics(RunFolder(folder).metrics) if row["kind"] == "train"][-1]
    model = store.load(folder)
    return Training(
        parameters=sum(one.numel() for one in model.parameters() if one.requires_grad),
        updates=last["step"],
        hours_heard=last["hours"],
        loss=contrastive(last),
        chance=last.get("chance"),
        **_read(home / COST, {}),
    )


def _measured(plan: _Plan, home: Path) -> dict[str, Any]:
    """The sheet of the trained encoder, its untrained self and spectra, as plain data."""
    config = plan.config
    minutes = _SMOKE_MINUTES if config.minutes is None and config.size == "smoke" else config.minutes
    asked = ProbingConfig(
        tasks=config.tasks, split_by=config.split_by, minutes=minutes, seed=config.seed, untrained=True
    )
    about = {
        "data": [str(folder.resolve()) for folder in plan.probe_data],
        "alignments": None if plan.alignments is None else str(plan.alignments.resolve()),
        "config": asked.model_dump(mode="json"),
        "answers": "with gains",  # a sheet of an earlier version, which lacks them, is made again
    }

    def measure() -> dict[str, Any]:
        made = probing.probe(home / PRETRAINED, plan.probe_data, plan.alignments, config=asked, say=logger.info)
        write_text((home / SHEET).with_suffix(".md"), made.markdown())
        return made.to_data()

    return _once(home / SHEET, about, measure)


def _recognised(plan: _Plan, home: Path) -> Estimate:
    """Character errors on the test, after learning to write from a few minutes."""
    settings = low_resource.recipe(toy=plan.config.size == "smoke", seed=plan.config.seed)
    if not low_resource.train(home / PRETRAINED, plan.labels, into=home / RECOGNISER, settings=settings):
        raise _Interrupted
    about = {"data": [str(folder.resolve()) for folder in plan.labels]}
    found = _once(home / TEST, about, lambda: low_resource.errors(home / RECOGNISER, plan.labels).to_data())
    return Estimate(**{name: found[name] for name in ("value", "low", "high", "unit")})


def _once(path: Path, asked: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the file answers if it was asked the same, else the answer made now and kept there."""
    kept = _read(path, {})
    if kept.get("asked") != asked:
        kept = {"asked": asked, **make()}
        write_json(path, kept)
    return kept


def _results(plan: _Plan, recipes: Mapping[str, SpeechRecipe], found: Mapping[str, _Found]) -> Results:
    """The table so far."""
    config = plan.config
    heard = next(iter(recipes.values()))
    utterances = [
        one
        for one in training_utterances(heard.corpora, heard.held_out)
        if one.duration_seconds >= heard.data.min_seconds
    ]
    hours = sum(one.duration_seconds for one in utterances) / 3600
    each = f"{config.updates:,} updates each, so not the same hours" if config.updates else "all hear as many hours"
    least = f"{heard.data.min_seconds:g} s or more"
    notes = [f"trained on the same {len(utterances):,} utterances of {least}, {hours:.2f} h; {each}"]
    notes += next((one.notes for one in found.values() if one.notes), ())
    if len({one.notes[:1] for one in found.values() if one.notes}) > 1:
        notes.append(
            "the shortest utterances are too short for some systems, which were measured without: see sheet.md"
        )
    notes.append("layer: of each system, trained and untrained, the one the dev part reads best")
    if plan.labels:
        notes.append(
            f"{CER}: of a recogniser made from {low_resource.MINUTES:g} min of transcribed speech, on split test"
        )
    return Results(
        _TOYS if config.size == "smoke" else _TITLE,
        notes,
        {name: one.training for name, one in found.items() if one.training is not None},
        together([one.rows for one in found.values()]),
        [gain for one in found.values() for gain in one.gains],
        {name: one.failed for name, one in found.items() if one.failed is not None},
    )


def _folders(given: Path | Sequence[Path] | None) -> list[Path]:
    return [] if given is None else [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _read(path: Path, otherwise: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise
    return found
