import pytest
import torch

from sori.nn.negatives import at_other_times, within_clip, within_utterance


def draw(batch_size, num_masked, seed=0, num_negatives=100):
    return within_utterance(
        batch_size, num_masked, num_negatives=num_negatives, generator=torch.Generator().manual_seed(seed)
    )


def test_distractors_are_never_the_target_and_always_a_masked_frame():
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


def test_a_single_masked_frame_is_refused():
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
def test_cpc_draws_never_the_same_time_and_every_other_one(source):
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


def test_cpc_needs_other_frames_and_utterances():
    with pytest.raises(ValueError, match="at least 2 frames in every utterance, got 1"):
        draw_times("own", num_frames=1)
    with pytest.raises(ValueError, match="batch has only one"):
        draw_times("others", batch_size=1)
    assert draw_times("batch", batch_size=1).max() < 9


def draw_within(lengths, exclusion, seed=0, num_negatives=10):
    generator = torch.Generator().manual_seed(seed)
    return within_clip(torch.tensor(lengths), num_negatives=num_negatives, exclusion=exclusion, generator=generator)


def self_hits(negatives, length):
    return (negatives[:, :length] == torch.arange(length)[:, None]).float().mean()


def test_fixed_draws_never_hit_the_target():
    for seed in range(5):
        negatives = draw_within([200, 57], "fixed", seed)
        assert self_hits(negatives, 200) == 0
        assert negatives[0].min() >= 0
        assert negatives[0].max() == 199
        assert negatives[1].max() == 56


def test_faithful_draws_hit_the_target_once_in_as_many_draws_as_there_are_frames():
    negatives = draw_within([200] * 50, "faithful")
    rate, draws = float(self_hits(negatives, 200)), 50 * 200 * 10
    assert abs(rate - 1 / 200) < 3 * (1 / 200 * (1 - 1 / 200) / draws) ** 0.5
    assert negatives.min() >= 0
    assert negatives.max() < 200


def test_faithful_by_loops():
    """Numbers are drawn in the order (time, distractor) and read in the order (distractor, time)."""
    length, num_negatives = 7, 3
    drawn = torch.randint(2**62, (1, length, num_negatives), generator=torch.Generator().manual_seed(4)) % (length - 1)
    found = draw_within([length], "faithful", seed=4, num_negatives=num_negatives)
    for n in range(num_negatives):
        for t in range(length):
            place = n * length + t  # where this number stands in the flat list
            meant_for = [time for time in range(length) for _ in range(num_negatives)][place]
            number = int(drawn[0, t, n])
            assert int(found[0, t, n]) == (number + 1 if number >= meant_for else number)


@pytest.mark.parametrize("exclusion", ["fixed", "faithful"])
def test_frames_of_each_clip_are_equally_likely(exclusion):
    negatives = draw_within([5, 3], exclusion, num_negatives=20_000)
    for row, length in enumerate((5, 3)):
        counts = torch.bincount(negatives[row, :length].flatten(), minlength=length)
        assert len(counts) == length
        expected = 20_000.0
        assert ((counts - expected).abs() < 1500).all()


def test_a_clip_of_one_frame_is_refused():
    with pytest.raises(ValueError, match="one clip has only 1"):
        draw_within([5, 1], "fixed")
