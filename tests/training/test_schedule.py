import math

import pytest

from sori.training.schedule import ScheduleConfig, factor

BASE = ScheduleConfig()
FINE = ScheduleConfig(kind="tri_stage", warmup_fraction=0.1, hold_fraction=0.4, final_factor=0.05)


def test_polynomial_peaks_after_the_published_warmup_and_ends_at_zero():
    assert factor(BASE, 32_000, 400_000) == 1
    assert factor(BASE, 400_000, 400_000) == 0
    assert factor(BASE, 16_000, 400_000) == 0.5
    assert factor(BASE, 216_000, 400_000) == pytest.approx(0.5)


def test_the_first_update_has_a_rate_above_zero():
    assert factor(BASE, 0, 400_000) == factor(BASE, 1, 400_000) == 1 / 32_000


def test_tri_stage_matches_the_published_points():
    assert factor(FINE, 0, 10_000) == pytest.approx(0.01)
    assert factor(FINE, 500, 10_000) == pytest.approx(0.505)
    assert factor(FINE, 1_000, 10_000) == 1
    assert factor(FINE, 5_000, 10_000) == 1
    assert factor(FINE, 10_000, 10_000) == pytest.approx(0.05)


def test_tri_stage_falls_exponentially():
    k = -math.log(0.05) / 5_000
    for step in range(5_000, 10_001, 100):
        assert factor(FINE, step, 10_000) == pytest.approx(math.exp(-k * (step - 5_000)), rel=1e-12)


def test_a_shorter_decay_ends_in_a_plateau():
    config = ScheduleConfig(warmup_fraction=0.1, decay_fraction=0.2, final_factor=0.3)
    assert factor(config, 20, 100) == pytest.approx(0.65)
    assert [factor(config, step, 100) for step in (30, 60, 99)] == pytest.approx([0.3] * 3)


@pytest.mark.parametrize("config", [BASE, FINE, ScheduleConfig(warmup_fraction=0, hold_fraction=1)])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 100])
def test_factors_are_between_zero_and_one_for_any_length(config, num_steps):
    factors = [factor(config, step, num_steps) for step in range(num_steps + 1)]
    assert all(0 <= f <= 1 for f in factors)
    assert max(factors) > 0


def test_impossible_phases_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        ScheduleConfig(warmup_fraction=0.6, hold_fraction=0.5)
    with pytest.raises(ValueError, match="never reaches 0"):
        ScheduleConfig(kind="tri_stage")


WAV2VEC = ScheduleConfig(kind="cosine", warmup_fraction=500 / 400_000, first_factor=2e-5, final_factor=2e-4)


def test_cosine_matches_the_published_points_of_wav2vec():
    rates = [5e-3 * factor(WAV2VEC, step, 400_000) for step in (0, 250, 500, 400_000)]
    assert rates == pytest.approx([1e-7, (1e-7 + 5e-3) / 2, 5e-3, 1e-6], rel=1e-9)
    middle = 500 + (400_000 - 500) // 2
    assert 5e-3 * factor(WAV2VEC, middle, 400_000) == pytest.approx((5e-3 + 1e-6) / 2, rel=1e-9)
    quarter = 500 + (400_000 - 500) // 4
    assert factor(WAV2VEC, quarter, 400_000) == pytest.approx(2e-4 + (1 - 2e-4) * (1 + math.sqrt(0.5)) / 2)
