"""Convolutions over waveforms and over time."""

import math
from typing import Literal, cast

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sori.core.config import Config
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.nn.lengths import PerLayer, num_frames, receptive_field, valid

ONE_BY_ONE = ("cpu",)
"""Devices on which utterances of different lengths are computed one by one where their normalisation needs it."""


class ConvConfig(Config):
    """Strided convolutions over the waveform; the defaults are those of wav2vec 2.0, a frame each 20 ms."""

    kind: Literal["conv"] = "conv"
    norm: Literal["group", "layer"] = "group"
    """"group" normalises each channel over time, after the first layer only, so that the result depends on the whole
    input. "layer" normalises each vector after every layer."""
    bias: bool = False
    dim: int = Field(default=512, ge=1)
    """Number of channels of every layer."""
    kernels: PerLayer = (10, 3, 3, 3, 3, 2, 2)
    strides: PerLayer = (5, 2, 2, 2, 2, 2, 2)
    normalize: bool = False
    """Whether to normalise every utterance to mean 0 and variance 1 first; must be the same in pre-training and
    fine-tuning."""
    normalize_floor: float = Field(default=1e-5, ge=0)
    """Constant added to the variance. fairseq adds 1e-5, Hugging Face's feature extractor 1e-7, which makes a
    difference for quiet speech."""


class WaveformConv(nn.Module):
    """Convolutions over the waveform without padding, each followed by GELU (Baevski et al. 2020, section 2)."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        self.field_samples, self.hop_samples = receptive_field(config.kernels, config.strides)
        # The normalisation over time would cancel a bias before it.
        biases = [config.bias and (i > 0 or config.norm == "layer") for i in range(len(config.kernels))]
        inputs = [1, *[config.dim] * (len(config.kernels) - 1)]
        shapes = zip(inputs, config.kernels, config.strides, biases, strict=True)
        self.convs = nn.ModuleList(nn.Conv1d(dim, config.dim, k, s, bias=bias) for dim, k, s, bias in shapes)
        match config.norm:
            case "group":
                self.norms = nn.ModuleList([nn.GroupNorm(config.dim, config.dim)])
            case "layer":
                self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in config.kernels)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"))

    def forward(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the vectors of the last layer, the same for an utterance alone and padded.

        With norm "group", the statistics over time are those of the real frames. On `ONE_BY_ONE`, utterances of
        different lengths are computed one by one, which saves the work on the padding.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        if self.config.normalize:
            waveform = normalize_waveform(waveform, lengths, floor=self.config.normalize_floor)
        longest = int(lengths.max())
        if self.config.norm == "layer" or int(lengths.min()) == longest:
            return Frames(self._stack(waveform[:, :longest], None), frame_lengths)
        if waveform.device.type not in ONE_BY_ONE:
            return Frames(self._stack(waveform[:, :longest], lengths), frame_lengths)
        rows = zip(waveform, lengths.tolist(), strict=True)
        alone = [self._stack(row[None, :length], None)[0] for row, length in rows]
        return Frames(nn.utils.rnn.pad_sequence(alone, batch_first=True), frame_lengths)

    def _stack(self, waveform: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the vectors of the last layer; with `lengths`, those of padding are finite but meaningless."""
        others = cast("list[nn.Conv1d]", list(self.convs))[1:]
        windows, weight, bias = self.first_product(waveform, lengths)
        x = torch.baddbmm(bias, windows, weight.transpose(1, 2))
        x = functional.gelu(x if self.config.norm == "group" else self.norms[0](x))
        for i, conv in enumerate(others, start=1):
            x = strided_conv(x, conv.weight, conv.bias, stride=self.config.strides[i])
            x = functional.gelu(self.norms[i](x) if self.config.norm == "layer" else x)
        return x.float()

    def first_product(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch frame tap"], Float[Tensor, "batch dim tap"], Float[Tensor, " dim"]]:
        """Return windows, weights and bias whose product is the first layer, with its normalisation over time if any.

        With `lengths`, only the windows of real samples count for that normalisation; the others are its mean.
        """
        first = self.convs[0]
        weight, stride = first.get_parameter("weight")[:, 0], self.config.strides[0]
        windows = waveform.unfold(1, weight.shape[1], stride)
        if self.config.norm == "group":
            counts = None if lengths is None else (lengths - weight.shape[1]) // stride + 1
            return *self._normalized_first(windows, weight, counts), self.norms[0].get_parameter("bias")
        bias = cast("nn.Conv1d", first).bias
        return windows, weight.expand(len(windows), -1, -1), weight.new_zeros(self.dim) if bias is None else bias

    def _normalized_first(self, windows: Tensor, weight: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the centred windows, and the weights whose product with them has the variance of the norm's gain.

        The layer is linear, so the mean and variance of its output follow from those of the windows: w' m and w' S w.
        The longest tensors of the model are thus neither read for statistics nor written twice.
        """
        norm = self.norms[0]
        with torch.autocast(windows.device.type, enabled=False):
            if counts is None:
                number: Tensor | int = windows.shape[1]
                centred = windows - windows.mean(1, keepdim=True)
            else:
                number = counts[:, None, None]
                padding = ~valid(counts, windows.shape[1]).unsqueeze(-1)
                mean = windows.masked_fill(padding, 0).sum(1, keepdim=True) / number
                centred = (windows - mean).masked_fill(padding, 0)
            # In 64 bits: most energy of speech is at the lowest frequencies, and w' S w is tiny for filters that
            # suppress these (in 32 bits, outputs were off by up to 1e-3). The matrices are small.
            wide = _widest(centred)
            covariance = wide.transpose(1, 2) @ wide / number
            wide_weight = weight.to(wide.dtype)
            variance = ((wide_weight @ covariance) * wide_weight).sum(-1).float()  # "batch dim"
            scale = norm.get_parameter("weight") * (variance + 1e-5).rsqrt()
            return centred, scale.unsqueeze(-1) * weight


def _widest(x: Tensor) -> Tensor:
    return x if x.device.type == "mps" else x.double()  # Apple's GPUs have 32 bits at most


def strided_conv(
    x: Float[Tensor, "batch frame dim"],
    weight: Float[Tensor, "out dim tap"],
    bias: Float[Tensor, " out"] | None,
    *,
    stride: int,
) -> Float[Tensor, "batch frame_out out"]:
    """Convolve over time without padding, for frames that are contiguous in memory.

    The taps are processed in groups of `stride` (the remaining ones singly). Each group is one matrix product on the
    frames as stored, whereas `conv1d` would copy them into another layout and back (which doubles the time in bfloat16
    on the CPU).
    """
    num_taps = weight.shape[2]
    num_out = (x.shape[1] - num_taps) // stride + 1
    whole = num_taps - num_taps % stride
    products = []
    for first in range(0, whole, stride):
        rows = x[:, first : first + num_out * stride].reshape(len(x), num_out, -1)
        products.append(functional.linear(rows, weight[:, :, first : first + stride].transpose(1, 2).flatten(1)))
    for tap in range(whole, num_taps):
        rows = x[:, tap : tap + (num_out - 1) * stride + 1 : stride]
        products.append(functional.linear(rows, weight[:, :, tap]))
    total = sum(products[1:], products[0])
    return total if bias is None else total + bias


def normalize_waveform(
    waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, floor: float = 1e-5
) -> Float[Tensor, "batch sample"]:
    """Normalise the real samples of each utterance to mean 0 and population variance 1 (+ floor); set padding to 0."""
    real = valid(lengths, waveform.shape[1])
    x = waveform - (waveform * real).sum(1, keepdim=True) / lengths[:, None]
    variance = (x.square() * real).sum(1, keepdim=True) / lengths[:, None]
    return torch.where(real, x * (variance + floor).rsqrt(), 0)


class PositionalConv(nn.Module):
    """Relative position embedding by a wide grouped convolution (Baevski et al. 2020, section 2; Mohamed et al. 2019).

    The weight is normalised with one gain for each tap. An even kernel sees one more frame to the left.

    Args:
        dim: width of the frames.
        kernel: kernel size.
        num_groups: number of channel groups.
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
        self._folded: Tensor | None = None

    def fold(self, dtype: torch.dtype) -> None:
        """Compute the normalised weight once, in this type, for a model that is not trained any more."""
        self._folded = self._weight().detach().to(dtype)

    def _weight(self) -> Float[Tensor, "dim inner tap"]:
        norm: Tensor = self.direction.norm(dim=(0, 1), keepdim=True)
        return self.direction * (self.gain / norm)

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return the position embedding to add to the frames; padding frames must be zero."""
        weight = self._weight() if self._folded is None else self._folded
        # As an image of height 1: the conv2d kernels work on frames that are contiguous in memory.
        image = x.transpose(1, 2).unsqueeze(2)
        y = functional.conv2d(
            image, weight.unsqueeze(2), self.bias, padding=(0, self.kernel // 2), groups=self.num_groups
        )
        return functional.gelu(y.squeeze(2).transpose(1, 2)[:, : x.shape[1]])


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return gradient * ctx.scale, None


def scale_gradient(x: Float[Tensor, "*axes"], scale: float) -> Float[Tensor, "*axes"]:
    """Return the same values and multiply their gradient by `scale` in the backward pass."""
    return _ScaleGradient.apply(x, scale) if scale != 1 else x  # type: ignore[no-untyped-call]
