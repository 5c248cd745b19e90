import math

import pytest
import torch

from sori.nn.speech_views import SpeechDraws, SpeechViewsConfig, cut_views, draw_views

PLAIN = SpeechViewsConfig(seconds=0.5, gain_db=0.0, noise_prob=0.0, warp=0.0, num_gaps=0)


def drawn(config, batch_size=400, num_samples=16_000, seed=0) -> SpeechDraws:
    return draw_views(
        config,
        batch_size,
        num_samples,
        num_frames=24,
        hop_samples=320,
        generator=torch.Generator().manual_seed(seed),
    )


def test_plain_views_are_crops():
    waveform = torch.randn(3, 16_000)
    draws = drawn(PLAIN, 3)
    views = cut_views(waveform, draws)
    for b in range(3):
        for v in range(2):
            first = int(draws.starts[b, v])
            torch.testing.assert_close(views[b, v], waveform[b, first : first + 8000])


def test_draws_have_the_ranges_of_the_configuration():
    config = SpeechViewsConfig(seconds=0.5)
    draws = drawn(config)
    assert draws.starts.min() < 100
    assert 7900 < draws.starts.max() <= 8000
    decibels = 20 * draws.gains.log10()
    assert decibels.min() == pytest.approx(-6, abs=0.1)
    assert decibels.max() == pytest.approx(6, abs=0.1)
    noisy = draws.levels > 0
    assert noisy.float().mean() == pytest.approx(0.8, abs=0.05)
    ratio = -20 * draws.levels[noisy].log10()
    assert ratio.min() == pytest.approx(5, abs=0.2)
    assert ratio.max() == pytest.approx(30, abs=0.2)
    assert draws.warps.min() == pytest.approx(0.9, abs=0.005)
    assert draws.warps.max() == pytest.approx(1.1, abs=0.005)
    # two gaps of 0 to 8 frames of 24, which may overlap
    hidden = draws.gaps.float().mean()
    assert 0.25 < hidden < 1 / 3
    assert draws.gaps.sum(-1).max() <= 17
    assert not torch.equal(draws.gaps[:, 0], draws.gaps[:, 1])


def test_noise_has_the_drawn_signal_to_noise_ratio():
    config = SpeechViewsConfig(seconds=0.5, gain_db=0.0, noise_prob=1.0, snr_db=(10.0, 10.0))
    waveform = 0.1 * torch.randn(20, 16_000)
    draws = drawn(config, 20)
    clean = cut_views(waveform, draws._replace(levels=torch.zeros(20, 2)))
    noise = cut_views(waveform, draws) - clean
    ratio = 10 * torch.log10(clean.square().mean(-1) / noise.square().mean(-1))
    torch.testing.assert_close(ratio, torch.full((20, 2), 10.0), rtol=0, atol=0.5)
    correlation = (noise[..., 1:] * noise[..., :-1]).mean(-1) / noise.square().mean(-1)
    assert correlation.min() < -0.3
    assert correlation.max() > 0.3


def test_noise_scales_with_the_level_of_the_speech():
    config = SpeechViewsConfig(seconds=0.5)
    waveform, draws = torch.randn(2, 16_000), drawn(config, 2)
    torch.testing.assert_close(
        cut_views(0.01 * waveform, draws), 0.01 * cut_views(waveform, draws), rtol=1e-4, atol=1e-6
    )
    assert cut_views(0 * waveform, draws).abs().max() == 0


def test_the_generator_decides():
    config = SpeechViewsConfig(seconds=0.5)
    for mine, same, other in zip(drawn(config, 9), drawn(config, 9), drawn(config, 9, seed=1), strict=True):
        assert torch.equal(mine, same)
        assert not torch.equal(mine, other)


def test_views_as_long_as_the_crop_start_with_it():
    assert drawn(PLAIN, 5, num_samples=8000).starts.abs().max() == 0
    with pytest.raises(ValueError, match=r"views of 0.5 s are cut from the crops, and these have 0.25 s"):
        drawn(PLAIN, 5, num_samples=4000)
    assert math.isclose(PLAIN.num_samples, 8000)
