"""Forced alignment of a recording with its text."""

from pathlib import Path

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.decoding.forced_alignment import AlignedWords, align_words
from sori.inference.inputs import checked_recogniser, checked_source
from sori.inference.long_form import MAX_SECONDS, chunk_logits
from sori.models.factory import System


def align(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    text: str,
    *,
    sample_rate: int | None = None,
    skip_penalty: float | None = None,
) -> AlignedWords:
    """Align a known text with a recording: when each word is spoken.

    Recordings may be of any length.

    Args:
        model: a recogniser from `load`.
        source: a sound file, or a waveform.
        text: complete transcript, in the order in which it is spoken.
        sample_rate: sampling rate of a waveform, which is resampled to 16 kHz; leave it out for a file.
        skip_penalty: cost of leaving out a word, in nats, for texts with words that are not spoken; with 20, few spoken
            words are left out. None: every word must be aligned.

    Returns:
        Words as spelt in the text, with times in seconds and a confidence between 0 and 1; words left out; and
        characters that are not in the recogniser's vocabulary.

    Raises:
        ValueError: the model is not a recogniser, a waveform comes without its rate, audio is shorter than one frame,
            or the text has no words, or more characters than the speech has frames.
        FileNotFoundError: there is no such file.
    """
    recogniser, vocabulary = checked_recogniser(model)
    if not vocabulary.split(text):
        raise ValueError(
            f"expected a text with words, got {text[:50]!r}, which is empty after normalisation; likely an empty file, "
            "or one with punctuation only: give the words that are spoken"
        )
    checked = checked_source(recogniser, source, sample_rate, max_seconds=MAX_SECONDS)
    chunks = list(chunk_logits(recogniser.eval(), checked))
    if not chunks:
        name = "the waveform" if isinstance(source, Tensor) else source
        raise ValueError(f"{name} contains only silence; there is no speech to align the text with")
    step = recogniser.logit_hop_samples / SAMPLE_RATE
    times = torch.cat([chunk.start + step * torch.arange(len(chunk.logits)) for chunk in chunks])
    # Silence between chunks has no frames, so align in frame numbers first and convert them to seconds afterwards.
    found = align_words(
        torch.cat([chunk.logits for chunk in chunks]),
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
