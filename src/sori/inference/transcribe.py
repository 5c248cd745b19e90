"""Transcribe sound files and waveforms."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Frames, Tensor
from sori.core.threads import map_in_threads, num_at_a_time
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamDecoder, Hypothesis
from sori.decoding.confidence import NUM_BEST, Confidence, feature_names, word_features, word_model
from sori.decoding.greedy import Character, Word, characters, greedy, words
from sori.decoding.transcript_formats import Alternatives
from sori.evaluation.stored_decoder import STORED, Decoder, resolved
from sori.inference.inputs import checked_recogniser, checked_source, reason_of
from sori.inference.long_form import MAX_SECONDS, chunk_logits
from sori.models.ctc import Ctc
from sori.models.factory import System, encoder_of

Timed = TypeVar("Timed", Word, Character)


class Transcript(NamedTuple):
    """Output of a recogniser for a recording."""

    text: str
    words: list[Word]
    """With times in seconds."""
    characters: list[list[Character]]
    """Characters of each word, with their times."""
    confidence: list[float] | None
    """Probability that each word is correct; None without a fitted confidence."""
    alternatives: list[Alternatives] | None
    """N-best list of each chunk; None for a decoder that returns only the best text."""


class TranscribedChunk(NamedTuple):
    """Output of a recogniser for one chunk of a recording; times are relative to the recording."""

    text: str
    words: list[Word]
    characters: list[list[Character]]
    alternatives: Alternatives
    features: NDArray[np.float64] | None
    """`word feature`: inputs of the confidence model."""


class FailedRecording(NamedTuple):
    """A recording that could not be processed, with the reason."""

    path: Path
    reason: str


def transcribe(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    *,
    sample_rate: int | None = None,
    decoder: Decoder = STORED,
    confidence: Confidence | None = None,
) -> Transcript:
    """Transcribe one recording, with the times of words and characters.

    Long recordings are processed in chunks without their silences (`long_form.py`), in memory that does not grow with
    their length.

    Args:
        model: a recogniser from `load`.
        source: a sound file, or a waveform.
        sample_rate: sampling rate of a waveform, which is resampled to 16 kHz; leave it out for a file.
        decoder: `stored`: with the language model stored with the recogniser, if it is used; another beam search
            (`lm_fusion.decoder`); None: greedy decoding.
        confidence: fitted for this model and this decoder (`calibrate.choose`); None: no confidence is computed.

    Raises:
        ValueError: the model is not a recogniser, a waveform comes without its rate, audio is shorter than one frame,
            or the confidence was fitted for another kind of decoder.
        FileNotFoundError: there is no such file.
    """
    decoder = resolved(model, decoder)
    if confidence is not None and confidence.features != feature_names(decoder):
        raise ValueError(
            f"expected confidence fitted on {', '.join(feature_names(decoder))}, got {', '.join(confidence.features)}; "
            "likely it was fitted with a language model and is used without one, or the reverse: `sori calibrate`"
        )
    chunks = list(
        transcribe_chunks(model, source, sample_rate=sample_rate, decoder=decoder, features=confidence is not None)
    )
    probabilities = None
    if confidence is not None:
        measured = [chunk.features for chunk in chunks if chunk.features is not None]
        probabilities = [float(p) for features in measured for p in confidence.probability(features)]
    return Transcript(
        " ".join(chunk.text for chunk in chunks if chunk.text),
        [word for chunk in chunks for word in chunk.words],
        [characters for chunk in chunks for characters in chunk.characters],
        probabilities,
        [chunk.alternatives for chunk in chunks] if decoder is not None and decoder.config.num_best > 1 else None,
    )


def transcribe_chunks(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    *,
    sample_rate: int | None = None,
    decoder: Decoder = STORED,
    features: bool = False,
    split_seconds: float = math.inf,
) -> Iterator[TranscribedChunk]:
    """Transcribe a recording chunk by chunk (from silence to silence); a short recording is one chunk.

    Args:
        model: a recogniser from `load`.
        source: a sound file, or a waveform.
        sample_rate: sampling rate of a waveform, which is resampled to 16 kHz; leave it out for a file.
        decoder: as for `transcribe`.
        features: whether to compute the inputs of the confidence model.
        split_seconds: see `chunk_logits`.
    """
    model, vocabulary = checked_recogniser(model)
    decoder = resolved(model, decoder)
    checked = checked_source(model, source, sample_rate, max_seconds=MAX_SECONDS)
    model.eval()
    hop, search, wanted = model.logit_hop_samples, decoder, 1 if decoder is None else decoder.config.num_best
    if decoder is not None and features and wanted < NUM_BEST:
        search = decoder.with_config(decoder.config.model_copy(update={"num_best": NUM_BEST}))
    for chunk in chunk_logits(model, checked, split_seconds=split_seconds):
        frames, start = Frames(chunk.logits[None], torch.tensor([len(chunk.logits)])), chunk.start
        best = list[Hypothesis]() if search is None else search.decode(frames)[0]
        path = best[0].path if best else greedy(frames)[0]
        measured = None
        if features:
            lm = None if decoder is None else word_model(decoder)
            measured = word_features(chunk.logits, path, vocabulary, hypotheses=best[:NUM_BEST], lm=lm)
        end = start + len(chunk.logits) * hop / SAMPLE_RATE
        yield TranscribedChunk(
            vocabulary.decode(path.ids),
            [_shifted(word, start) for word in words(path, vocabulary, hop_samples=hop)],
            [[_shifted(one, start) for one in word] for word in characters(path, vocabulary, hop_samples=hop)],
            Alternatives(start, end, [(one.text, one.score) for one in best[:wanted]]),
            measured,
        )


def _shifted(timed: Timed, seconds: float) -> Timed:
    return timed._replace(start=timed.start + seconds, end=timed.end + seconds)


def transcribe_utterances(
    model: Ctc, utterances: Sequence[Utterance], *, decoder: BeamDecoder | None
) -> Iterator[tuple[Utterance, list[TranscribedChunk]]]:
    """Transcribe utterances with the inputs of the confidence model, several at a time if the model is small.

    Args:
        model: a recogniser.
        utterances: those too short for a frame are left out.
        decoder: beam search; None: greedy decoding.

    Yields:
        Each utterance, in order, with its chunks.
    """
    shortest, reader = encoder_of(model).field_samples, FileReader(list(utterances))

    def chunks_of(row: int) -> list[TranscribedChunk]:
        waveform = reader(row, 0, utterances[row].num_samples)
        return list(transcribe_chunks(model, waveform, sample_rate=SAMPLE_RATE, decoder=decoder, features=True))

    rows = [row for row, utterance in enumerate(utterances) if utterance.num_samples >= shortest]
    every = map_in_threads(chunks_of, rows, num_threads=num_at_a_time(model))
    for row, chunks in zip(rows, every, strict=True):
        yield utterances[row], chunks


def transcribe_files(
    model: System,
    paths: Iterable[str | Path],
    *,
    decoder: Decoder = STORED,
    confidence: Confidence | None = None,
    num_threads: int | None = None,
) -> Iterator[tuple[Path, Transcript | FailedRecording]]:
    """Transcribe files, several at a time if the model is small, continuing after a file that cannot be processed.

    Args:
        model: a recogniser from `load`.
        paths: sound files.
        decoder: as for `transcribe`.
        confidence: as for `transcribe`.
        num_threads: number of files to process at a time, with one core each; None: as the model suggests.

    Yields:
        Each path, in order, with its transcript, or with the reason of the failure.
    """
    decoder = resolved(model, decoder)

    def one(path: Path) -> tuple[Path, Transcript | FailedRecording]:
        try:
            return path, transcribe(model, path, decoder=decoder, confidence=confidence)
        except Exception as error:  # noqa: BLE001 - costs this recording only
            return path, FailedRecording(path, reason_of(error, path))

    threads = num_at_a_time(model) if num_threads is None else num_threads
    yield from map_in_threads(one, map(Path, paths), num_threads=threads)
