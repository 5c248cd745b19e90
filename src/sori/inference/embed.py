"""Frame vectors of recordings."""

from pathlib import Path
from typing import NamedTuple

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.inference.inputs import as_lengths, checked_source, checked_waveform
from sori.inference.windows import WINDOW_SECONDS, frames_of, open_reader
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

    Recordings of more than 30 s are processed in overlapping windows (`windows.py`), so that only the result grows with
    their length.

    Args:
        model: from `load`; for a recogniser, its encoder is used.
        source: a sound file, or a waveform.
        layer: 0 is the input of the first block, None the output of the last.
        sample_rate: sampling rate of a waveform, which is resampled to 16 kHz; leave it out for a file.

    Raises:
        ValueError: a waveform without a rate, audio shorter than one frame, or an unknown layer.
        FileNotFoundError: there is no such file.
    """
    model = of_frames(model.eval())
    encoder = encoder_of(model)
    read, num_samples = open_reader(checked_source(model, source, sample_rate, max_seconds=WINDOW_SECONDS))

    def compute(part: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        waveform = checked_waveform(model, part, SAMPLE_RATE)
        return model.extract_features(waveform[None], as_lengths(waveform), layer=layer).data[0]

    hop = encoder.hop_samples
    with torch.no_grad():
        frames = frames_of(compute, read, num_samples, hop_samples=hop, field_samples=encoder.field_samples)
    times = (torch.arange(len(frames)) * hop + hop / 2) / SAMPLE_RATE
    return Embedding(frames, times)
