"""End-to-end demo: recordings, pre-training, three recognisers, language model, error rates, a report.

Without recordings of the user, it synthesises a small speech corpus by text to speech: many voices for pre-training, a
few of them with transcripts, and other voices with other sentences for the test and for tuning the language model. The
language model also learns from sentences of the same grammar that are in none of these. The recognisers are trained
without pre-training, with it, and with self-training after it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sori.core.files import write_text
from sori.core.log import logger
from sori.data.manifest import read_manifest
from sori.evaluation import recognition
from sori.evaluation.error_rate import ErrorReport
from sori.experiments.demonstration.demo_contents import (
    PRETRAINED,
    SCRATCH,
    SELF_TRAINED,
    TestedRecogniser,
    findings,
    is_shown,
    recogniser,
)
from sori.experiments.demonstration.demo_data import SYNTHETIC_MINUTES, DemoData, own, synthetic, transcribed_minutes
from sori.experiments.demonstration.demo_recipes import SELF_TRAINING, DemoRecipes, demo_recipes
from sori.experiments.head_start import head_start
from sori.experiments.self_training import NothingWrittenError, self_train
from sori.plots import demo_report
from sori.runs import run

REPORT = "report.html"


class Demonstration(NamedTuple):
    """Result of `demo`; error rates by the folder of the recogniser: `without`, `with`, and perhaps `self_training`."""

    report: Path
    """Web page in one file."""
    scores: dict[str, ErrorReport]
    """Error rates with the language model."""
    alone: dict[str, ErrorReport]
    """Error rates without it."""


def demo(
    into: str | Path = "sori-demo", *, data: str | Path | None = None, minutes: float = 10.0, smoke: bool = False
) -> Demonstration | None:
    """Compare recognisers without and with pre-training and self-training, on synthetic speech or the user's.

    Every stage stores its result in `into`; the same call continues an interrupted demo.

    Args:
        into: output folder.
        data: folder or table of recordings, some of them transcribed, or a prepared folder; None: synthetic speech,
            which requires the extra `synth`.
        minutes: maximum amount of transcribed speech to train on; of synthetic speech, `SYNTHETIC_MINUTES` at most.
        smoke: toy models on a toy corpus, to test in seconds whether everything runs.

    Returns:
        None if training was interrupted (Ctrl-C, SIGTERM).

    Raises:
        ValueError: there are too few recordings; the message names what is missing.
        ModuleNotFoundError: the extra `synth` is not installed.
    """
    into, began = Path(into), time.monotonic()
    with _stage("1/7 Recordings"):
        found = synthetic(into, smoke=smoke) if data is None else own(into, Path(data))
        available = transcribed_minutes(read_manifest(found.train))
        minutes = minutes if data is not None else min(minutes, SYNTHETIC_MINUTES)
    recipes = demo_recipes(minutes=minutes if available > minutes else None, smoke=smoke, texts=found.texts)
    if not (_train(into, recipes, found.corpora) and _self_train(into, recipes, found)):
        return None
    shown = [name for name in (SCRATCH, PRETRAINED, SELF_TRAINED) if is_shown(into, name)]
    models = {name: recogniser(into / name) for name in shown}
    with _stage("6/7 Test on held-out recordings, without language model"):
        alone = {
            name: recognition.evaluate(model, data=found.test, split=None, decoder=None)
            for name, model in models.items()
        }
    with _stage("7/7 The same with the language model of the training"):
        scores = {name: recognition.evaluate(model, data=found.test, split=None) for name, model in models.items()}
        tested = [TestedRecogniser(name, models[name], scores[name], alone[name]) for name in shown]
        contents = findings(into, recipes, tested)
        write_text(into / REPORT, demo_report.compose(contents))
    logger.info(_summary(contents, into / REPORT, seconds=time.monotonic() - began))
    return Demonstration(into / REPORT, scores, alone)


def _train(into: Path, recipes: DemoRecipes, data: list[Path]) -> bool:
    """Train what is not trained yet, without self-training; return whether nothing was interrupted."""
    logger.info(f"\nBeside stage 2, the recogniser of stage 4 is trained; its progress: {into / 'without.log'}")
    with (
        head_start(recipes.scratch, into=into / SCRATCH, data=data, log=into / "without.log") as other,
        _stage("2/7 Pre-training without transcripts"),
    ):
        if not run.train(recipes.pretrained, into=into / "pretrained", data=data).finished:
            other.terminate()
            return False
    with _stage("3/7 Fine-tuning"):
        if not run.train(recipes.tuned, into=into / PRETRAINED, data=data, init=into / "pretrained").finished:
            return False
    with _stage("4/7 The same without pre-training"):
        return run.train(recipes.scratch, into=into / SCRATCH, data=data).finished


def _self_train(into: Path, recipes: DemoRecipes, found: DemoData) -> bool:
    """Train on what the recogniser with pre-training writes for all recordings; return whether it was not interrupted.

    Left out if there are no other recordings to choose the better of the two by, or if nothing is written.
    """
    with _stage("5/7 Self-training: the recogniser of stage 3 writes what the next one learns from"):
        if found.dev is None:
            logger.info("left out: it requires transcribed recordings of a split dev, to show whether it helps")
            return True
        try:
            return self_train(
                recipes.tuned,
                into=into / SELF_TRAINED,
                unlabelled=found.train,
                data=found.corpora,
                init=into / "pretrained",
                settings=SELF_TRAINING,
                first=into / PRETRAINED,
            ).finished
        except NothingWrittenError as error:
            logger.warning(f"left out: {error}")
            return True


def _summary(contents: demo_report.Findings, page: Path, *, seconds: float) -> str:
    lines = [
        f"{score.label:22} {how:12} WER {_percent(rates.words)}   CER {_percent(rates.characters)}"
        for score in contents.scores
        for how, rates in (("", score.rates), ("without LM", score.alone))
    ]
    changes = [("pre-training", contents.change), ("self-training after it", contents.self_training)]
    return "\n".join(
        [
            "\nError rates on the test set, with 95 % intervals",
            *lines,
            *(f"change of WER through {what}: {_relative(change)}" for what, change in changes if change is not None),
            f"report: {page}   ({_clock(seconds)} in total)",
        ]
    )


def _relative(change: demo_report.Interval) -> str:
    return f"{change.value:+.0%} ({change.low:+.0%} to {change.high:+.0%})"


def _percent(rate: demo_report.Interval) -> str:
    return f"{rate.value:6.1%} ({rate.low:.1%} to {rate.high:.1%})"


@contextmanager
def _stage(title: str) -> Iterator[None]:
    began = time.monotonic()
    logger.info(f"\n== {title}")
    yield
    logger.info(f"== {title.partition(' ')[0]} took {_clock(time.monotonic() - began)}")


def _clock(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
