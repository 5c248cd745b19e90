"""Frame vectors of recordings."""

from pathlib import Path
from typing import NamedTuple

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.inference.inputs import as_lengths, checked_waveform
from sori.models.factory import System, encoder_of, of_frames


class Embedding(NamedTuple):
    """Frame vectors of a recording, and their times."""

    frames: Float[Tensor, "frame dim"]
    times: Float[Tensor, " frame"]
    """Middle of each frame, in seconds from the beginning of the recording."""


def embed(
    model: System,
    source: str | Path | Float[Tensor, " sample"],
    *,
    layer: int | None = None,
    sample_rate: int | None = None,
) -> Embedding:
    """Return the frame vectors of one recording.

    Args:
        model: from `load`; for a recogniser, its encoder is used.
        source: a sound file, or a waveform.
        layer: 0 is the input of the first block, None the output of the last.
        sample_rate: sampling rate of a waveform, which must be 16 kHz; leave it out for a file.

    Raises:
        ValueError: a waveform without a rate or at another rate than 16 kHz, audio shorter than one frame, or an
            unknown layer.
        FileNotFoundError: there is no such file.
    """
    model = of_frames(model.eval())
    waveform = checked_waveform(model, source, sample_rate)
    with torch.no_grad():
        frames = encoder_of(model).extract_features(waveform[None], as_lengths(waveform), layer=layer).data[0]
    middle = encoder_of(model).hop_samples / 2
    times = (torch.arange(len(frames)) * encoder_of(model).hop_samples + middle) / SAMPLE_RATE
    return Embedding(frames.cpu(), times)
