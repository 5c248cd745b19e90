"""What an encoder is worth where ten minutes are transcribed: a recogniser is made of it, always in the same way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sori import recipes
from sori.data.utterances import utterances_of
from sori.evaluation import recognition
from sori.evaluation.bootstrap import Estimate
from sori.recipes.recipe import RecogniserRecipe
from sori.runs import run

MINUTES = 10.0
"""Of transcribed speech that is learnt from."""
ENCODER_RATE = 0.1
"""Factor on the encoder's learning rate. At the 0.5 of `ctc_10min`, CPC stays at the blanks."""


def recipe(*, toy: bool = False, seed: int = 0) -> RecogniserRecipe:
    """`ctc_10min` for every encoder alike: slow, and read as a mix of its layers.

    Without changes to an encoder's settings, which not all allow. The mix is normalised: wav2vec's vectors are so small
    that a head on the last layer alone hardly learns.

    Args:
        toy: seconds of training instead of minutes, to see whether everything runs.
        seed: of the training.
    """
    found = recipes.recogniser("ctc_smoke" if toy else "ctc_10min")
    labels = found.labels.model_copy(update={"minutes": MINUTES})
    changes: dict[str, Any] = {"name": "ten_minutes", "encoder": None, "encoder_changes": {}, "labels": labels}
    settings = {"train.seed": seed, "system.encoder_lr_factor": ENCODER_RATE, "system.read": "mix"}
    return found.override(settings).model_copy(update=changes)


def check(labels: Sequence[Path]) -> None:
    """See that errors can be counted, before anything is trained.

    Raises:
        FileNotFoundError: a folder is not there.
        ValueError: no transcribed utterance belongs to a split called test.
    """
    spoken = [one for one in utterances_of(labels, None) if one.text and one.text.strip()]
    if not any(one.split == "test" for one in spoken):
        raise ValueError(
            f"expected transcribed utterances of a split 'test' to count errors in, got {len(spoken)} transcribed ones "
            "of other splits or none; name splits in the table that `sori prepare` reads (column `split`)"
        )


def train(model: str | Path, labels: Sequence[Path], *, into: Path, settings: RecogniserRecipe) -> bool:
    """Make the recogniser; repeated, it continues. Whether it is finished.

    Args:
        model: what to start from.
        labels: prepared folders with transcripts and splits.
        into: run folder of the recogniser.
        settings: from `recipe`.

    Raises:
        FileNotFoundError, RuntimeError, ValueError: as of `check` and `run.train`.
    """
    check(labels)
    return run.train(settings, into=into, data=labels, init=model).finished


def errors(recogniser: Path, labels: Sequence[Path]) -> Estimate:
    """Share of wrong characters on the split test, likeliest symbols, without a language model."""
    found = recognition.evaluate(recogniser, data=labels, split="test").to_data()
    cer = found["cer"]
    return Estimate(cer["rate"], cer["low"], cer["high"], found["interval"]["unit"])
