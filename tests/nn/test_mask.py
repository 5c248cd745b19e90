import statistics

import pytest
import torch

from sori.core.seeds import Rng
from sori.nn.mask import MaskConfig, fine_tuning_masks, masked_positions, mel_changes, span_mask


def draw(lengths, *, prob=0.65, span=10, min_spans=2, equal_counts=False, seed=0):
    return span_mask(
        torch.tensor(lengths),
        prob=prob,
        span=span,
        min_spans=min_spans,
        equal_counts=equal_counts,
        generator=torch.Generator().manual_seed(seed),
    )


def runs(row: list[bool]) -> list[int]:
    found, length = [], 0
    for hidden in [*row, False]:
        if hidden:
            length += 1
        elif length:
            found.append(length)
            length = 0
    return found


@pytest.mark.parametrize(
    ("prob", "fraction", "mean_run"), [(0.65, 0.492, 14.7), (0.75, 0.542, 15.6), (0.5, 0.401, 13.4)]
)
def test_fraction_and_runs_are_those_of_the_paper(prob, fraction, mean_run):
    mask = draw([750] * 400, prob=prob)
    lengths = [run for row in mask.tolist() for run in runs(row)]
    assert mask.float().mean().item() == pytest.approx(fraction, abs=0.01)
    assert statistics.mean(lengths) == pytest.approx(mean_run, abs=0.25)
    assert statistics.median(lengths) == (10 if prob <= 0.65 else 12)
    assert 45 < max(lengths) < 160


@pytest.mark.parametrize(("length", "fewest", "most"), [(10, 9, 10), (20, 11, 19), (31, 11, 21), (49, 13, 39)])
def test_short_clips_have_about_the_published_fraction_masked(length, fewest, most):
    counts = [int(draw([length], seed=seed).sum()) for seed in range(400)]
    # The published ranges are those of a few draws; a rare third or fourth span exceeds them.
    inside = sum(fewest <= count <= most for count in counts)
    assert inside >= 0.97 * len(counts)
    assert min(counts) <= fewest + 4
    assert max(counts) >= most - 4


@pytest.mark.parametrize("lengths", [[300, 120, 47, 299], [12, 500], [3, 3, 9]])
def test_padding_is_never_masked_and_counts_are_equal(lengths):
    for seed in range(20):
        mask = draw(lengths, equal_counts=True, seed=seed)
        counts = mask.sum(1)
        assert (counts == counts[0]).all()
        assert counts[0] >= 2
        for row, length in zip(mask, lengths, strict=True):
            assert not row[length:].any()


def test_equal_counts_only_unmasks():
    free, equal = draw([200, 90, 150], seed=3), draw([200, 90, 150], seed=3, equal_counts=True)
    assert (equal <= free).all()
    assert equal.sum(1).tolist() == [int(free.sum(1).min())] * 3


def test_one_rounding_for_equal_lengths_and_one_each_for_unequal():
    # 0.65 * 100 / 10 = 6.5 spans of one frame: the count of hidden frames is the count of spans.
    equal = [set(draw([100] * 20, span=1, prob=0.065, seed=seed).sum(1).tolist()) for seed in range(12)]
    assert all(len(counts) == 1 for counts in equal)
    assert set.union(*equal) == {6, 7}
    unequal = draw([100] * 20 + [101], span=1, prob=0.065).sum(1).tolist()
    assert set(unequal[:20]) == {6, 7}


def test_starts_are_uniform_and_stay_a_span_before_the_end():
    # With one span of one utterance the first hidden frame is the start.
    starts = draw([30] * 6000, prob=0.0, span=10, min_spans=1).long().argmax(1)
    counts = torch.bincount(starts, minlength=30)
    assert (counts[20:] == 0).all()  # 0 .. 30 - 10 - 1
    assert ((counts[:20] - 300).abs() < 80).all()  # 4.7 standard deviations


def test_starts_are_drawn_without_replacement():
    assert all(int(draw([40], span=1, prob=0.9, seed=seed).sum()) >= 36 for seed in range(20))


def test_channels_may_go_without_a_span():
    assert not draw([64, 64], prob=0.0, span=16, min_spans=0).any()


def test_positions_are_sorted_masked_frames():
    mask = draw([100, 80], equal_counts=True)
    expected = [row.nonzero().flatten().tolist() for row in mask]
    assert masked_positions(mask).tolist() == expected
    with pytest.raises(ValueError, match="different numbers"):
        masked_positions(torch.tensor([[True, False], [True, True]]))


def test_a_rate_of_zero_masks_nothing():
    lengths = torch.tensor([30, 50])
    generator = torch.Generator().manual_seed(0)
    none = MaskConfig(time_prob=0.0, channel_prob=0.0)
    assert fine_tuning_masks(none, lengths, 16, generator) == (None, None)
    masked, channels = fine_tuning_masks(
        MaskConfig(time_prob=0.3, channel_prob=0.3, channel_length=4), lengths, 16, generator
    )
    assert masked is not None
    assert masked.any(1).all()
    assert not masked[0, 30:].any()
    assert channels is not None
    assert channels.shape == (2, 16)


def test_changes_of_the_mel_axis():
    lengths = torch.full((400,), 100)
    warp, bands = mel_changes(MaskConfig(warp=0.2, band_prob=0.3, band_length=6), lengths, 40, Rng(0))
    assert warp.min() >= 0.8
    assert warp.max() <= 1.2
    assert warp.mean().item() == pytest.approx(1, abs=0.02)
    assert warp.std().item() == pytest.approx(0.4 / 12**0.5, abs=0.01)
    assert all(set(runs(row)) <= set(range(6, 41)) for row in bands.tolist())
    assert 0.2 < bands.float().mean() < 0.3  # spans overlap
    again = mel_changes(MaskConfig(warp=0.2, band_prob=0.3, band_length=6), lengths, 40, Rng(0))
    assert torch.equal(warp, again[0])
    assert torch.equal(bands, again[1])


def test_the_mel_axis_stays_without_settings():
    lengths = torch.tensor([10, 20])
    assert mel_changes(None, lengths, 40, None) == (None, None)
    assert mel_changes(MaskConfig(), lengths, 40, None) == (None, None)
    assert mel_changes(MaskConfig(warp=0.1), lengths, 40, Rng(0))[1] is None
    with pytest.raises(ValueError, match="pass rng"):
        mel_changes(MaskConfig(warp=0.1), lengths, 40, None)
