"""Two different hearings of one stretch of speech: other places, loudness, noise, vocal tract and gaps."""

from typing import NamedTuple

import torch
from pydantic import Field

from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config
from sori.core.shapes import Bool, Float, Int, Tensor


class SpeechViewsConfig(Config):
    """How far two views of one stretch may differ. Our own: the paper has images only."""

    seconds: float = Field(default=1.28, gt=0)
    """Of a view, cut at a random place of the stretch."""
    gain_db: float = Field(default=6.0, ge=0)
    """Up to so much louder or softer."""
    noise_prob: float = Field(default=0.8, ge=0, le=1)
    """Share of views with noise."""
    snr_db: tuple[float, float] = (5.0, 30.0)
    """Range of speech over noise. Its spectrum rises or falls at random."""
    warp: float = Field(default=0.1, ge=0, lt=1)
    """The mel axis is stretched by up to so much, up or down, as by a longer or shorter vocal tract."""
    num_gaps: int = Field(default=2, ge=0)
    """Stretches of frames that are silenced (set to the mean, 0)."""
    gap_seconds: float = Field(default=0.16, ge=0)
    """The longest of them; lengths are uniform from 0."""

    @property
    def num_samples(self) -> int:
        """Of a view."""
        return round(self.seconds * SAMPLE_RATE)


class SpeechDraws(NamedTuple):
    """All that is random in the views of a batch."""

    starts: Int[Tensor, "batch view"]
    """First sample of each view."""
    gains: Float[Tensor, "batch view"]
    """Factors on the amplitude."""
    noise: Float[Tensor, "batch view sample"]
    """Of standard deviation 1."""
    levels: Float[Tensor, "batch view"]
    """Of the noise, as a fraction of the view's; 0: none."""
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
    """Draws for two views of each stretch, on the host.

    Args:
        config: ranges.
        batch_size: stretches.
        num_samples: of each stretch.
        num_frames: of a view.
        hop_samples: from one frame to the next.
        generator: on the host.

    Raises:
        ValueError: the stretches are shorter than a view.
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
    """The stretches as the draws have them: cut, with noise, at another loudness (without warps and gaps)."""
    place = draws.starts.unsqueeze(-1) + torch.arange(draws.noise.shape[2], device=waveform.device)
    views = waveform.unsqueeze(1).expand(-1, 2, -1).gather(2, place)
    spread = views.square().mean(-1, keepdim=True).sqrt()
    noisy = views + draws.noise * spread * draws.levels.unsqueeze(-1)
    return noisy * draws.gains.unsqueeze(-1)
