"""Confidence that comes true: fitted on transcribed speech, kept beside the model, found again.

A model folder holds one fit for each way of searching in `confidence.json`: confidence fitted without a language model
says nothing about words written with one.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.checkpoints import resolve
from sori.checkpoints.formats import huggingface
from sori.checkpoints.store import CONFIDENCE
from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config
from sori.core.files import write_text
from sori.core.user_files import read_text
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamDecoder
from sori.decoding.confidence import ACOUSTIC, Confidence, feature_names, search_settings
from sori.evaluation.confidence_fit import CalibrationMetrics, logistic, measure, right_words
from sori.inference import transcribe
from sori.models import factory
from sori.models.ctc import Ctc


class Calibration(Config):
    """What `confidence.json` holds."""

    recogniser: str
    """Digest of the output layer and the symbols: whose scores these are."""
    fits: tuple[Confidence, ...]
    """One for each way of searching."""


class Heard(NamedTuple):
    """The words of some transcribed utterances, and the truth about them."""

    features: NDArray[np.float64]
    """`word feature`."""
    right: NDArray[np.bool_]
    groups: list[str]
    """Of each word: its speaker, or its utterance where speakers are not known."""
    unit: str
    """Which of the two."""


class Judged(NamedTuple):
    """Confidence beside simpler answers, on words it was not fitted on."""

    heard: Heard
    stated: dict[str, NDArray[np.float64]]
    """Probability of each word: `calibrated`, and what it must beat."""
    measured: dict[str, CalibrationMetrics]

    def table(self) -> str:
        """For a person."""
        heard = self.heard
        words = f"{len(heard.right):,} words, {heard.right.mean():.1%} right"
        rows = [f"{words}; 95 % intervals over {len(set(heard.groups))} {heard.unit}"]
        rows.append(f"{'':28}{'ECE':>7}{'interval':>18}{'Brier':>8}{'NCE':>8}{'interval':>18}{'AUC':>7}")
        for name, one in self.measured.items():
            ece, nce = (f"{low:.3f} to {high:.3f}" for low, high in (one.ece_interval, one.nce_interval))
            rows.append(f"{name:28}{one.ece:7.3f}{ece:>18}{one.brier:8.3f}{one.nce:8.3f}{nce:>18}{one.auc:7.3f}")
        return "\n".join(rows)


def hear(model: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None = None) -> Heard:
    """Transcribe utterances and see which words are right: those that the word error rate counts as such.

    Args:
        model: a recogniser.
        utterances: transcribed ones; those too short for a frame are left out.
        decoder: as for `infer.transcribe`.

    Raises:
        ValueError: nothing is written.
    """
    vocabulary, reader = model.vocabulary, FileReader(list(utterances))
    assert vocabulary is not None  # noqa: S101 - hub gives every recogniser one
    by_speaker = len({u.speaker for u in utterances}) > 1 and all(u.speaker for u in utterances)
    shortest = factory.encoder_of(model).field_samples
    features, right, groups = [np.zeros((0, len(feature_names(decoder))))], list[bool](), list[str]()
    for row, utterance in enumerate(utterances):
        if utterance.num_samples < shortest:
            continue
        waveform = reader(row, 0, utterance.num_samples)
        written = list(transcribe.passages(model, waveform, sample_rate=SAMPLE_RATE, decoder=decoder, features=True))
        features += [one.features for one in written if one.features is not None]
        words = [vocabulary.normalise(word.text) for one in written for word in one.words]
        right += right_words(vocabulary.normalise(utterance.text or ""), words)
        groups += [str(utterance.speaker if by_speaker else row)] * len(words)
    if not right:
        raise ValueError(
            f"expected words, got none for {len(utterances)} utterances: the recogniser writes nothing. Likely it has "
            "not learnt yet, or is of another language"
        )
    return Heard(np.concatenate(features), np.array(right), groups, "speakers" if by_speaker else "utterances")


def fit(heard: Heard, decoder: BeamDecoder | None, about: dict[str, Any]) -> Confidence:
    """Confidence from the words of utterances that the recogniser has not learnt from.

    Args:
        heard: from `hear`.
        decoder: that it was heard with.
        about: where the words come from, to be kept.

    Raises:
        ValueError: all words are right, or all wrong.
    """
    means, scales = heard.features.mean(0), heard.features.std(0)
    scales = np.where(scales > 1e-9, scales, 1.0)  # what never varies gets no weight
    weights, bias = logistic((heard.features - means) / scales, heard.right)
    return Confidence(
        features=feature_names(decoder),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        weights=tuple(weights.tolist()),
        bias=bias,
        search=None if decoder is None else search_settings(decoder),
        fitted_on={**about, "words": len(heard.right), "right": int(heard.right.sum())},
    )


def judge(confidence: Confidence, heard: Heard) -> Judged:
    """Confidence against two baselines.

    They are: for every word, the share that was right where it was fitted; and
    the mean posterior of a word's symbols in their best frames, as it is.

    Args:
        confidence: from `fit`.
        heard: other words than it was fitted on.
    """
    share = confidence.fitted_on["right"] / confidence.fitted_on["words"]
    stated = {
        "calibrated": confidence.probability(heard.features),
        "constant": np.full(len(heard.right), share),
        "mean posterior of symbols": np.exp(heard.features[:, ACOUSTIC.index("symbols")]),
    }
    measured = {name: measure(one, heard.right, heard.groups) for name, one in stated.items()}
    return Judged(heard, stated, measured)


def file_of(model: str | Path) -> Path:
    """Where a model's confidence is kept.

    Raises:
        ValueError: it is a model that another program wrote; ours do not write into such folders.
    """
    place = resolve.find(model)
    if place.is_file() or huggingface.is_huggingface(place):
        raise ValueError(
            f"{place} is a model of another program, and nothing is written into it: say with --into FILE where its "
            "confidence should be kept, and give `sori transcribe` the file with --confidence FILE"
        )
    return place / CONFIDENCE


def find(model: str | Path) -> Path | None:
    """The file with a model's confidence, if it has one beside it."""
    place = resolve.find(model)
    if place.is_file() or huggingface.is_huggingface(place):
        return None
    return place / CONFIDENCE if (place / CONFIDENCE).is_file() else None


def read(path: Path, model: Ctc) -> Calibration:
    """A file that `store` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or belongs to another recogniser.
    """
    try:
        data = json.loads(read_text(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; `sori calibrate` makes one") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as JSON ({error}); likely damaged: repeat `sori calibrate`") from None
    found = Calibration.from_data(data, origin=str(path))
    if found.recogniser != digest(model):
        raise ValueError(
            f"{path} belongs to another recogniser, whose scores mean other things; likely it was copied, or the model "
            "was trained further: repeat `sori calibrate`"
        )
    return found


def store(confidence: Confidence, path: Path, model: Ctc) -> None:
    """Keep confidence, in place of what was fitted for the same way of searching before.

    Raises:
        ValueError: the file is damaged, or belongs to another recogniser.
    """
    others = read(path, model).fits if path.exists() else ()
    fits = (*(one for one in others if one.search != confidence.search), confidence)
    text = Calibration(recogniser=digest(model), fits=fits).model_dump_json(indent=1)
    write_text(path, text + "\n")


def choose(calibration: Calibration, decoder: BeamDecoder | None) -> Confidence | None:
    """What was fitted for this way of searching, if anything was."""
    wanted = None if decoder is None else search_settings(decoder)
    return next((one for one in calibration.fits if one.search == wanted), None)


def digest(model: Ctc) -> str:
    """What tells one recogniser from another: the output layer and its symbols."""
    made = hashlib.blake2b(repr(model.vocabulary and model.vocabulary.symbols).encode(), digest_size=16)
    for tensor in (model.head.weight, model.head.bias):
        made.update(tensor.detach().float().cpu().numpy().tobytes())
    return made.hexdigest()
