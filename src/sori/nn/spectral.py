"""Log-mel and cepstral features (MFCC) over whole windows, equal with and without padding.

Everything is computed in float32 regardless of autocast.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from sori.core.config import Config
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.nn.lengths import num_frames, valid

FFT_SIZE = 512
EMPHASIS = 0.97
_LOWEST_HERTZ, _HIGHEST_HERTZ = 60.0, 7600.0
FLOOR = 1e-6  # added to the mel power (amplitudes of -1 to 1); about the level of 16-bit rounding noise


class LogMelConfig(Config):
    """Log-mel windows of 25 ms every 10 ms, several stacked in a frame, normalised over the utterance."""

    kind: Literal["log_mel"] = "log_mel"
    num_mels: int = Field(default=80, ge=1, le=512)
    """Number of triangular filters, equally spaced on the mel scale from 60 to 7600 Hz."""
    window_samples: int = Field(default=400, ge=1, le=512)
    """Length of the Hann window in samples; at most 512."""
    hop_samples: int = Field(default=160, ge=1, le=16_000)
    stack: int = Field(default=2, ge=1, le=100)
    """Number of windows in one frame: 2 gives a frame every 20 ms, 4 every 40 ms."""


class CepstrumConfig(Config):
    """Cosine transform of log-mel windows (MFCC), which decorrelates the bands.

    Every coefficient is normalised over the utterance, so that fine spectral detail has as much weight as loudness.
    """

    kind: Literal["cepstrum"] = "cepstrum"
    windows: LogMelConfig = LogMelConfig()
    num_cepstra: int = Field(default=40, ge=1, le=512)
    """Number of coefficients, the lowest ones."""
    delta_windows: int = Field(default=0, ge=0, le=100)
    """With n > 0, delta and delta-delta features over n windows on either side are added."""
    pool: Literal["stack", "mean"] = "stack"
    """Whether the windows of a frame are stacked or averaged."""


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
        with _device_of_constants():
            self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)
            self.register_buffer("filters", mel_filters(config.num_mels), persistent=False)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        warp: Float[Tensor, " batch"] | None = None,
    ) -> Frames:
        """Return frames of `stack * num_mels` values, each filter with mean 0 and variance 1 over an utterance.

        With `warp`, the mel axis of each utterance is first stretched by its factor.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        x = self.log_mel(waveform, warp)[:, : int(frame_lengths.max()) * self.config.stack]
        return Frames(_side_by_side(normalize(x, frame_lengths * self.config.stack), self.config.stack), frame_lengths)

    def log_mel(
        self, waveform: Float[Tensor, "batch sample"], warp: Float[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch window mel"]:
        """Return the log mel power of each window, after pre-emphasis; for `warp`, see `stretch`."""
        with torch.autocast(waveform.device.type, enabled=False):
            emphasised = torch.cat([waveform[:, :1], waveform[:, 1:] - EMPHASIS * waveform[:, :-1]], dim=1)
            windows = emphasised.unfold(1, self.config.window_samples, self.config.hop_samples) * self.window
            spectrum = torch.fft.rfft(windows, n=FFT_SIZE)
            power = spectrum.real.square() + spectrum.imag.square()
            x = torch.log(power @ self.filters + FLOOR)
            return x if warp is None else stretch(x, warp)


def _device_of_constants() -> torch.device:
    """Return the default device, but the CPU for `meta`: there, these calls import torch's compiler, for a second.

    Constants are at most 1 MB, by the limits of the settings.
    """
    default = torch.get_default_device()
    return torch.device("cpu") if default.type == "meta" else default


class Cepstrum(nn.Module):
    """The front end, or the targets, of `CepstrumConfig`."""

    def __init__(self, config: CepstrumConfig) -> None:
        super().__init__()
        self.config = config
        self.stack = config.windows.stack
        self.spectrum = LogMel(config.windows)
        self.field_samples, self.hop_samples = self.spectrum.field_samples, self.spectrum.hop_samples
        kinds = 3 if config.delta_windows else 1
        self.dim = config.num_cepstra * kinds * (self.stack if config.pool == "stack" else 1)
        self.transform: Tensor
        with _device_of_constants():
            transform = cosine_transform(config.windows.num_mels)[:, : config.num_cepstra]
        self.register_buffer("transform", transform, persistent=False)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        warp: Float[Tensor, " batch"] | None = None,
    ) -> Frames:
        """Return frames; each window holds all coefficients, then all deltas, then all delta-deltas.

        With `warp`, the mel axis of each utterance is first stretched by its factor.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        window_lengths = frame_lengths * self.stack
        log_mel = self.spectrum.log_mel(waveform, warp)[:, : int(window_lengths.max())]
        with torch.autocast(waveform.device.type, enabled=False):
            x = log_mel @ self.transform
            if self.config.delta_windows:
                slope = delta(x, window_lengths, num_windows=self.config.delta_windows)
                curvature = delta(slope, window_lengths, num_windows=self.config.delta_windows)
                x = torch.cat([x, slope, curvature], dim=-1)
            x = normalize(x, window_lengths)
        if self.config.pool == "mean":
            return Frames(x.reshape(len(x), -1, self.stack, x.shape[2]).mean(2), frame_lengths)
        return Frames(_side_by_side(x, self.stack), frame_lengths)

    def by_kind(self, values: Float[Tensor, "row kind"]) -> Float[Tensor, "row dim"]:
        """Return for each dimension of a frame the value of its kind: coefficient, delta or delta-delta."""
        kinds = values[:, : 3 if self.config.delta_windows else 1].repeat_interleave(self.config.num_cepstra, dim=1)
        return kinds.repeat(1, self.dim // kinds.shape[1])


def _side_by_side(x: Tensor, stack: int) -> Tensor:
    return x.reshape(len(x), x.shape[1] // stack, stack * x.shape[2])


def cosine_transform(num_mels: int) -> Float[Tensor, "mel coefficient"]:
    """Return sqrt(2 / M) cos(pi k (m + 1/2) / M), which is orthogonal except for the first column."""
    place = torch.arange(num_mels, dtype=torch.float64)
    angle = torch.pi * (place[:, None] + 0.5) * place / num_mels
    return (math.sqrt(2 / num_mels) * angle.cos()).float()


def delta(
    x: Float[Tensor, "batch window dim"], lengths: Int[Tensor, " batch"], *, num_windows: int
) -> Float[Tensor, "batch window dim"]:
    """Return the regression slope over `num_windows` on either side; edge windows of the utterance are repeated."""
    here = torch.arange(x.shape[1], device=x.device)
    total = torch.zeros_like(x)
    for n in range(1, num_windows + 1):
        after = torch.minimum(here + n, lengths[:, None] - 1).unsqueeze(-1).expand_as(x)
        before = (here - n).clamp(min=0)
        total = total + n * (x.gather(1, after) - x[:, before])
    return total / (2 * sum(n * n for n in range(1, num_windows + 1)))


def stretch(
    x: Float[Tensor, "batch window mel"], factors: Float[Tensor, " batch"]
) -> Float[Tensor, "batch window mel"]:
    """Stretch the mel axis: band m becomes the interpolated value at m times the factor; the last band is repeated.

    This simulates a longer (factor above 1) or shorter vocal tract.
    """
    last = x.shape[2] - 1
    place = (factors[:, None] * torch.arange(last + 1, device=x.device)).clamp(max=last)
    below = place.long()
    fraction = (place - below)[:, None]

    def bands(index: Tensor) -> Tensor:
        return x.gather(2, index[:, None].expand(x.shape))

    return bands(below) * (1 - fraction) + bands((below + 1).clamp(max=last)) * fraction


def mel_filters(num_mels: int) -> Float[Tensor, "bin mel"]:
    """Return triangular filters over the bins of the spectrum, mel(f) = 2595 log10(1 + f / 700)."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (_LOWEST_HERTZ, _HIGHEST_HERTZ))
    edges = 700 * (10 ** (torch.linspace(low, high, num_mels + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.linspace(0, 8000, FFT_SIZE // 2 + 1, dtype=torch.float64)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def normalize(x: Float[Tensor, "batch frame dim"], lengths: Int[Tensor, " batch"]) -> Float[Tensor, "batch frame dim"]:
    """Normalise each dimension over the real frames of each utterance to mean 0 and variance 1; set padding to 0."""
    real = valid(lengths, x.shape[1]).unsqueeze(-1)
    count = lengths[:, None, None]
    x = x - (x * real).sum(1, keepdim=True) / count
    variance = (x.square() * real).sum(1, keepdim=True) / count
    return torch.where(real, x / (variance.sqrt() + 1e-3), 0)
