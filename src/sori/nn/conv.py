"""Convolutions over waveforms and over time."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from sori.nn.lengths import receptive_field
from sori.shapes import Float, Tensor

ConvNorm = Literal["group", "layer"]


class WaveConv(nn.Module):
    """A chain of strided convolutions over the waveform, each followed by GELU (Baevski et al. 2020, section 2).

    Args:
        dim: channels of every layer.
        kernels: samples (later: vectors) seen by each layer; nothing is padded.
        strides: hop of each layer.
        norm: "group" normalises each channel over time, after the first layer only: the result then depends on the
            whole length of the input, so padding must not be fed. "layer" normalises each vector after every layer.
        bias: whether the convolutions have one.
    """

    def __init__(self, dim: int, *, kernels: Sequence[int], strides: Sequence[int], norm: ConvNorm, bias: bool) -> None:
        super().__init__()
        self.field_samples, self.hop_samples = receptive_field(kernels, strides)
        self.norm = norm
        shapes = zip(kernels, strides, strict=True)
        self.convs = nn.ModuleList(
            nn.Conv1d(dim if i else 1, dim, kernel, stride, bias=bias) for i, (kernel, stride) in enumerate(shapes)
        )
        match norm:
            case "group":
                self.norms = nn.ModuleList([nn.GroupNorm(dim, dim)])
            case "layer":
                self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in kernels)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"))

    def forward(self, wave: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch frame dim"]:
        """Vectors of the last layer; `floor((sample - field_samples) / hop_samples) + 1` of them."""
        x = wave.unsqueeze(1)
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.norm == "layer":
                x = self.norms[i](x.transpose(1, 2)).transpose(1, 2)
            elif i == 0:
                x = self.norms[0](x)
            x = functional.gelu(x)
        return x.transpose(1, 2)


class PositionalConv(nn.Module):
    """Relative positions from a wide grouped convolution (Baevski et al. 2020, section 2; Mohamed et al. 2019).

    The weight is normalised with one gain for each tap of the kernel. An even kernel sees one frame more to the left.

    Args:
        dim: of the frames.
        kernel: taps.
        num_groups: of channels.
    """

    def __init__(self, dim: int, *, kernel: int, num_groups: int) -> None:
        super().__init__()
        self.kernel, self.num_groups = kernel, num_groups
        self.direction = nn.Parameter(torch.empty(dim, dim // num_groups, kernel))
        self.gain = nn.Parameter(torch.empty(1, 1, kernel))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.direction, std=math.sqrt(4 / (kernel * dim)))
        with torch.no_grad():
            self.gain.copy_(self.direction.norm(dim=(0, 1), keepdim=True))

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """What is to be added to the frames; frames of padding must be zero."""
        weight = self.direction * (self.gain / self.direction.norm(dim=(0, 1), keepdim=True))
        y = functional.conv1d(
            x.transpose(1, 2), weight, self.bias, padding=self.kernel // 2, groups=self.num_groups
        ).transpose(1, 2)
        return functional.gelu(y[:, : x.shape[1]])


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return gradient * ctx.scale, None


def scale_gradient(x: Float[Tensor, "*axes"], scale: float) -> Float[Tensor, "*axes"]:
    """The same values; what flows back through them is multiplied by `scale`."""
    return _ScaleGradient.apply(x, scale) if scale != 1 else x  # type: ignore[no-untyped-call]
