"""Calibrated word confidence: fitted on transcribed speech, stored beside the model.

`confidence.json` in a model folder contains one fit for each decoder configuration, because confidence fitted without a
language model is not valid for words decoded with one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.checkpoints.store import CONFIDENCE, own_folder
from sori.core.config import Config
from sori.core.files import read_json, write_text
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamDecoder
from sori.decoding.confidence import ACOUSTIC, Confidence, feature_names, search_settings
from sori.evaluation.confidence_fit import CalibrationMetrics, logistic, measure, right_words
from sori.evaluation.recognition import recogniser_digest
from sori.inference import transcribe
from sori.models.ctc import Ctc


class Calibration(Config):
    """Contents of `confidence.json`."""

    recogniser: str
    """Digest of the recogniser's output layer and symbols."""
    fits: tuple[Confidence, ...]
    """One fit for each decoder configuration."""


class RecognisedWords(NamedTuple):
    """Recognised words of transcribed utterances, with whether each is correct."""

    features: NDArray[np.float64]
    """`word feature`."""
    correct: NDArray[np.bool_]
    groups: list[str]
    """Speaker of each word, or its utterance where speakers are unknown."""
    unit: str
    """Kind of the groups: `speakers` or `utterances`."""


class Evaluation(NamedTuple):
    """Confidence and its baselines on words it was not fitted on."""

    words: RecognisedWords
    probabilities: dict[str, NDArray[np.float64]]
    """Probability of each word, by method: `calibrated`, and the baselines."""
    metrics: dict[str, CalibrationMetrics]
    """Calibration metrics, by method."""

    def table(self) -> str:
        """Format the metrics as a text table."""
        words = self.words
        counts = f"{len(words.correct):,} words, {words.correct.mean():.1%} correct"
        rows = [f"{counts}; 95 % intervals over {len(set(words.groups))} {words.unit}"]
        rows.append(f"{'':28}{'ECE':>7}{'interval':>18}{'Brier':>8}{'NCE':>8}{'interval':>18}{'AUC':>7}")
        for name, one in self.metrics.items():
            ece, nce = (f"{low:.3f} to {high:.3f}" for low, high in (one.ece_interval, one.nce_interval))
            rows.append(f"{name:28}{one.ece:7.3f}{ece:>18}{one.brier:8.3f}{one.nce:8.3f}{nce:>18}{one.auc:7.3f}")
        return "\n".join(rows)


def recognise(model: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None = None) -> RecognisedWords:
    """Transcribe utterances and mark each word as correct or not, aligned as for the word error rate.

    Args:
        model: a recogniser.
        utterances: transcribed utterances; those too short for a frame are left out.
        decoder: beam search; None: greedy decoding.

    Raises:
        ValueError: the recogniser outputs no words.
    """
    vocabulary = model.vocabulary
    assert vocabulary is not None  # noqa: S101 - every loaded recogniser has one
    by_speaker = len({u.speaker for u in utterances}) > 1 and all(u.speaker for u in utterances)
    features, correct, groups = [np.zeros((0, len(feature_names(decoder))))], list[bool](), list[str]()
    for number, (utterance, chunks) in enumerate(transcribe.transcribe_utterances(model, utterances, decoder=decoder)):
        features += [chunk.features for chunk in chunks if chunk.features is not None]
        words = [vocabulary.normalise(word.text) for chunk in chunks for word in chunk.words]
        correct += right_words(vocabulary.normalise(utterance.text or ""), words)
        groups += [str(utterance.speaker if by_speaker else number)] * len(words)
    if not correct:
        raise ValueError(
            f"expected words, got none for {len(utterances)} utterances: the recogniser outputs no text. Likely it is "
            "not trained enough, or it was trained on another language"
        )
    return RecognisedWords(
        np.concatenate(features), np.array(correct), groups, "speakers" if by_speaker else "utterances"
    )


def fit(words: RecognisedWords, decoder: BeamDecoder | None, about: dict[str, Any]) -> Confidence:
    """Fit confidence on words of utterances that the recogniser was not trained on.

    Args:
        words: from `recognise`.
        decoder: decoder that `words` was computed with.
        about: source of the words, stored with the fit.

    Raises:
        ValueError: all words are correct, or all are wrong.
    """
    means, scales = words.features.mean(0), words.features.std(0)
    scales = np.where(scales > 1e-9, scales, 1.0)  # a constant feature gets no weight
    weights, bias = logistic((words.features - means) / scales, words.correct)
    return Confidence(
        features=feature_names(decoder),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        weights=tuple(weights.tolist()),
        bias=bias,
        search=None if decoder is None else search_settings(decoder),
        fitted_on={**about, "words": len(words.correct), "right": int(words.correct.sum())},
    )


def evaluate(confidence: Confidence, words: RecognisedWords) -> Evaluation:
    """Evaluate confidence against two baselines.

    The baselines are a constant (the fraction of correct words in the fitting data) and the mean posterior of a word's
    symbols, each in its best frame, without calibration.

    Args:
        confidence: from `fit`.
        words: words that it was not fitted on.
    """
    fraction = confidence.fitted_on["right"] / confidence.fitted_on["words"]
    probabilities = {
        "calibrated": confidence.probability(words.features),
        "constant": np.full(len(words.correct), fraction),
        "mean posterior of symbols": np.exp(words.features[:, ACOUSTIC.index("symbols")]),
    }
    metrics = {name: measure(one, words.correct, words.groups) for name, one in probabilities.items()}
    return Evaluation(words, probabilities, metrics)


def file_of(model: str | Path) -> Path:
    """Return the path of a model's confidence file.

    Raises:
        ValueError: the model is in another program's format, whose folders sori does not write to.
    """
    place = own_folder(model)
    if place is None:
        raise ValueError(
            f"{model} is a model in another program's format, and sori does not write into it: choose a file for the "
            "confidence with --into FILE, and pass it to `sori transcribe` with --confidence FILE"
        )
    return place / CONFIDENCE


def find(model: str | Path) -> Path | None:
    """Return the path of a model's confidence file, or None if there is none beside the model."""
    place = own_folder(model)
    return place / CONFIDENCE if place is not None and (place / CONFIDENCE).is_file() else None


def read(path: Path, model: Ctc) -> Calibration:
    """Read a file of `store`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or belongs to another recogniser.
    """
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; `sori calibrate` makes one") from None
    found = Calibration.from_data(data, origin=str(path))
    if found.recogniser != recogniser_digest(model):
        raise ValueError(
            f"{path} belongs to another recogniser, whose scores are not comparable; likely it was copied, or the "
            "model was trained further: repeat `sori calibrate`"
        )
    return found


def store(confidence: Confidence, path: Path, model: Ctc) -> None:
    """Store confidence in a file, replacing an earlier fit for the same decoder configuration.

    Raises:
        ValueError: the file is damaged, or belongs to another recogniser.
    """
    others = read(path, model).fits if path.exists() else ()
    fits = (*(one for one in others if one.search != confidence.search), confidence)
    text = Calibration(recogniser=recogniser_digest(model), fits=fits).model_dump_json(indent=1)
    write_text(path, text + "\n")


def choose(calibration: Calibration, decoder: BeamDecoder | None) -> Confidence | None:
    """Return the fit for this decoder configuration, or None if there is none."""
    wanted = None if decoder is None else search_settings(decoder)
    return next((one for one in calibration.fits if one.search == wanted), None)
