"""When each word of a known text is spoken."""

from pathlib import Path

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.decoding.forced_alignment import AlignedWords, align_words
from sori.inference.inputs import _recogniser
from sori.inference.long_form import hear
from sori.models.factory import System


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
