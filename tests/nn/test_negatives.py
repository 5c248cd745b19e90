import pytest
import torch

from sori.nn.negatives import at_other_times, within_utterance


def draw(batch_size, num_masked, seed=0, num_negatives=100):
    return within_utterance(
        batch_size, num_masked, num_negatives=num_negatives, generator=torch.Generator().manual_seed(seed)
    )


def test_item_6_never_the_target_and_always_a_hidden_frame():
    for seed in range(20):
        negatives = draw(3, 57, seed)
        assert negatives.shape == (3, 57, 100)
        assert not (negatives == torch.arange(57)[None, :, None]).any()
        assert negatives.min() >= 0
        assert negatives.max() < 57


def test_all_others_are_equally_likely():
    negatives = draw(1, 5, num_negatives=20_000)[0]
    for target, row in enumerate(negatives):
        counts = torch.bincount(row, minlength=5)
        assert counts[target] == 0
        assert ((counts - 5000).abs()[torch.arange(5) != target] < 300).all()  # 4.9 standard deviations


def test_two_frames_are_each_others_distractor():
    assert draw(1, 2, num_negatives=3).tolist() == [[[1, 1, 1], [0, 0, 0]]]


def test_a_single_hidden_frame_is_refused():
    with pytest.raises(ValueError, match="at least 2 frames in every utterance, got 1"):
        draw(2, 1)


def draw_times(source, batch_size=4, num_frames=9, num_positions=6, num_negatives=500, seed=0):
    return at_other_times(
        batch_size,
        num_frames,
        num_positions=num_positions,
        num_negatives=num_negatives,
        source=source,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("source", ["batch", "others", "own"])
def test_cpc_item_5_never_the_same_time_and_every_other_one(source):
    drawn = draw_times(source)
    assert drawn.shape == (4, 6, 500)
    times = drawn % 9
    for t in range(6):
        assert set(times[:, t].flatten().tolist()) == set(range(9)) - {t}


def test_cpc_distractors_come_from_where_they_should():
    own, others, batch = (draw_times(source) for source in ("own", "others", "batch"))
    assert own.max() < 9
    for b in range(4):
        assert set((others[b] // 9).flatten().tolist()) == set(range(4)) - {b}
        assert set((batch[b] // 9).flatten().tolist()) == set(range(4))


@pytest.mark.parametrize(("source", "num"), [("batch", 2 * 4), ("others", 4), ("own", 4)])
def test_cpc_distractors_are_equally_likely(source, num):
    drawn = draw_times(source, batch_size=2, num_frames=5, num_positions=1, num_negatives=40_000)
    for row in drawn[:, 0]:
        counts = torch.bincount(row)
        counts = counts[counts > 0]
        assert len(counts) == num
        # five standard deviations of a binomial
        assert ((counts - 40_000 / num).abs() < 5 * (40_000 / num) ** 0.5).all()


def test_cpc_needs_somebody_to_draw_from():
    with pytest.raises(ValueError, match="at least 2 frames in every utterance, got 1"):
        draw_times("own", num_frames=1)
    with pytest.raises(ValueError, match="holds one alone"):
        draw_times("others", batch_size=1)
    assert draw_times("batch", batch_size=1).max() < 9
