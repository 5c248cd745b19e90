"""Two augmented views of one crop of speech: random position, loudness, noise, vocal tract length and gaps."""

from typing import NamedTuple

import torch
from pydantic import Field

from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config
from sori.core.shapes import Bool, Float, Int, Tensor


class SpeechViewsConfig(Config):
    """Range of the augmentations. Our own: the paper has images only."""

    seconds: float = Field(default=1.28, gt=0)
    """Length of a view, cut at a random position of the crop."""
    gain_db: float = Field(default=6.0, ge=0)
    """Largest change of the level, up or down."""
    noise_prob: float = Field(default=0.8, ge=0, le=1)
    """Fraction of views with noise."""
    snr_db: tuple[float, float] = (5.0, 30.0)
    """Range of the signal-to-noise ratio. The spectrum of the noise rises or falls at random."""
    warp: float = Field(default=0.1, ge=0, lt=1)
    """Largest change of the scale of the mel axis, up or down, which simulates a longer or shorter vocal tract."""
    num_gaps: int = Field(default=2, ge=0)
    """Number of gaps, spans of frames set to the mean, 0."""
    gap_seconds: float = Field(default=0.16, ge=0)
    """Length of the longest gap; lengths are uniform from 0."""

    @property
    def num_samples(self) -> int:
        """Return the number of samples of a view."""
        return round(self.seconds * SAMPLE_RATE)


class SpeechDraws(NamedTuple):
    """Random values for the views of a batch."""

    starts: Int[Tensor, "batch view"]
    """First sample of each view."""
    gains: Float[Tensor, "batch view"]
    """Factors on the amplitude."""
    noise: Float[Tensor, "batch view sample"]
    """Noise of standard deviation 1."""
    levels: Float[Tensor, "batch view"]
    """Level of the noise relative to the view; 0: no noise."""
    warps: Float[Tensor, "batch view"]
    """Factors on the mel axis."""
    gaps: Bool[Tensor, "batch view frame"]
    """True in silenced frames."""


def draw_views(
    config: SpeechViewsConfig,
    batch_size: int,
    num_samples: int,
    *,
    num_frames: int,
    hop_samples: int,
    generator: torch.Generator,
) -> SpeechDraws:
    """Draw the random values for two views of each crop, on the host.

    Args:
        config: ranges.
        batch_size: number of crops.
        num_samples: number of samples of each crop.
        num_frames: number of frames of a view.
        hop_samples: samples from one frame to the next.
        generator: random generator on the host.

    Raises:
        ValueError: if the crops are shorter than a view.
    """
    if num_samples < config.num_samples:
        raise ValueError(
            f"views of {config.seconds:g} s are cut from the crops, and these have {num_samples / SAMPLE_RATE:g} s; "
            "raise data.min_seconds and data.max_crop_seconds, or lower system.views.seconds"
        )
    shape = (batch_size, 2)

    def uniform(low: float, high: float, *more: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, *more, generator=generator)

    starts = torch.randint(num_samples - config.num_samples + 1, shape, generator=generator)
    gains = 10 ** (uniform(-config.gain_db, config.gain_db) / 20)
    white = torch.randn(*shape, config.num_samples + 1, generator=generator)
    tilt = uniform(-0.9, 0.9, 1)
    noise = (white[..., 1:] + tilt * white[..., :-1]) / (1 + tilt.square()).sqrt()
    levels = 10 ** (-uniform(*config.snr_db) / 20) * (uniform(0.0, 1.0) < config.noise_prob)
    warps = uniform(1 - config.warp, 1 + config.warp)
    longest = config.gap_seconds * SAMPLE_RATE / hop_samples
    length = uniform(0.0, longest, config.num_gaps, 1)
    first = uniform(0.0, 1.0, config.num_gaps, 1) * (num_frames - length)
    frame = torch.arange(num_frames)
    gaps = ((frame >= first) & (frame < first + length)).any(2)
    return SpeechDraws(starts, gains, noise, levels, warps, gaps)


def cut_views(waveform: Float[Tensor, "batch sample"], draws: SpeechDraws) -> Float[Tensor, "batch view view_sample"]:
    """Cut the views, add noise and change the level as drawn (warps and gaps are applied later)."""
    place = draws.starts.unsqueeze(-1) + torch.arange(draws.noise.shape[2], device=waveform.device)
    views = waveform.unsqueeze(1).expand(-1, 2, -1).gather(2, place)
    spread = views.square().mean(-1, keepdim=True).sqrt()
    noisy = views + draws.noise * spread * draws.levels.unsqueeze(-1)
    return noisy * draws.gains.unsqueeze(-1)
