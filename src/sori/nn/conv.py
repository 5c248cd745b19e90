"""Convolutions over waveforms and over time."""

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from sori.config import Config
from sori.nn.lengths import num_frames, receptive_field, valid
from sori.shapes import Float, Frames, Int, Tensor


class ConvConfig(Config):
    """Strided convolutions over the waveform; the defaults are those of wav2vec 2.0, a frame each 20 ms."""

    kind: Literal["conv"] = "conv"
    norm: Literal["group", "layer"] = "group"
    """"group" normalises each channel over time, after the first layer only: the result then depends on the whole
    length of the input. "layer" normalises each vector after every layer."""
    bias: bool = False
    dim: int = 512
    """Channels of every layer."""
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    normalize: bool = False
    """Bring every utterance to mean 0 and variance 1 first; must not change between pre-training and fine-tuning."""


class WaveConv(nn.Module):
    """Convolutions over the waveform without padding, each followed by GELU (Baevski et al. 2020, section 2)."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        self.field_samples, self.hop_samples = receptive_field(config.kernels, config.strides)
        self.convs = nn.ModuleList(
            nn.Conv1d(config.dim if i else 1, config.dim, kernel, stride, bias=config.bias)
            for i, (kernel, stride) in enumerate(zip(config.kernels, config.strides, strict=True))
        )
        match config.norm:
            case "group":
                self.norms = nn.ModuleList([nn.GroupNorm(config.dim, config.dim)])
            case "layer":
                self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in config.kernels)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"))

    def forward(self, wave: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Vectors of the last layer, the same for an utterance alone and padded.

        With norm "group", utterances of different lengths are computed one after the other, each without its padding,
        which the normalisation over time would mix into every frame.

        Raises:
            ValueError: for an utterance shorter than one frame.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        if self.config.normalize:
            wave = normalize_wave(wave, lengths)
        longest = int(lengths.max())
        if self.config.norm == "group" and int(lengths.min()) < longest:
            alone = [self._stack(row[None, :length])[0] for row, length in zip(wave, lengths.tolist(), strict=True)]
            return Frames(nn.utils.rnn.pad_sequence(alone, batch_first=True), frame_lengths)
        return Frames(self._stack(wave[:, :longest]), frame_lengths)

    def _stack(self, wave: Tensor) -> Tensor:
        x = wave.unsqueeze(1)
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.config.norm == "layer":
                x = self.norms[i](x.transpose(1, 2)).transpose(1, 2)
            elif i == 0:
                x = self.norms[0](x)
            x = functional.gelu(x)
        return x.transpose(1, 2)


def normalize_wave(
    wave: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch sample"]:
    """Mean 0 and variance 1 (population, + 1e-5) over the real samples of each utterance; padding becomes 0."""
    real = valid(lengths, wave.shape[1])
    x = wave - (wave * real).sum(1, keepdim=True) / lengths[:, None]
    variance = (x.square() * real).sum(1, keepdim=True) / lengths[:, None]
    return torch.where(real, x * (variance + 1e-5).rsqrt(), 0)


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
