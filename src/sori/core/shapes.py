"""The legend of axis names, and the tensor types every public signature is written in.

Axes: `batch` utterances; `sample` audio samples (16 kHz); `frame` feature vectors (20 ms apart in the published
models); `masked` hidden frames; `dim` features; `label` symbols of a transcript; `class` entries of a vocabulary.
Test runs turn the annotations into checks (jaxtyping and beartype); production code carries no decorators.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = ["Bool", "Float", "Frames", "Int", "Tensor", "UInt8", "Units"]


class Frames(NamedTuple):
    """Feature vectors of a batch; a time tensor never travels without its lengths."""

    data: Float[Tensor, "batch frame dim"]
    lengths: Int[Tensor, " batch"]


class Units(NamedTuple):
    """Discrete units of a batch, -1 in padding."""

    data: Int[Tensor, "batch frame group"]
    lengths: Int[Tensor, " batch"]
