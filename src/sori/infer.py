"""File in, answer out: vectors and text from sound files, or from waveforms whose rate is stated."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sori.audio import SAMPLE_RATE, info, read
from sori.decoding.align import AlignedWords, align_words
from sori.decoding.beam import BeamDecoder, Hypothesis
from sori.decoding.confidence import NUM_BEST, Confidence, feature_names, word_features, word_model
from sori.decoding.ctc import Character, Word, characters, greedy, words
from sori.decoding.formats import Alternatives
from sori.hearing import MAX_SECONDS, hear
from sori.hub import System, encoder_of, of_frames
from sori.shapes import Float, Frames, Tensor
from sori.systems.ctc import Ctc
from sori.text import Vocabulary

Timed = TypeVar("Timed", Word, Character)


class Embedding(NamedTuple):
    """What an encoder makes of a recording."""

    frames: Float[Tensor, "frame dim"]
    times: Float[Tensor, " frame"]
    """Seconds from the beginning to the middle of each frame."""


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


def embed(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    *,
    layer: int | None = None,
    sample_rate: int | None = None,
) -> Embedding:
    """Vectors of one recording.

    Args:
        model: from `load`; a recogniser gives its encoder's vectors.
        source: a sound file, or a waveform.
        layer: 0 is the input of the first block, None the output of the last.
        sample_rate: of a waveform, to be stated; a file knows its own.

    Raises:
        ValueError: a waveform without its rate or at another one than 16 kHz, audio shorter than one frame, or an
            unknown layer.
        FileNotFoundError: there is no such file.
    """
    model = of_frames(model.eval())
    wave = _wave(model, source, sample_rate)
    with torch.no_grad():
        frames = encoder_of(model).frames(wave[None], _length(wave), layer=layer).data[0]
    middle = encoder_of(model).hop_samples / 2
    times = (torch.arange(len(frames)) * encoder_of(model).hop_samples + middle) / SAMPLE_RATE
    return Embedding(frames.cpu(), times)


def transcribe(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    *,
    sample_rate: int | None = None,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Transcript:
    """Text of one recording, with the times of its words and characters.

    Recordings of hours are heard in pieces, their silences left out (`hearing.py`), in memory that does not grow with
    them.

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
        source = _wave(model, source, sample_rate)
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


def align(
    model: System, source: str | Path | Float[Tensor, " sample"], text: str, *, skip_penalty: float | None = None
) -> AlignedWords:
    """When each word of a known text is spoken, for recordings of any length.

    Args:
        model: a recogniser from `load`.
        source: a sound file, or a waveform of 16 kHz.
        text: what is said, all of it and in order.
        skip_penalty: nats that leaving out a word costs, for texts of which some words are not spoken; 20 leaves out
            few that are. None: every word is spoken.

    Returns:
        Words as written in the text, with times in seconds and a confidence between 0 and 1; words left out; and
        letters that the recogniser cannot write.

    Raises:
        ValueError: the model is no recogniser, or the text has more letters than there are frames of speech.
        FileNotFoundError: there is no such file.
    """
    recogniser, vocabulary = _recogniser(model)
    passages = list(hear(recogniser.eval(), Path(source) if isinstance(source, str) else source))
    if not passages:
        raise ValueError(f"{source} holds nothing but silence; there is no speech to align the text with")
    step = recogniser.logit_hop_samples / SAMPLE_RATE
    times = torch.cat([passage.start + step * torch.arange(len(passage.logits)) for passage in passages])
    # Silence between passages is left out: words are found in numbers of frames first.
    found = align_words(
        torch.cat([passage.logits for passage in passages]),
        text,
        vocabulary,
        hop_samples=float(SAMPLE_RATE),
        skip_penalty=skip_penalty,
    )
    seconds = [
        word._replace(start=float(times[round(word.start)]), end=float(times[max(round(word.end) - 1, 0)]) + step)
        for word in found.words
    ]
    return found._replace(words=seconds)


def _recogniser(model: System) -> tuple[Ctc, Vocabulary]:
    if not isinstance(model, Ctc) or model.vocabulary is None:
        raise ValueError(
            "expected a recogniser, got a model that only knows sounds; fine-tune it with transcripts first: "
            "`sori train ctc_10min --init MODEL`"
        )
    return model, model.vocabulary


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


def _length(wave: Tensor) -> Tensor:
    return torch.tensor([len(wave)], device=wave.device)


def _wave(model: System, source: str | Path | Tensor, sample_rate: int | None) -> Float[Tensor, " sample"]:
    """16 kHz samples on the model's device, long enough for a frame."""
    if isinstance(source, Tensor):
        if sample_rate != SAMPLE_RATE:
            raise ValueError(
                f"expected a waveform with sample_rate={SAMPLE_RATE}, got sample_rate={sample_rate}; a waveform does "
                "not know its rate, and at a wrong one every sound is another: give what `sori.read` returns with "
                f"sample_rate={SAMPLE_RATE}, or the file itself, which is resampled"
            )
        wave, name = source, "the waveform"
    else:
        wave, name = read(source), str(source)
    shortest = encoder_of(model).field_samples
    if len(wave) < shortest:
        raise ValueError(
            f"{name} gives {len(wave)} samples, but one frame needs {shortest} ({shortest * 1000 // SAMPLE_RATE} ms); "
            "likely an empty or cut recording"
        )
    if not bool(torch.isfinite(wave).all()):
        raise ValueError(
            f"{name} holds NaN or infinite samples; likely damaged, or a failed conversion: export it again"
        )
    return wave.to(next(model.parameters()).device)
