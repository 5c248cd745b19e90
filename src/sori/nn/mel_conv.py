"""Trainable front end of log-mel windows and two convolutions over time and frequency, for small data."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from sori.core.config import Config
from sori.core.shapes import Bool, Float, Frames, Int, Tensor
from sori.nn.lengths import valid
from sori.nn.spectral import LogMel, LogMelConfig

_MARGIN = 1
"""Zeros on each side of both axes, so that a stride of s divides the number of windows by s."""
_TIME_STRIDES = {1: (1, 1), 2: (2, 1), 4: (2, 2)}


class MelConvConfig(Config):
    """Two 3x3 convolutions over log-mel windows, then a linear layer over the bands of a frame.

    Gulati et al. 2020 (Conformer, arXiv 2005.08100, section 2) sub-sample in this way, by 4 in time; here
    `windows.stack` (1, 2 or 4) is the factor.
    """

    kind: Literal["mel_conv"] = "mel_conv"
    windows: LogMelConfig = LogMelConfig()
    num_channels: int = Field(default=32, ge=1, le=4096)
    """Number of channels of both convolutions."""
    dim: int = Field(default=192, ge=1)
    """Width of the frames."""

    @model_validator(mode="after")
    def _divisible(self) -> "MelConvConfig":
        if self.windows.stack not in _TIME_STRIDES:
            raise ValueError(f"windows.stack must be 1, 2 or 4, the factor of two strides, got {self.windows.stack}")
        return self


class _ChannelsLast(nn.Conv2d):
    """A convolution with the channels of a point side by side in memory, as the linear layer after it needs them."""

    def forward(self, x: Float[Tensor, "batch channel window band"]) -> Tensor:
        x, weight = (image.contiguous(memory_format=torch.channels_last) for image in (x, self.weight))
        return functional.conv2d(x, weight, self.bias, stride=self.stride, padding=self.padding)


class MelConv(nn.Module):
    """The front end of `MelConvConfig`; frames as those of `LogMel` with the same windows."""

    def __init__(self, config: MelConvConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        self.spectrum = LogMel(config.windows)
        self.field_samples, self.hop_samples = self.spectrum.field_samples, self.spectrum.hop_samples
        channels, self.time_strides = config.num_channels, _TIME_STRIDES[config.windows.stack]
        self.convs = nn.ModuleList(
            _ChannelsLast(before, channels, 3, stride=(stride, 2), padding=_MARGIN)
            for before, stride in zip((1, channels), self.time_strides, strict=True)
        )
        bands = (config.windows.num_mels + 3) // 4  # a stride of 2, rounded up, twice
        self.out = nn.Linear(bands * channels, config.dim)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        warp: Float[Tensor, " batch"] | None = None,
        bands: Bool[Tensor, "batch mel"] | None = None,
    ) -> Frames:
        """Return frames of `dim` values, the same for an utterance alone and padded.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.
            warp: factor on the mel axis of each utterance, see `LogMel`.
            bands: True for mel bands to hide.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        stacked, frame_lengths = self.spectrum(waveform, lengths, warp=warp)
        windows = stacked.unflatten(2, (self.config.windows.stack, -1)).flatten(1, 2)
        if bands is not None:
            windows = windows.masked_fill(bands.unsqueeze(1), 0)
        is_padded = int(frame_lengths.min()) < stacked.shape[1]
        return Frames(self.convolve(windows, frame_lengths if is_padded else None), frame_lengths)

    def convolve(
        self, windows: Float[Tensor, "batch window mel"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch frame dim"]:
        """Return frames of normalised windows.

        Args:
            windows: as many as frames times `stack`.
            lengths: number of real frames of each utterance; None: all are real.
        """
        x, remaining = windows.unsqueeze(1), self.config.windows.stack
        for conv, stride in zip(self.convs, self.time_strides, strict=True):
            x = functional.relu(conv(x))  # batch channel window band
            remaining //= stride
            if lengths is not None:
                x = x.masked_fill(~valid(lengths * remaining, x.shape[2])[:, None, :, None], 0)
        x = self.out(x.permute(0, 2, 3, 1).flatten(2))
        return x.to(torch.promote_types(x.dtype, torch.float32))  # type: ignore[no-any-return]
