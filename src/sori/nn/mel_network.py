"""Trainable front end of log-mel windows and a small network, cheaper than convolutions over samples."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sori.core.config import Config
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.nn.lengths import num_frames
from sori.nn.padded_conv import ChannelNorm
from sori.nn.spectral import FLOOR, LogMel, LogMelConfig


class MelNetworkConfig(Config):
    """Stacked log-mel windows, normalised frame by frame, then layers over single frames."""

    kind: Literal["mel_network"] = "mel_network"
    windows: LogMelConfig = LogMelConfig()
    dim: int = Field(default=256, ge=1)
    """Width of every layer."""
    num_layers: int = Field(default=2, ge=1, le=1000)


class MelNetwork(nn.Module):
    """The front end of `MelNetworkConfig`.

    Nothing is normalised over the utterance, so that no information about later frames leaks: frame t depends on
    samples `hop t` to `hop t + field - 1` alone. The log-mel values of a frame are normalised to mean 0 and variance 1
    over the bands; the level that this removes is added as an extra feature.
    """

    def __init__(self, config: MelNetworkConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        self.spectrum = LogMel(config.windows)
        self.field_samples, self.hop_samples = self.spectrum.field_samples, self.spectrum.hop_samples
        self.frame_norm = ChannelNorm(self.spectrum.dim, affine=False)
        widths = [self.spectrum.dim + 1, *[config.dim] * (config.num_layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(width, config.dim) for width in widths)
        self.norms = nn.ModuleList(ChannelNorm(config.dim) for _ in widths)

    def forward(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the vectors of the last layer, the same for an utterance alone and padded.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        longest, stack = int(frame_lengths.max()), self.config.windows.stack
        windows = self.spectrum.log_mel(waveform)[:, : longest * stack]
        log_mel = windows.reshape(len(waveform), longest, -1)
        # 0 for digital silence, about 1 for the loudest bands
        level = log_mel.mean(-1, keepdim=True) / -math.log(FLOOR) + 1
        x = torch.cat([self.frame_norm(log_mel), level], dim=-1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.relu(norm(layer(x)))
        return Frames(x.to(torch.promote_types(x.dtype, torch.float32)), frame_lengths)
