"""Strided convolutions over the waveform with padding, as in CPC: round lengths give a whole number of frames."""

import itertools
import math
import operator
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sori.core.config import Config
from sori.core.shapes import Bool, Float, Frames, Int, Tensor
from sori.nn.conv import strided_conv
from sori.nn.lengths import PerLayer, num_frames, receptive_field, valid


class PaddedConvConfig(Config):
    """Five convolutions over 16 kHz audio: a frame every 10 ms, with a receptive field of 29 ms."""

    kind: Literal["padded_conv"] = "padded_conv"
    norm: Literal["channel", "batch"] = "channel"
    """Normalisation after every convolution: "channel" normalises each frame over its channels; "batch" each channel
    over all frames of the batch and, in evaluation, by its running mean and variance."""
    dim: int = Field(default=256, ge=1)
    """Number of channels of every layer."""
    kernels: PerLayer = (10, 8, 4, 4, 4)
    strides: PerLayer = (5, 4, 2, 2, 2)
    paddings: tuple[Annotated[int, Field(ge=0)], ...] = (3, 2, 1, 1, 1)
    """Number of zeros on either side, before each layer."""


class PaddedConv(nn.Module):
    """Convolutions with bias, each followed by a normalisation and ReLU (van den Oord et al. 2018, section 3.1).

    Frame t depends on samples `hop t - left` to `hop t - left + field - 1` alone, where `left` is the padding in
    samples (153) and `field` the receptive field (465). Weights have torch's default initialisation.
    """

    def __init__(self, config: PaddedConvConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        field, self.hop_samples = receptive_field(config.kernels, config.strides)
        hops = itertools.accumulate((1, *config.strides[:-1]), operator.mul)
        self.left_samples = sum(padding * hop for padding, hop in zip(config.paddings, hops, strict=True))
        """Number of zeros before the waveform, all layers together."""
        self.field_samples = field - 2 * self.left_samples
        """Shortest input: the receptive field of one frame without the padding on both sides."""
        inputs = [1, *[config.dim] * (len(config.kernels) - 1)]
        shapes = zip(inputs, config.kernels, config.strides, strict=True)
        self.convs = nn.ModuleList(nn.Conv1d(dim, config.dim, k, s) for dim, k, s in shapes)
        norm = ChannelNorm if config.norm == "channel" else BatchNorm
        self.norms = nn.ModuleList(norm(config.dim) for _ in config.kernels)

    def forward(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the vectors of the last layer, the same for an utterance alone and padded (in evaluation).

        Values beyond the end of an utterance are set to 0, like the padding of the next layer.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        x = waveform[:, : int(lengths.max())]
        padded = int(lengths.min()) < x.shape[1]
        if padded:
            x = torch.where(valid(lengths, x.shape[1]), x, 0)
        c = self.config
        layers = zip(self.convs, self.norms, c.kernels, c.strides, c.paddings, strict=True)
        for i, (conv, norm, kernel, stride, padding) in enumerate(layers):
            weight, bias = cast("nn.Conv1d", conv).weight, cast("nn.Conv1d", conv).bias
            if i == 0:
                windows = functional.pad(x, (padding, padding)).unfold(1, kernel, stride)
                x = functional.linear(windows, weight[:, 0], bias)
            else:
                x = strided_conv(functional.pad(x, (0, 0, padding, padding)), weight, bias, stride=stride)
            lengths = (lengths + 2 * padding - kernel) // stride + 1
            real = valid(lengths, x.shape[1]) if padded else None
            x = functional.relu(norm(x, real))
            if real is not None:
                x = x.masked_fill(~real.unsqueeze(-1), 0)
        return Frames(x.to(torch.promote_types(x.dtype, torch.float32)), frame_lengths)


class ChannelNorm(nn.Module):
    """Normalise each frame over its channels, then scale and shift.

    Unlike `LayerNorm`, it uses the unbiased variance.

    Args:
        dim: width of the frames.
        affine: whether to learn scale and shift.
    """

    def __init__(self, dim: int, *, affine: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None
        self.bias = nn.Parameter(torch.zeros(dim)) if affine else None

    def forward(
        self, x: Float[Tensor, "batch frame dim"], real: Bool[Tensor, "batch frame"] | None = None
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the normalised frames, same shape; `real` is not used."""
        del real
        # var_unbiased + eps = (var + eps / r) r with r = dim / (dim - 1), so the fused kernel can compute it
        ratio = self.dim / (self.dim - 1)
        y = functional.layer_norm(x, (self.dim,), eps=1e-5 / ratio) / math.sqrt(ratio)
        return y if self.weight is None or self.bias is None else y * self.weight + self.bias


class BatchNorm(nn.Module):
    """Normalise each channel over all real frames of the batch, then scale and shift (Ioffe and Szegedy 2015).

    In evaluation, and in training without gradients (a frozen front end), it uses the running mean and variance.

    Args:
        dim: width of the frames.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.running_mean: Tensor
        self.running_variance: Tensor
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_variance", torch.ones(dim))

    def forward(
        self, x: Float[Tensor, "batch frame dim"], real: Bool[Tensor, "batch frame"] | None = None
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the normalised frames, same shape; `real` None: all frames are real."""
        learning = self.training and torch.is_grad_enabled()
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            rows = x.flatten(0, 1) if real is None or not learning else x[real]
            y = functional.batch_norm(
                rows, self.running_mean, self.running_variance, self.weight, self.bias, training=learning
            )
            if real is None or not learning:
                return y.view_as(x)
            return torch.zeros_like(x).masked_scatter(real.unsqueeze(-1), y)
