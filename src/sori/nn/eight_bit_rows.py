"""Rows of 8-bit integers with one scale each, and the compiled steps between two 8-bit matrix products.

A value is an integer of -127 to 127 times the scale of its row, which is the largest absolute value of the row divided
by 127. A scale depends on its own row only, so that neither padding nor other utterances change a result.

Each step reads the sums of one product once and writes the integers of the next: in separate torch operations, the
copies between them took longer than the products.
"""

from typing import NamedTuple, no_type_check

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sori.core.compiled import jit
from sori.core.shapes import Tensor

LARGEST = 127
_F = np.float32
_ABSOLUTE = np.int32(0x7FFFFFFF)
"""Bits of a float32 number without its sign; as integers, they are in the order of the absolute values."""

# 0.5 + x P(x^2), with |x| at most 4, approximates the normal distribution function: least squares on Chebyshev nodes,
# reweighted until x times the error was even, at most 4.2e-5 (beyond 4, times |x|). It is below the rounding to 8
# bits of rows whose largest value is above 0.01.
_EDGE = _F(4)
_P = tuple(
    _F(c)
    for c in (
        0.3986733798468581,
        -0.06588781309465219,
        0.009505379439238463,
        -0.0010064850475899898,
        7.485425697013273e-05,
        -3.6570701049023265e-06,
        1.0419348932073382e-07,
        -1.301252690575302e-09,
    )
)
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7 = _P


class Rows(NamedTuple):
    """Rows of 8-bit integers; `row` are the frames of all utterances."""

    values: Tensor
    """`row column`, int8."""
    scales: Tensor
    """` row`, float32."""


class Norm(NamedTuple):
    """Normalisation of a row to mean 0 and variance 1, and what follows it; empty arrays: none."""

    gain: NDArray[np.float32]
    shift: NDArray[np.float32]
    eps: float

    @classmethod
    def of(cls, layer: nn.Module | None) -> "Norm":
        """Return that of a LayerNorm, whose parameters it shares."""
        if layer is None:
            empty = np.empty(0, np.float32)
            return cls(empty, empty, 0.0)
        assert isinstance(layer, nn.LayerNorm)  # noqa: S101 - the only normalisation of rows in these models
        return cls(layer.weight.detach().numpy(), layer.bias.detach().numpy(), layer.eps)


def empty(num_rows: int, dim: int) -> Rows:
    """Return rows to be written."""
    return Rows(torch.empty(num_rows, dim, dtype=torch.int8), torch.empty(num_rows))


def quantise(x: Tensor) -> Rows:
    """Round `row column` float32 values."""
    rows = empty(*x.shape)
    _quantise(x.numpy(), rows.values.numpy(), rows.scales.numpy())
    return rows


def gelu_windows(
    sums: Tensor, scales: Tensor, bias: Tensor, norm: Norm, *, taps: int = 1, stride: int = 1, into: Rows | None = None
) -> Rows:
    """Return the windows of gelu(norm(sums * scales + bias)), the input of the next layer as rows.

    Args:
        sums: `frame dim` float32, a product of integers.
        scales: ` frame`, scales of its rows.
        bias: ` dim`.
        norm: normalisation of each frame before GELU.
        taps: frames in one window; a row holds them one after the other.
        stride: frames from one window to the next.
        into: rows to write to.
    """
    num_windows = (len(sums) - taps) // stride + 1
    rows = empty(num_windows, taps * sums.shape[1]) if into is None else into
    arrays = (one.numpy() for one in (sums, scales, bias))
    _gelu_windows(*arrays, norm, taps, stride, rows.values.numpy(), rows.scales.numpy())
    return rows


def add_norm(
    x: Tensor, sums: Tensor, scales: Tensor, bias: Tensor, norm: Norm, *, keep_sum: bool
) -> tuple[Tensor, Rows]:
    """Return t = x + sums * scales + bias, or the normalised t, and the latter as rows.

    Args:
        x: `frame dim` float32.
        sums: likewise, a product of integers.
        scales: ` frame`, scales of its rows.
        bias: ` dim`.
        norm: normalisation of each frame.
        keep_sum: whether to return t itself.
    """
    out, rows = torch.empty_like(x), empty(*x.shape)
    arrays = (one.numpy() for one in (x, sums, scales, bias))
    _add_norm(*arrays, norm, keep_sum, out.numpy(), rows.values.numpy(), rows.scales.numpy())
    return out, rows


def to_bfloat16(sums: Tensor, scales: Tensor, bias: Tensor) -> Tensor:
    """Return sums * scales + bias, `frame dim`, in bfloat16."""
    made = torch.empty(sums.shape, dtype=torch.bfloat16)
    _to_bfloat16(sums.numpy(), scales.numpy(), bias.numpy(), made.view(torch.int16).numpy().view(np.uint16))
    return made


@no_type_check
@jit(fastmath={"contract"})
def _scaled(sums: NDArray[np.float32], scale: np.float32, bias: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for j in range(len(out)):
        out[j] = sums[j] * scale + bias[j]


@no_type_check
@jit()
def _add(row: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for j in range(len(out)):
        out[j] += row[j]


@no_type_check
@jit()
def _copy(row: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for j in range(len(out)):
        out[j] = row[j]


@no_type_check
@jit(fastmath={"contract"})
def _gelu(row: NDArray[np.float32]) -> None:
    for j in range(len(row)):
        x = row[j]
        edge = min(max(x, -_EDGE), _EDGE)
        t = edge * edge
        p = ((((((_P7 * t + _P6) * t + _P5) * t + _P4) * t + _P3) * t + _P2) * t + _P1) * t + _P0
        row[j] = x * (_F(0.5) + edge * p)


@no_type_check
@jit(fastmath={"contract", "reassoc"})
def _normalise(row: NDArray[np.float32], norm: Norm) -> None:
    mean = _F(0)
    for j in range(len(row)):
        mean += row[j]
    mean /= _F(len(row))
    square = _F(0)
    for j in range(len(row)):
        square += (row[j] - mean) * (row[j] - mean)
    factor = _F(1) / np.sqrt(square / _F(len(row)) + _F(norm.eps))
    gain, shift = norm.gain, norm.shift
    for j in range(len(row)):
        row[j] = (row[j] - mean) * factor * gain[j] + shift[j]


@no_type_check
@jit()
def _top(row: NDArray[np.float32]) -> np.int32:
    """Return the bits of the largest absolute value: as integers, numba compares sixteen at a time."""
    bits = row.view(np.int32)
    top = np.int32(0)
    for j in range(len(bits)):
        top = max(top, bits[j] & _ABSOLUTE)
    return top


@no_type_check
@jit()
def _rounded(row: NDArray[np.float32], factor: np.float32, out: NDArray[np.int8]) -> None:
    for j in range(len(row)):
        out[j] = np.int8(np.int32(np.rint(row[j] * factor)))


@no_type_check
@jit()
def _scale_of(top: np.float32) -> np.float32:
    """Return the scale of a row; of zeros, any."""
    return max(top, _F(1e-30)) / _F(LARGEST)


@no_type_check
@jit()
def _quantise(x: NDArray[np.float32], values: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
    bits = scales.view(np.int32)
    for i in range(len(x)):
        bits[i] = _top(x[i])
        scales[i] = _scale_of(scales[i])
        _rounded(x[i], _F(1) / scales[i], values[i])


@no_type_check
@jit()
def _gelu_windows(
    sums: NDArray[np.float32],
    sum_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    norm: Norm,
    taps: int,
    stride: int,
    values: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> None:
    dim, ring = sums.shape[1], taps
    kept = np.empty((ring, dim), np.float32)  # the frames of the current window; frame i is in row i % ring
    tops = np.empty(ring, np.int32)
    bits = scales.view(np.int32)
    done = 0
    for window in range(len(values)):
        first = window * stride
        done = max(done, first)
        while done < first + taps:
            frame = kept[done % ring]
            _scaled(sums[done], sum_scales[done], bias, frame)
            if len(norm.gain):
                _normalise(frame, norm)
            _gelu(frame)
            tops[done % ring] = _top(frame)
            done += 1
        bits[window] = tops.max()
        scales[window] = _scale_of(scales[window])
        factor = _F(1) / scales[window]
        for tap in range(taps):
            _rounded(kept[(first + tap) % ring], factor, values[window, tap * dim : (tap + 1) * dim])


@no_type_check
@jit()
def _add_norm(
    x: NDArray[np.float32],
    sums: NDArray[np.float32],
    sum_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    norm: Norm,
    keep_sum: bool,
    out: NDArray[np.float32],
    values: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> None:
    row = np.empty(x.shape[1], np.float32)
    bits = scales.view(np.int32)
    for i in range(len(x)):
        _scaled(sums[i], sum_scales[i], bias, row)
        _add(x[i], row)
        if keep_sum:
            _copy(row, out[i])
        _normalise(row, norm)
        if not keep_sum:
            _copy(row, out[i])
        bits[i] = _top(row)
        scales[i] = _scale_of(scales[i])
        _rounded(row, _F(1) / scales[i], values[i])


@no_type_check
@jit()
def _to_bfloat16(
    sums: NDArray[np.float32], scales: NDArray[np.float32], bias: NDArray[np.float32], out: NDArray[np.uint16]
) -> None:
    row = np.empty(sums.shape[1], np.float32)
    bits = row.view(np.uint32)
    for i in range(len(sums)):
        _scaled(sums[i], scales[i], bias, row)
        for j in range(len(row)):  # rounded to nearest, ties to even
            odd = (bits[j] >> np.uint32(16)) & np.uint32(1)
            out[i, j] = np.uint16((bits[j] + np.uint32(0x7FFF) + odd) >> np.uint32(16))
