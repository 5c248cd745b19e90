"""Low-resource evaluation of encoders: fine-tune a recogniser on ten minutes, always with the same recipe."""

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
"""Amount of transcribed speech to train on."""
ENCODER_RATE = 0.1
"""Factor on the encoder's learning rate. With the 0.5 of `ctc_10min`, CPC keeps predicting only blanks."""


def recipe(*, toy: bool = False, seed: int = 0) -> RecogniserRecipe:
    """Return `ctc_10min`, adapted to work for every encoder: a low learning rate, and a weighted sum of its layers.

    The front end stays as pre-trained.

    Encoder settings are not changed, because not all encoders allow it. The sum is of normalised layers: the vectors of
    wav2vec are so small that a head on its last layer hardly learns.

    Args:
        toy: seconds of training instead of minutes, to test whether everything runs.
        seed: random seed of training.
    """
    found = recipes.recogniser("ctc_smoke" if toy else "ctc_10min")
    labels = found.labels.model_copy(update={"minutes": MINUTES})
    changes: dict[str, Any] = {"name": "ten_minutes", "encoder": None, "encoder_changes": {}, "labels": labels}
    settings = {"train.seed": seed, "system.encoder_lr_factor": ENCODER_RATE, "system.read": "mix"}
    settings |= {"system.feature_gradient": 0}
    return found.override(settings).model_copy(update=changes)


def check(labels: Sequence[Path]) -> None:
    """Check before training that there is a test split.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: no transcribed utterance belongs to the split `test`.
    """
    spoken = [one for one in utterances_of(labels, None) if one.text and one.text.strip()]
    if not any(one.split == "test" for one in spoken):
        raise ValueError(
            f"expected transcribed utterances of a split 'test' to measure error rates on, got {len(spoken)} "
            "transcribed ones of other splits or none; name splits in the table that `sori prepare` reads (column "
            "`split`)"
        )


def train(model: str | Path, labels: Sequence[Path], *, into: Path, settings: RecogniserRecipe) -> bool:
    """Train the recogniser, or continue an interrupted run; return whether training is finished.

    Args:
        model: model to start from.
        labels: prepared folders with transcripts and splits.
        into: run folder of the recogniser.
        settings: from `recipe`.

    Raises:
        FileNotFoundError, RuntimeError, ValueError: as for `check` and `run.train`.
    """
    check(labels)
    return run.train(settings, into=into, data=labels, init=model).finished


def errors(recogniser: Path, labels: Sequence[Path]) -> Estimate:
    """Return the character error rate on the split `test`, with greedy decoding and no language model."""
    found = recognition.evaluate(recogniser, data=labels, split="test", decoder=None).to_data()
    cer = found["cer"]
    return Estimate(cer["rate"], cer["low"], cer["high"], found["interval"]["unit"])
