import time

import numpy as np
import pytest

from sori.data.batches.sampler import DataConfig, crops, plan_crops, plan_texts

RATE = 16_000


def lengths(count, *, seed=0, low=0.5, high=35.0):
    return np.random.default_rng(seed).integers(int(low * RATE), int(high * RATE), count)


def epoch(plan, number):
    return [plan.batch(number * plan.num_batches + i) for i in range(plan.num_batches)]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 500, 5_000])
@pytest.mark.parametrize("make", [plan_crops, plan_texts])
def test_every_utterance_is_used_once_an_epoch_in_batches_that_are_never_empty(make, count):
    samples = lengths(count, low=2.0)
    plan = make(samples, DataConfig(), seed=1)
    for number in (0, 1, 7):
        rows = [rows for rows, _ in epoch(plan, number)]
        assert min(map(len, rows)) >= 1
        assert sorted(np.concatenate(rows)) == list(range(count))


@pytest.mark.parametrize("field", ["batch_seconds", "max_crop_seconds", "min_seconds"])
@pytest.mark.parametrize("seconds", [1e300, 1e9, float("inf"), float("nan"), -1.0])
def test_impossible_lengths_are_refused(field, seconds):
    with pytest.raises(ValueError, match=rf"{field}: Input should be"):
        DataConfig.from_data({field: seconds}, origin="the recipe")


def test_short_utterances_are_in_no_batch():
    samples = np.array([RATE, 2 * RATE - 1, 2 * RATE, 5 * RATE])
    plan = plan_crops(samples, DataConfig(), seed=0)
    assert sorted(np.concatenate([rows for rows, _ in epoch(plan, 0)])) == [2, 3]


@pytest.mark.parametrize("count", [3, 200, 5_000])
def test_crops_fit_their_utterances_and_their_batch(count):
    samples, config = lengths(count, low=2.0), DataConfig(batch_seconds=60)
    plan = plan_crops(samples, config, seed=0)
    shapes = set()
    for index in range(2 * plan.num_batches):
        rows, starts, length = crops(plan, samples, index)
        assert length <= config.max_crop_seconds * RATE
        assert len(rows) * length <= config.batch_seconds * RATE
        assert (starts >= 0).all()
        assert (starts + length <= samples[rows]).all()
        shapes.add((len(rows), length))
    assert len({length for _, length in shapes}) <= config.num_buckets
    assert len(shapes) <= 2 * config.num_buckets


def test_little_audio_is_cropped_and_batches_are_full():
    """The cost of cropping to the shortest of a bucket and of even division, for lengths as in LibriSpeech."""
    samples = np.random.default_rng(0).triangular(2, 15, 17, 20_000).astype(np.int64) * RATE
    plan = plan_crops(samples, DataConfig(), seed=0)
    num_used = sum(len(rows) * length for rows, length in epoch(plan, 0))
    assert num_used > 0.9 * np.minimum(samples, 15.625 * RATE).sum()
    assert num_used > 0.8 * plan.num_batches * 87.5 * RATE


def test_crops_are_spread_over_long_utterances_and_differ_by_seed():
    samples = np.array([60 * RATE] * 4)
    config = DataConfig(batch_seconds=5, max_crop_seconds=5)
    plan = plan_crops(samples, config, seed=0)
    starts = np.array([crops(plan, samples, index).starts[0] for index in range(400)])
    assert starts.max() > 54 * RATE
    assert starts.min() < 1 * RATE
    assert abs(starts.mean() / RATE - 27.5) < 3
    other = plan_crops(samples, config, seed=1)
    assert [crops(other, samples, i).starts[0] for i in range(4)] != list(starts[:4])


def test_the_last_possible_start_is_drawn():
    samples = np.array([RATE + 1])
    plan = plan_crops(samples, DataConfig(batch_seconds=1, max_crop_seconds=1, min_seconds=0), seed=0)
    assert {int(crops(plan, samples, index).starts[0]) for index in range(50)} == {0, 1}


@pytest.mark.parametrize("make", [plan_crops, plan_texts])
def test_batches_are_a_pure_function_of_seed_and_index(make):
    samples = lengths(300, low=2.0)
    plan, again = (make(samples, DataConfig(), seed=3) for _ in range(2))
    indices = [57, 3, 1_000, 57, 2 * plan.num_batches, 0]
    first = [plan.batch(i) for i in indices]
    second = [again.batch(i) for i in reversed(indices)][::-1]
    for (rows, length), (same_rows, same_length) in zip(first, second, strict=True):
        assert (rows == same_rows).all()
        assert length == same_length


@pytest.mark.parametrize("make", [plan_crops, plan_texts])
def test_epochs_and_seeds_differ_in_order_and_in_composition(make):
    samples = lengths(300, low=2.0)
    plan = make(samples, DataConfig(), seed=3)
    first, second = epoch(plan, 0), epoch(plan, 1)
    other = epoch(make(samples, DataConfig(), seed=4), 0)
    for changed in (second, other):
        assert [length for _, length in first] != [length for _, length in changed]
        assert {frozenset(rows.tolist()) for rows, _ in first} != {frozenset(rows.tolist()) for rows, _ in changed}


def test_texts_are_padded_little_and_never_beyond_the_batch():
    samples, config = lengths(3_000), DataConfig(batch_seconds=100)
    plan = plan_texts(samples, config, seed=0)
    padded = real = 0
    for rows, longest in epoch(plan, 0):
        assert samples[rows].max() <= longest
        assert len(rows) * longest <= 100 * RATE
        padded += len(rows) * samples[rows].max()
        real += samples[rows].sum()
    assert real > 0.85 * padded


def test_an_utterance_longer_than_a_batch_is_a_batch_of_its_own():
    samples = np.array([200, 3, 4]) * RATE
    plan = plan_texts(samples, DataConfig(batch_seconds=10), seed=0)
    assert [0] in [rows.tolist() for rows, _ in epoch(plan, 0)]


def test_equal_lengths_fill_one_bucket():
    plan = plan_crops(np.full(1_000, 20 * RATE), DataConfig(), seed=0)
    assert plan.bucket_samples.tolist() == [250_000]
    assert plan.num_batches == 200


def test_nothing_to_train_on_is_refused_with_the_longest_utterance():
    with pytest.raises(ValueError, match=r"2 s or more.*got 2 of which the longest has 1.50 s"):
        plan_crops(np.array([RATE, 24_000]), DataConfig(), seed=0)
    with pytest.raises(ValueError, match=r"got 0 of which the longest has 0\.00 s"):
        plan_crops(np.array([], dtype=np.int64), DataConfig(), seed=0)
    with pytest.raises(ValueError, match="expected transcribed utterances, got none"):
        plan_texts(np.array([], dtype=np.int64), DataConfig(), seed=0)


def test_a_million_utterances_are_planned_and_shuffled_in_seconds():
    samples = lengths(1_000_000, low=2.0)
    begin = time.process_time()
    plan = plan_crops(samples, DataConfig(), seed=0)
    crops(plan, samples, plan.num_batches // 2)
    assert time.process_time() - begin < 3
    begin = time.process_time()
    for index in range(1_000):
        crops(plan, samples, index)
    assert time.process_time() - begin < 1


def test_batches_have_one_speaker_and_every_utterance_comes_once():
    samples = lengths(400, low=2.0)
    speakers = [f"s{n % 7}" for n in range(400)]
    config = DataConfig(one_speaker=True, batch_seconds=40, max_crop_seconds=5, num_buckets=3)
    plan = plan_crops(samples, config, seed=0, speakers=speakers)
    for number in (0, 3):
        batches = epoch(plan, number)
        assert all(len({speakers[row] for row in rows}) == 1 for rows, _ in batches)
        assert sorted(np.concatenate([rows for rows, _ in batches])) == list(range(400))
        assert max(len(rows) * length for rows, length in batches) <= 40 * RATE
        assert all(length <= samples[rows].min() for rows, length in batches)
        firsts = [speakers[rows[0]] for rows, _ in batches]
        assert len(set(firsts[:15])) > 3  # speakers take turns
    mixed = plan_crops(
        samples, DataConfig(batch_seconds=40, max_crop_seconds=5, num_buckets=3), seed=0, speakers=speakers
    )
    assert any(len({speakers[row] for row in rows}) > 1 for rows, _ in epoch(mixed, 0))


def test_batches_of_one_speaker_need_speakers():
    samples = lengths(5, low=2.0)
    with pytest.raises(ValueError, match="1 of 5 have none"):
        plan_crops(samples, DataConfig(one_speaker=True), seed=0, speakers=["a", "a", None, "b", "b"])
    with pytest.raises(ValueError, match="5 of 5 have none"):
        plan_crops(samples, DataConfig(one_speaker=True), seed=0)
