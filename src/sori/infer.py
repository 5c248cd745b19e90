"""File in, answer out: vectors and text from sound files, or from waveforms whose rate is stated."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from sori.audio import SAMPLE_RATE, info, read
from sori.decoding.align import AlignedWords, align_words
from sori.decoding.beam import BeamDecoder
from sori.decoding.ctc import Word, greedy, words
from sori.hearing import MAX_SECONDS, hear
from sori.hub import System, encoder_of
from sori.shapes import Float, Frames, Tensor
from sori.systems.ctc import Ctc
from sori.text import Vocabulary


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
    wave = _wave(model, source, sample_rate)
    model.eval()
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
) -> Transcript:
    """Text of one recording, with the times of its words.

    Recordings of hours are heard in pieces, their silences left out (`hearing.py`), in memory that does not grow with
    them.

    Args:
        model: a recogniser from `load`.
        source: a sound file, or a waveform.
        sample_rate: of a waveform, to be stated; a file knows its own.
        decoder: beam search with a language model (`language.decoder`); None: the likeliest symbol of each frame.

    Raises:
        ValueError: the model is no recogniser, a waveform comes without its rate, or audio is shorter than one frame.
        FileNotFoundError: there is no such file.
    """
    model, vocabulary = _recogniser(model)
    if isinstance(source, Tensor) or info(source).num_samples <= MAX_SECONDS * SAMPLE_RATE:
        source = _wave(model, source, sample_rate)
    model.eval()
    texts, found = list[str](), list[Word]()
    for passage in hear(model, Path(source) if isinstance(source, str) else source):
        frames = Frames(passage.logits[None], torch.tensor([len(passage.logits)]))
        path = greedy(frames)[0] if decoder is None else decoder.decode(frames)[0][0].path
        texts.append(vocabulary.decode(path.ids))
        found += [
            word._replace(start=word.start + passage.start, end=word.end + passage.start)
            for word in words(path, vocabulary, hop_samples=model.logit_hop_samples)
        ]
    return Transcript(" ".join(text for text in texts if text), found)


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
    model: System, paths: Iterable[str | Path], *, decoder: BeamDecoder | None = None
) -> Iterator[tuple[Path, Transcript | Failure]]:
    """Many files, one after the other; one that cannot be read does not stop the others.

    Yields:
        Each path with its transcript, or with why there is none.
    """
    for path in map(Path, paths):
        try:
            yield path, transcribe(model, path, decoder=decoder)
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
