"""Language balancing: the worked example of XLSR, drawn frequencies, and invariants for any data."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.core.batch import TextBatch, WaveformBatch
from sori.data.batches.language_balance import balance, balanced_fractions
from sori.data.batches.loader import CropBatches, TextBatches
from sori.data.batches.sampler import DataConfig, crops, plan_crops, plan_texts
from sori.data.manifest import Utterance

RATE = 16_000
PLANS = pytest.mark.parametrize("make", [plan_crops, plan_texts])


def corpus(counts, *, low=2.0, high=20.0, seed=0):
    """Lengths in samples and languages, shuffled together."""
    rng = np.random.default_rng(seed)
    languages = np.repeat(list(counts), list(counts.values()))
    rng.shuffle(languages)
    return rng.integers(int(low * RATE), int(high * RATE), len(languages)), languages.tolist()


def epoch(plan, number):
    return np.concatenate([plan.batch(number * plan.num_batches + i)[0] for i in range(plan.num_batches)])


def slow_shares(hours, exponent):
    total = sum(hours.values())
    powers = {language: (n / total) ** exponent for language, n in hours.items()}
    return {language: power / sum(powers.values()) for language, power in powers.items()}


def test_fractions_of_the_worked_example_of_the_paper():
    # XLSR, section 2: alpha 0.5
    assert balanced_fractions(np.array([1000.0, 100.0, 10.0]), 0.5).round(3).tolist() == [0.706, 0.223, 0.071]
    assert balanced_fractions(np.array([1000.0, 100.0, 10.0]), 1.0) == pytest.approx(
        [1000 / 1110, 100 / 1110, 10 / 1110]
    )
    assert balanced_fractions(np.array([1000.0, 100.0, 10.0]), 0.0) == pytest.approx([1 / 3] * 3)


@PLANS
@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.8, 1.0])
def test_frequencies_of_the_languages_over_a_hundred_thousand_draws(make, exponent):
    """Utterances of one length, so that draws and hours are in the same proportion."""
    languages = ["eng"] * 1000 + ["mdw"] * 100 + ["kor"] * 10
    samples = np.full(len(languages), 5 * RATE)
    plan = make(samples, DataConfig(language_exponent=exponent), seed=0, languages=languages)
    drawn = Counter()
    number = 0
    while drawn.total() < 100_000:
        drawn.update(languages[row] for row in epoch(plan, number))
        number += 1
    expected = slow_shares({"eng": 1000, "mdw": 100, "kor": 10}, exponent)
    for language, fraction in expected.items():
        assert abs(drawn[language] / drawn.total() - fraction) < 0.01
        assert drawn[language] / drawn.total() == pytest.approx(fraction, rel=0.02)


def test_fractions_are_of_the_audio_used_not_of_utterances_or_files():
    """Short words in one language, hour-long recordings in another, of which an epoch uses a crop."""
    samples = np.array([RATE] * 1000 + [3600 * RATE] * 1000)
    languages = ["ara"] * 1000 + ["eng"] * 1000
    config = DataConfig(language_exponent=0.5, min_seconds=1.0, max_crop_seconds=15.0)
    plan = plan_crops(samples, config, seed=0, languages=languages)
    seconds = Counter()
    for index in range(10 * plan.num_batches):
        rows, _, length = crops(plan, samples, index)
        for row in rows:
            seconds[languages[row]] += length / RATE
    expected = slow_shares({"ara": 1000 * 1.0, "eng": 1000 * 15.0}, 0.5)
    for language, fraction in expected.items():
        assert seconds[language] / seconds.total() == pytest.approx(fraction, abs=0.01)


@PLANS
def test_an_epoch_stays_as_long_and_large_languages_come_once_at_most(make):
    samples, languages = corpus({"eng": 2000, "mdw": 300, "kor": 40})
    config = DataConfig(language_exponent=0.5)
    plan = make(samples, config, seed=1, languages=languages)
    plain = make(samples, DataConfig(), seed=1)
    balanced = plan.languages
    times = dict(zip(balanced.names, balanced.copies, strict=True))
    assert times["eng"] < 1 < times["mdw"] < times["kor"]
    sizes, times_used = set(), np.zeros(len(samples))
    for number in range(30):
        rows = epoch(plan, number)
        sizes.add(len(rows))
        counts = np.bincount(rows, minlength=len(samples))
        times_used += counts
        for language, copies in times.items():
            mine = counts[np.array(languages) == language]
            assert mine.min() >= np.floor(copies)
            assert mine.max() <= np.ceil(copies)
    assert len(sizes) == 1
    # The same audio an epoch: small languages are of like length here, so the same number of draws.
    assert abs(sizes.pop() - len(samples)) < 0.03 * len(samples)
    assert abs(plan.num_batches - plain.num_batches) <= config.num_buckets
    # The remainder is drawn for each epoch: all utterances are drawn about equally often.
    for language, copies in times.items():
        mine = times_used[np.array(languages) == language] / 30
        assert mine.mean() == pytest.approx(copies, rel=0.02)
        assert abs(mine - copies).max() < 5 * (copies % 1 * (1 - copies % 1) / 30) ** 0.5 + 0.1


def test_any_two_utterances_may_come_together():
    """The comb would never hit both of two neighbours of half a copy each, were they not shuffled."""
    languages = ["eng"] * 100 + ["mdw"] * 20
    plan = plan_texts(
        np.full(120, RATE), DataConfig(batch_seconds=500, language_exponent=0.1), seed=0, languages=languages
    )
    copies = plan.languages.copies[0]
    assert 0.6 < copies < 0.7
    both = totals = 0
    for number in range(100):
        drawn = np.bincount(epoch(plan, number), minlength=120)[:100] > 0
        both += (drawn[:-1] & drawn[1:]).sum()
        totals += 99
        # and a language as a whole comes as often as it should, in each epoch
        assert abs(drawn.sum() - copies * 100) <= 1
    assert both / totals == pytest.approx(copies**2, abs=0.03)


@PLANS
def test_an_exponent_of_one_meets_every_utterance_once(make):
    samples, languages = corpus({"eng": 500, "mdw": 77, None: 3})
    plan = make(samples, DataConfig(language_exponent=1.0), seed=0, languages=languages)
    for number in range(5):
        assert sorted(epoch(plan, number)) == list(range(len(samples)))


@settings(max_examples=60, deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from(["eng", "mdw", "kor", "deu"]), st.integers(1, 60), min_size=1),
    exponent=st.floats(0, 1),
    low=st.floats(2.0, 10.0),
    seed=st.integers(0, 99),
    number=st.integers(0, 1000),
    crop=st.booleans(),
)
def test_any_epoch_is_whole_copies_and_one_more_of_some(counts, exponent, low, seed, number, crop):
    samples, languages = corpus(counts, low=low, high=low + 15, seed=seed)
    make = plan_crops if crop else plan_texts
    config = DataConfig(batch_seconds=40, language_exponent=exponent)
    plan = make(samples, config, seed=seed, languages=languages)
    rows = epoch(plan, number)
    assert len(rows) == len(epoch(plan, number + 1))
    assert all(len(plan.batch(index)[0]) for index in range(plan.num_batches))
    balanced = plan.languages
    drawn = np.bincount(rows, minlength=len(samples))
    for name, copies in zip(balanced.names, balanced.copies, strict=True):
        mine = drawn[np.array(languages) == name]
        assert mine.max() <= np.ceil(copies)
        # Each bucket may have one draw less than its fraction.
        expected = copies * len(mine)
        num_buckets = len(plan.bucket_samples)
        assert expected - 2 * num_buckets - expected * num_buckets / len(rows) <= mine.sum() <= expected + num_buckets


@PLANS
def test_draws_are_a_pure_function_of_seed_and_index(make):
    """A precondition of resuming: any process can compute any batch, in any order."""
    samples, languages = corpus({"eng": 300, "mdw": 40})
    config = DataConfig(language_exponent=0.5)
    plan, again = (make(samples, config, seed=3, languages=languages) for _ in range(2))
    indices = [57, 3, 1_000, 57, 2 * plan.num_batches, 0]
    first = [plan.batch(i) for i in indices]
    second = [again.batch(i) for i in reversed(indices)][::-1]
    for (rows, length), (same_rows, same_length) in zip(first, second, strict=True):
        assert rows.tolist() == same_rows.tolist()
        assert length == same_length
    other = make(samples, config, seed=4, languages=languages)
    assert epoch(plan, 0).tolist() != epoch(other, 0).tolist()
    assert sorted(epoch(plan, 0)) != sorted(epoch(plan, 1))


@PLANS
def test_batches_keep_to_their_size_and_bucket(make):
    samples, languages = corpus({"eng": 800, "mdw": 30})
    config = DataConfig(batch_seconds=60, language_exponent=0.0)
    plan = make(samples, config, seed=0, languages=languages)
    for index in range(plan.num_batches):
        rows, length = plan.batch(index)
        assert len(rows) * length <= 60 * RATE
        assert (samples[rows] >= length).all() if make is plan_crops else (samples[rows] <= length).all()


def digest(plan, samples=None):
    found = hashlib.blake2b(digest_size=8)
    for index in range(3 * plan.num_batches):
        rows, length = plan.batch(index)
        starts = "" if samples is None else f"{crops(plan, samples, index).starts.tolist()} "
        found.update(f"{rows.tolist()} {starts}{length}".encode())
    return found.hexdigest()


@pytest.mark.parametrize("has_languages", [False, True])
def test_without_an_exponent_batches_do_not_change(has_languages):
    """Pinned before language balancing was added: earlier runs continue with the same batches."""
    samples = np.random.default_rng(0).integers(32_000, 560_000, 200)
    languages = ["eng", "mdw"] * 100 if has_languages else None
    plan = plan_crops(samples, DataConfig(), seed=3, languages=languages)
    assert digest(plan) == "0daa9763fa147894"
    assert digest(plan, samples) == "3482ca75fcc8701d"
    assert digest(plan_texts(samples, DataConfig(), seed=3, languages=languages)) == "18da42d46e78f50b"


def test_utterances_without_a_language_form_another_language():
    found = balance(["eng", None, "eng", None], np.array([30, 5, 30, 5]), 0.0)
    assert found.names == ("eng", "unspecified")
    assert found.language_ids.tolist() == [0, 1, 0, 1]
    assert found.natural == pytest.approx([6 / 7, 1 / 7])
    assert found.balanced == pytest.approx([0.5, 0.5])
    assert str(found) == "eng 50.0% (of the audio 85.7%), unspecified 50.0% (of the audio 14.3%)"


@PLANS
@pytest.mark.parametrize("languages", [None, [None] * 3])
def test_utterances_without_any_language_are_refused(make, languages):
    config = DataConfig(language_exponent=0.5)
    with pytest.raises(ValueError, match=r"none of 3 has one.*--language CODE.*--data.language-exponent null"):
        make(np.full(3, 5 * RATE), config, seed=0, languages=languages)


@pytest.mark.parametrize("exponent", [-0.1, 1.1])
def test_exponents_outside_0_to_1_are_refused(exponent):
    with pytest.raises(ValueError, match="language_exponent"):
        DataConfig(language_exponent=exponent)


@pytest.fixture
def two_languages(tmp_path):
    """Nine seconds of one language and one of another, of different loudness."""
    path = tmp_path / "noise.wav"
    levels = np.repeat([0.1, 0.5], [9 * RATE, RATE])
    soundfile.write(path, levels, RATE, subtype="PCM_16")
    return [
        Utterance(f"u{i}", str(path), float(i), RATE, "a", None, "eng" if i < 9 else "mdw", "train") for i in range(10)
    ]


def quiet(batch: WaveformBatch | TextBatch) -> list[bool]:
    return [bool(waveform.abs().max() < 0.3) for waveform in batch.waveform]


def test_what_is_read_is_balanced(two_languages):
    config = DataConfig(batch_seconds=4, min_seconds=0.5, max_crop_seconds=0.5, language_exponent=0.0)
    labels = [[i] for i in range(10)]
    for batches in (
        CropBatches(two_languages, config, seed=0),
        TextBatches(two_languages, labels, config, seed=0),
    ):
        assert batches.languages.names == ("eng", "mdw")
        found = [one for index in range(20 * batches.num_batches) for one in quiet(batches[index])]
        assert sum(found) / len(found) == pytest.approx(0.5, abs=0.02)
    assert CropBatches(two_languages, DataConfig(min_seconds=0.5), seed=0).languages is None


def test_labels_go_with_their_copies(two_languages):
    config = DataConfig(batch_seconds=4, language_exponent=0.0)
    batches = TextBatches(two_languages, [[i] for i in range(10)], config, seed=0)
    for index in range(batches.num_batches):
        batch = batches[index]
        assert torch.equal(batch.labels[:, 0] < 9, torch.tensor(quiet(batch)))
