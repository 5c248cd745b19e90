"""Convolutions normalised over the channels and time of a clip together (GroupNorm with one group).

Such a norm removes a clip's loudness and makes every frame depend on the whole clip. Its statistics are computed from
the real frames only, so that an utterance gives the same values alone and padded.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import nn
from torch.nn import functional

from sori.core.shapes import Float, Frames, Int, Tensor
from sori.nn.lengths import num_frames, receptive_field, valid

Activation = Literal["relu", "gelu"]


class ClipNorm(nn.Module):
    """Group normalisation over the channels of a group and all real frames of a clip, in float32 or wider.

    Args:
        dim: number of channels.
        num_groups: number of channel groups, each with its own mean and variance.
    """

    def __init__(self, dim: int, *, num_groups: int = 1) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(
        self, x: Float[Tensor, "batch dim frame"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch dim frame"]:
        """Return the normalised values, same shape; padding frames are finite but meaningless.

        Args:
            x: values, channels first.
            lengths: number of real frames of each clip; None: all frames are real, which is faster.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            if lengths is None:
                return functional.group_norm(x, self.num_groups, self.weight, self.bias)
            groups = x.reshape(len(x), self.num_groups, -1, x.shape[2])
            real = valid(lengths, x.shape[2])[:, None, None]
            count = (lengths * groups.shape[2])[:, None, None, None]
            mean = groups.masked_fill(~real, 0).sum((2, 3), keepdim=True) / count
            centred = (groups - mean).masked_fill(~real, 0)
            variance = centred.square().sum((2, 3), keepdim=True) / count
            normed: Tensor = (centred * (variance + 1e-5).rsqrt()).flatten(1, 2)
            return normed * self.weight[:, None] + self.bias[:, None]


class ClipConv(nn.Module):
    """Convolutions without bias or padding, each followed by `ClipNorm` and an activation (Schneider et al. 2019, §2).

    Args:
        num_inputs: number of input channels; 1 for a waveform.
        dim: number of channels of every layer.
        kernels: kernel size of each layer.
        strides: stride of each layer.
        activation: activation after each norm.
        log_compression: whether to apply log(1 + |x|) after the last layer.
    """

    def __init__(
        self,
        num_inputs: int,
        dim: int,
        *,
        kernels: Sequence[int],
        strides: Sequence[int],
        activation: Activation = "relu",
        log_compression: bool = True,
    ) -> None:
        super().__init__()
        self.field, self.hop = receptive_field(kernels, strides)
        self.activation, self.log_compression = activation, log_compression
        inputs = [num_inputs, *[dim] * (len(kernels) - 1)]
        self.convs = nn.ModuleList(
            nn.Conv1d(count, dim, k, s, bias=False) for count, k, s in zip(inputs, kernels, strides, strict=True)
        )
        self.norms = nn.ModuleList(ClipNorm(dim) for _ in kernels)

    def forward(self, x: Float[Tensor, "batch frame_in input"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the frames of the last layer.

        Args:
            x: samples or frames.
            lengths: number of real ones in each clip.

        Raises:
            ValueError: if a clip is shorter than the receptive field of one frame.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field, hop_samples=self.hop)
        y = x[:, : int(lengths.max())].transpose(1, 2)
        uneven = int(lengths.min()) < y.shape[2]
        for conv, norm in zip(cast("list[nn.Conv1d]", list(self.convs)), self.norms, strict=True):
            lengths = (lengths - conv.kernel_size[0]) // conv.stride[0] + 1
            y = activate(norm(conv(y), lengths if uneven else None), self.activation)
        if self.log_compression:
            y = torch.log1p(y.abs())
        return Frames(y.transpose(1, 2), frame_lengths)


def activate(x: Float[Tensor, "*axes"], activation: Activation) -> Float[Tensor, "*axes"]:
    """Apply ReLU or GELU."""
    return functional.relu(x) if activation == "relu" else functional.gelu(x)


def at_least_float32(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Convert half precision to float32 and leave wider types unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
