"""What an encoder is worth where ten minutes are transcribed: recognisers are made of it, always in the same way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sori import hub, recipes, run
from sori.assembly.utterances import utterances_of
from sori.evaluation.bootstrap import Estimate
from sori.recipes.recipe import LabelConfig, Recipe
from sori.training.log import METRICS, read_metrics
from sori.training.watch import Diverged

MINUTES = 10.0
"""Of transcribed speech that is learnt from."""
ENCODER_RATES = (0.5, 0.1)
"""Factors on the encoder's learning rate; both are tried and the one with fewer errors on the split dev counts. No
single one does justice to all: at 0.5 an LSTM is wrecked, at 0.1 a transformer learns less than it could."""
_SPLITS = ("dev", "test")


def recipe(*, toy: bool = False, seed: int = 0) -> Recipe:
    """`ctc_10min` for every encoder, so without the changes to an encoder's settings that not all allow.

    Args:
        toy: seconds of training instead of minutes, to see whether everything runs.
        seed: of the training.
    """
    found = recipes.of_loop("ctc_smoke" if toy else "ctc_10min")
    labels = (found.labels or LabelConfig()).model_copy(update={"minutes": MINUTES})
    changes: dict[str, Any] = {"name": "ten_minutes", "encoder": None, "encoder_changes": {}, "labels": labels}
    return found.override({"train.seed": seed}).model_copy(update=changes)


def check(labels: Sequence[Path]) -> None:
    """See that errors can be counted, before anything is trained.

    Raises:
        FileNotFoundError: a folder is not there.
        ValueError: no transcribed utterance belongs to a split called dev, or to one called test.
    """
    spoken = [one for one in utterances_of(labels, None) if one.text and one.text.strip()]
    for split, purpose in zip(_SPLITS, ("choose the learning rate by", "count errors in"), strict=True):
        if not any(one.split == split for one in spoken):
            raise ValueError(
                f"expected transcribed utterances of a split {split!r} to {purpose}, got {len(spoken)} transcribed "
                "ones of other splits or none; name splits in the table that `sori prepare` reads (column `split`)"
            )


def train(model: str | Path, labels: Sequence[Path], *, into: Path, settings: Recipe) -> bool:
    """Make a recogniser at each of `ENCODER_RATES`; repeated, it continues. Whether all is done.

    Args:
        model: what to start from.
        labels: prepared folders with transcripts and splits.
        into: folder for the run folders `encoder_lr_RATE`.
        settings: from `recipe`.

    Raises:
        FileNotFoundError, RuntimeError, ValueError: as of `check` and `run.train`; `Diverged` if both diverged.
    """
    check(labels)
    failures = list[Diverged]()
    for rate in ENCODER_RATES:
        own = settings.override({"system.encoder_lr_factor": rate})
        try:
            if not run.train(own, into=_home(into, rate), data=labels, init=model).finished:
                return False
        except Diverged as failure:
            failures.append(failure)
    if len(failures) == len(ENCODER_RATES):
        raise failures[0]
    return True


def best(recognisers: Path) -> Path:
    """Run folder of the recogniser with fewest wrong characters on the split dev, of those that `train` finished."""
    done = [home for rate in ENCODER_RATES if ((home := _home(recognisers, rate)) / hub.MODEL).exists()]
    return min(done, key=_dev_error)


def errors(recognisers: Path, labels: Sequence[Path]) -> Estimate:
    """Share of wrong characters on the split test by `best`, likeliest symbols, without a language model."""
    found = run.evaluate(best(recognisers), data=labels, split="test").to_data()
    cer = found["cer"]
    return Estimate(cer["rate"], cer["low"], cer["high"], found["interval"]["unit"])


def _home(into: Path, rate: float) -> Path:
    return into / f"encoder_lr_{rate:g}"


def _dev_error(home: Path) -> float:
    return float([row for row in read_metrics(home / METRICS) if row["kind"] == "evaluation"][-1]["dev_cer"])
