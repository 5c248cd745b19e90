"""Axis names, and the tensor types of all public signatures.

Axes: `batch` utterances; `sample` audio samples (16 kHz); `frame` feature vectors (20 ms apart in the published
models); `masked` masked frames; `dim` features; `label` symbols of a transcript; `class` entries of a vocabulary.
Test runs turn the annotations into checks (jaxtyping and beartype); production code carries no decorators.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = ["Bool", "Float", "Frames", "Int", "Tensor", "UInt8", "Units"]


class Frames(NamedTuple):
    """Feature vectors of a batch, with their lengths."""

    data: Float[Tensor, "batch frame dim"]
    lengths: Int[Tensor, " batch"]


class Units(NamedTuple):
    """Discrete units of a batch (index of the codebook entry of each group), -1 in padding."""

    data: Int[Tensor, "batch frame group"]
    lengths: Int[Tensor, " batch"]
