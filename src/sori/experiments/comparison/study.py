"""Train all systems on the same hours of audio, evaluate them with the same probes, and resume after interruptions.

The output folder contains, for each system, `SYSTEM/pretrained` and `SYSTEM/ctc` (run folders), `SYSTEM/sheet.json` and
`sheet.md` (probing report), `test.json` (character error rate), `cost.json` and, after a failure, `failed.txt`. The
results of all systems are in `lab.json`, `lab.md` and `lab.png`, which are rewritten after each system.
"""

import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from sori.checkpoints import store
from sori.core.files import read_json, write_json, write_text
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
    merge_rows,
    rows_of,
)
from sori.recipes.recipe import SpeechRecipe
from sori.runs import run
from sori.training.metrics import read_metrics
from sori.training.watch import contrastive

PRETRAINED, RECOGNISER = "pretrained", "ctc"
PROBES, TEST, COST, FAILED = "sheet.json", "test.json", "cost.json", "failed.txt"
_SMOKE_MINUTES = 10.0
_TITLE = "Comparison of self-supervised systems"
_TOYS = "Toy models trained on little audio: everything runs, but the scores are not meaningful"


class _Plan(NamedTuple):
    """Steps that are the same for every system."""

    into: Path
    probe_data: list[Path]
    alignments: Path | None
    labels: list[Path]
    """If empty, no recognisers are trained."""
    config: LabConfig


class _SystemResults(NamedTuple):
    """Results of one system, up to the last stage that succeeded."""

    training: Training | None = None
    rows: tuple[Row, ...] = ()
    gains: tuple[Gain, ...] = ()
    notes: tuple[str, ...] = ()
    """Notes of its probing report."""
    failed: str | None = None


class _Interrupted(Exception):  # noqa: N818 - not an error
    """Training was interrupted by a signal."""


def lab(
    data: Path | Sequence[Path],
    *,
    into: Path,
    alignments: Path | None = None,
    probe_data: Path | Sequence[Path] | None = None,
    labels: Path | Sequence[Path] | None = None,
    config: LabConfig | None = None,
) -> Results | None:
    """Train, evaluate and compare all systems; the same call continues an interrupted comparison.

    Args:
        data: prepared folders that all systems are trained on, except their held-out splits.
        into: output folder.
        alignments: phone alignments of `probe_data`, see `data.sources.alignments.read_alignments`; None: only the
            speaker probe is run.
        probe_data: prepared folders that representations are probed on; None: `data`.
        labels: prepared folders with transcripts and a split `test`, on which each system is fine-tuned; None: no
            fine-tuning.
        config: systems, budget and probe tasks.

    Returns:
        None after an interruption (Ctrl-C, SIGTERM).

    Raises:
        ValueError, FileNotFoundError: data, labels or alignments cannot be used, or the folder contains another study.
        RuntimeError: every system failed.
    """
    config, into = config or LabConfig(), Path(into)
    folders = _folders(data)
    plan = _Plan(into, _folders(probe_data) or folders, alignments, _folders(labels), config)
    _check(plan)
    recipes = pretraining(config, folders)
    found = dict[str, _SystemResults]()
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
        raise RuntimeError(f"every system failed:\n{reasons}\nSee the tracebacks in {into}/SYSTEM/{FAILED}")
    return results


def _check(plan: _Plan) -> None:
    """Check all inputs before training."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("expected one process, because the budget is computed for one; leave torchrun out")
    for folder in plan.probe_data:
        read_manifest(folder)
    if plan.alignments is not None:
        read_alignments(plan.alignments)
    if not plan.labels:
        return
    low_resource.check(plan.labels)


def _one(plan: _Plan, name: str, recipe: SpeechRecipe) -> _SystemResults:
    """Train and evaluate one system; a failure is recorded and does not stop the others."""
    home, found = plan.into / name, _SystemResults()
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
            (first, *others), cer = found.rows, _character_error_rate(plan, home)
            first = first._replace(scores=first.scores | {CER: cer})
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
    """Return the probing report of the trained encoder and its baselines, as plain data."""
    config = plan.config
    minutes = _SMOKE_MINUTES if config.minutes is None and config.size == "smoke" else config.minutes
    probing_config = ProbingConfig(
        tasks=config.tasks, split_by=config.split_by, minutes=minutes, seed=config.seed, untrained=True
    )
    about = {
        "data": [str(folder.resolve()) for folder in plan.probe_data],
        "alignments": None if plan.alignments is None else str(plan.alignments.resolve()),
        "config": probing_config.model_dump(mode="json"),
        "answers": "with gains",  # reports of earlier versions, which lack gains, are computed again
    }

    def measure() -> dict[str, Any]:
        report = probing.probe(
            home / PRETRAINED, plan.probe_data, plan.alignments, config=probing_config, progress=logger.info
        )
        write_text((home / PROBES).with_suffix(".md"), report.markdown())
        return report.to_data()

    return _cached(home / PROBES, about, measure)


def _character_error_rate(plan: _Plan, home: Path) -> Estimate:
    """Fine-tune on a few minutes of transcripts and return the character error rate on the test split."""
    settings = low_resource.recipe(toy=plan.config.size == "smoke", seed=plan.config.seed)
    if not low_resource.train(home / PRETRAINED, plan.labels, into=home / RECOGNISER, settings=settings):
        raise _Interrupted
    about = {"data": [str(folder.resolve()) for folder in plan.labels]}
    found = _cached(home / TEST, about, lambda: low_resource.errors(home / RECOGNISER, plan.labels).to_data())
    return Estimate(**{name: found[name] for name in ("value", "low", "high", "unit")})


def _cached(path: Path, about: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the contents of a file if it was computed from the same inputs, else compute and store them."""
    cached = _read(path, {})
    if cached.get("asked") != about:
        cached = {"asked": about, **compute()}
        write_json(path, cached)
    return cached


def _results(plan: _Plan, recipes: Mapping[str, SpeechRecipe], found: Mapping[str, _SystemResults]) -> Results:
    """Collect the results so far."""
    config = plan.config
    first = next(iter(recipes.values()))
    utterances = [
        one
        for one in training_utterances(first.corpora, first.held_out)
        if one.duration_seconds >= first.data.min_seconds
    ]
    hours = sum(one.duration_seconds for one in utterances) / 3600
    each = f"{config.updates:,} updates each, so not the same hours" if config.updates else "the same hours for all"
    least = f"{first.data.min_seconds:g} s or more"
    notes = [f"trained on the same {len(utterances):,} utterances of {least}, {hours:.2f} h; {each}"]
    notes += next((one.notes for one in found.values() if one.notes), ())
    if len({one.notes[:1] for one in found.values() if one.notes}) > 1:
        notes.append("the shortest utterances are too short for some systems and were left out for these: see sheet.md")
    notes.append(
        "layer: best probe accuracy on the dev part, separately for trained models and random-initialisation baselines"
    )
    if plan.labels:
        notes.append(
            f"{CER}: after fine-tuning on {low_resource.MINUTES:g} min of transcribed speech, on the split test"
        )
    return Results(
        _TOYS if config.size == "smoke" else _TITLE,
        notes,
        {name: one.training for name, one in found.items() if one.training is not None},
        merge_rows([one.rows for one in found.values()]),
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
    found: dict[str, Any] = read_json(path) if path.exists() else otherwise
    return found
