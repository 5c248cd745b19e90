"""Conversion from samples to frames: receptive field, frame counts, and which frames are real.

All front ends use whole windows only (no padding), so one formula gives their frame counts:
`floor((samples - field) / hop) + 1`. It also holds for a chain of valid convolutions, with its combined field and hop.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from sori.core.shapes import Bool, Float, Int, Tensor

PerLayer = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=100)]
"""In a configuration: kernel size or stride of each convolution."""


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return the receptive field of a chain of convolutions, and the hop from one output to the next, in samples."""
    field, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return field, hop


def num_frames(lengths: Int[Tensor, " batch"], *, field_samples: int, hop_samples: int) -> Int[Tensor, " batch"]:
    """Return the number of whole windows in each utterance.

    Raises:
        ValueError: if an utterance is shorter than one window.
    """
    shortest = int(lengths.min())
    if shortest < field_samples:
        raise ValueError(
            f"an utterance of {shortest} samples is shorter than one frame, which needs {field_samples} samples "
            f"({field_samples / 16:.1f} ms at 16 kHz); it is probably cut at a wrong place, or from an almost empty "
            "file: leave it out, or pad it with silence"
        )
    return (lengths - field_samples) // hop_samples + 1


def valid(lengths: Int[Tensor, " batch"], num_frames: int) -> Bool[Tensor, "batch frame"]:
    """Return True where a frame is real, False where it is padding."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def mean_square(features: Float[Tensor, "batch frame dim"], lengths: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Return the mean square of all values of real frames, in float32 (feature penalty of wav2vec 2.0)."""
    square = features.float().square().mean(-1)
    return (square * valid(lengths, square.shape[1])).sum() / lengths.sum()
