"""Log-mel spectra and cepstra over whole windows, equal with and without padding.

All of it is computed in float32 whatever the autocast.
"""

import math
from typing import Literal

import torch
from torch import nn

from sori.config import Config
from sori.nn.lengths import num_frames, valid
from sori.shapes import Float, Frames, Int, Tensor

_FFT_SIZE = 512
_LOWEST_HERTZ, _HIGHEST_HERTZ = 60.0, 7600.0
_FLOOR = 1e-6  # of mel power for amplitudes of -1 to 1: 16-bit rounding noise lies near it


class LogMelConfig(Config):
    """Log-mel windows of 25 ms each 10 ms, several side by side in a frame, normalised over the utterance."""

    kind: Literal["log_mel"] = "log_mel"
    num_mels: int = 80
    """Triangular filters, equally spaced on the mel scale from 60 to 7600 Hz."""
    window_samples: int = 400
    """Of a Hann window; at most 512."""
    hop_samples: int = 160
    stack: int = 2
    """Windows in one frame: 2 gives a frame each 20 ms, 4 each 40 ms."""


class LogMel(nn.Module):
    """The front end of `LogMelConfig`."""

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.num_mels * config.stack
        self.field_samples = config.window_samples + (config.stack - 1) * config.hop_samples
        self.hop_samples = config.stack * config.hop_samples
        self.window: Tensor
        self.filters: Tensor
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)
        self.register_buffer("filters", mel_filters(config.num_mels), persistent=False)

    def forward(self, wave: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Frames of `stack * num_mels` values with mean 0 and variance 1 over each utterance, for each filter."""
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        x = self.log_mel(wave)
        x = x[:, : int(frame_lengths.max()) * self.config.stack]
        x = normalize(x, frame_lengths * self.config.stack)
        return Frames(x.reshape(len(x), -1, self.config.stack * x.shape[2]), frame_lengths)

    def log_mel(self, wave: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch window mel"]:
        """Logarithm of the mel power of each window, after pre-emphasis."""
        with torch.autocast(wave.device.type, enabled=False):
            emphasised = torch.cat([wave[:, :1], wave[:, 1:] - 0.97 * wave[:, :-1]], dim=1)
            windows = emphasised.unfold(1, self.config.window_samples, self.config.hop_samples) * self.window
            spectrum = torch.fft.rfft(windows, n=_FFT_SIZE)
            power = spectrum.real.square() + spectrum.imag.square()
            return torch.log(power @ self.filters + _FLOOR)


def mel_filters(num_mels: int) -> Float[Tensor, "bin mel"]:
    """Triangular filters over the bins of the spectrum, mel(f) = 2595 log10(1 + f / 700)."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (_LOWEST_HERTZ, _HIGHEST_HERTZ))
    edges = 700 * (10 ** (torch.linspace(low, high, num_mels + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.linspace(0, 8000, _FFT_SIZE // 2 + 1, dtype=torch.float64)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def normalize(x: Float[Tensor, "batch frame dim"], lengths: Int[Tensor, " batch"]) -> Float[Tensor, "batch frame dim"]:
    """Mean 0 and variance 1 over the real frames of each utterance, for each dimension; padding becomes 0."""
    real = valid(lengths, x.shape[1]).unsqueeze(-1)
    count = lengths[:, None, None]
    x = x - (x * real).sum(1, keepdim=True) / count
    variance = (x.square() * real).sum(1, keepdim=True) / count
    return torch.where(real, x / (variance.sqrt() + 1e-3), 0)
