"""File in, answer out: vectors and text from sound files, or from waveforms whose rate is stated."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sori.core.audio import SAMPLE_RATE, info
from sori.core.shapes import Float, Frames, Tensor
from sori.decoding.beam import BeamDecoder, Hypothesis
from sori.decoding.confidence import NUM_BEST, Confidence, feature_names, word_features, word_model
from sori.decoding.greedy import Character, Word, characters, greedy, words
from sori.decoding.transcript_formats import Alternatives
from sori.inference.inputs import _recogniser, _waveform
from sori.inference.long_form import MAX_SECONDS, hear
from sori.models.factory import System

Timed = TypeVar("Timed", Word, Character)


class Transcript(NamedTuple):
    """What a recogniser writes for a recording."""

    text: str
    words: list[Word]
    """With times in seconds."""
    characters: list[list[Character]]
    """Of each word, with their times."""
    confidence: list[float] | None
    """Of each word: the probability that it is right; None where it was not asked for."""
    alternatives: list[Alternatives] | None
    """Of each passage, the best texts; None for a decoder that was asked for one."""


class Written(NamedTuple):
    """What a recogniser writes for one passage of a recording; times are those of the recording."""

    text: str
    words: list[Word]
    characters: list[list[Character]]
    alternatives: Alternatives
    features: NDArray[np.float64] | None
    """`word feature`, for a probability that each word is right."""


class Failure(NamedTuple):
    """A recording that could not be transcribed, and why."""

    path: Path
    reason: str


def transcribe(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    *,
    sample_rate: int | None = None,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Transcript:
    """Text of one recording, with the times of its words and characters.

    Long recordings are processed in chunks without their silences (`long_form.py`), in memory that does not grow with
    their length.

    Args:
        model: a recogniser from `load`.
        source: a sound file, or a waveform.
        sample_rate: of a waveform, to be stated; a file knows its own.
        decoder: beam search with a language model (`language.decoder`); None: the likeliest symbol of each frame.
        confidence: fitted for this model and this decoder (`calibration.choose`); None: words get none.

    Raises:
        ValueError: the model is no recogniser, a waveform comes without its rate, audio is shorter than one frame, or
            the confidence was fitted for another kind of decoder.
        FileNotFoundError: there is no such file.
    """
    if confidence is not None and confidence.features != feature_names(decoder):
        raise ValueError(
            f"expected confidence fitted on {', '.join(feature_names(decoder))}, got {', '.join(confidence.features)}; "
            "likely it was fitted with a language model and is used without one, or the reverse: `sori calibrate`"
        )
    found = list(passages(model, source, sample_rate=sample_rate, decoder=decoder, features=confidence is not None))
    sure = None
    if confidence is not None:
        measured = [one.features for one in found if one.features is not None]
        sure = [float(p) for features in measured for p in confidence.probability(features)]
    return Transcript(
        " ".join(one.text for one in found if one.text),
        [word for one in found for word in one.words],
        [letters for one in found for letters in one.characters],
        sure,
        [one.alternatives for one in found] if decoder is not None and decoder.config.num_best > 1 else None,
    )


def passages(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    *,
    sample_rate: int | None = None,
    decoder: BeamDecoder | None = None,
    features: bool = False,
) -> Iterator[Written]:
    """What is written for each passage between two silences, short recordings being one; as `transcribe`.

    Args:
        model: a recogniser from `load`.
        source: a sound file, or a waveform.
        sample_rate: of a waveform, to be stated; a file knows its own.
        decoder: beam search; None: the likeliest symbol of each frame.
        features: measure what confidence is made of.
    """
    model, vocabulary = _recogniser(model)
    if isinstance(source, Tensor) or info(source).num_samples <= MAX_SECONDS * SAMPLE_RATE:
        source = _waveform(model, source, sample_rate)
    model.eval()
    hop, search, wanted = model.logit_hop_samples, decoder, 1 if decoder is None else decoder.config.num_best
    if decoder is not None and features and wanted < NUM_BEST:
        search = decoder.with_config(decoder.config.model_copy(update={"num_best": NUM_BEST}))
    for passage in hear(model, Path(source) if isinstance(source, str) else source):
        frames, start = Frames(passage.logits[None], torch.tensor([len(passage.logits)])), passage.start
        best = list[Hypothesis]() if search is None else search.decode(frames)[0]
        path = best[0].path if best else greedy(frames)[0]
        measured = None
        if features:
            lm = None if decoder is None else word_model(decoder)
            measured = word_features(passage.logits, path, vocabulary, hypotheses=best[:NUM_BEST], lm=lm)
        end = start + len(passage.logits) * hop / SAMPLE_RATE
        yield Written(
            vocabulary.decode(path.ids),
            [_later(word, start) for word in words(path, vocabulary, hop_samples=hop)],
            [[_later(one, start) for one in word] for word in characters(path, vocabulary, hop_samples=hop)],
            Alternatives(start, end, [(one.text, one.score) for one in best[:wanted]]),
            measured,
        )


def _later(timed: Timed, seconds: float) -> Timed:
    return timed._replace(start=timed.start + seconds, end=timed.end + seconds)


def transcribe_files(
    model: System,
    paths: Iterable[str | Path],
    *,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Iterator[tuple[Path, Transcript | Failure]]:
    """Many files, one after the other; one that cannot be read does not stop the others.

    Yields:
        Each path with its transcript, or with why there is none.
    """
    for path in map(Path, paths):
        try:
            yield path, transcribe(model, path, decoder=decoder, confidence=confidence)
        except (ValueError, OSError) as error:
            yield path, Failure(path, str(error))
