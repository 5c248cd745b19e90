import threading
import time

import numpy as np
import pytest
import soundfile
import torch

from sori.data.batches.loader import (
    CropBatches,
    FileReader,
    TextBatches,
    WholeBatches,
    prefetch,
)
from sori.data.batches.sampler import DataConfig
from sori.data.manifest import Utterance

RATE = 16_000


def utterance(path, number, start, num_samples):
    return Utterance(f"u{number}", str(path), start, num_samples, None, None, None, None)


@pytest.fixture
def utterances(tmp_path):
    """Three segments of a ramp, whose sample values show their position."""
    path = tmp_path / "ramp.wav"
    soundfile.write(path, ramp(), RATE, subtype="PCM_16")
    return [
        utterance(path, i, start, int(length * RATE)) for i, (start, length) in enumerate([(0, 1), (1.5, 0.5), (1, 1)])
    ]


def ramp():
    return (np.arange(2 * RATE) - RATE).astype(np.int16)


def test_crops_have_the_right_samples(utterances):
    batches = CropBatches(utterances, DataConfig(min_seconds=0.4, max_crop_seconds=0.25), seed=0)
    seen = set()
    for index in range(20):
        batch = batches[index]
        assert batch.waveform.shape == (3, 4_000)
        assert batch.lengths.tolist() == [4_000] * 3
        assert batch.seconds == 0.75
        firsts = (batch.waveform[:, 0] * 32768).round().int() + RATE
        expected = torch.stack([torch.arange(int(first), int(first) + 4_000) for first in firsts])
        assert torch.equal((batch.waveform * 32768).int() + RATE, expected.int())
        seen |= {int(first) for first in firsts}
    assert len(seen) > 40
    assert max(seen) + 4_000 <= 2 * RATE
    assert (batches.num_batches, batches.num_left_out) == (1, 0)


def test_short_utterances_are_counted(utterances):
    assert CropBatches(utterances, DataConfig(min_seconds=0.6), seed=0).num_left_out == 1


def test_a_batch_is_the_same_in_every_call(utterances):
    config = DataConfig(min_seconds=0.1, max_crop_seconds=0.25)
    first, second = (CropBatches(utterances, config, seed=5) for _ in range(2))
    for index in (9, 0, 4):
        assert torch.equal(first[index].waveform, second[index].waveform)
    assert not torch.equal(first[0].waveform, CropBatches(utterances, config, seed=6)[0].waveform)


def test_texts_are_padded_with_silence_and_minus_one(utterances):
    batches = TextBatches(utterances, [[1, 2, 3], [], [4]], DataConfig(), seed=0)
    batch = batches[0]
    row = {int(length): number for number, length in enumerate(batch.label_lengths)}
    assert batch.waveform.shape == (3, RATE)
    assert batch.labels[row[3]].tolist() == [1, 2, 3]
    assert batch.labels[row[0]].tolist() == [-1, -1, -1]
    assert batch.labels[row[1]].tolist() == [4, -1, -1]
    assert batch.lengths[row[0]] == RATE // 2
    assert not batch.waveform[row[0], RATE // 2 :].any()
    assert torch.equal(batch.waveform[row[0], : RATE // 2] * 32768, torch.arange(RATE // 2, RATE).float())
    assert batch.seconds == 2.5


def test_whole_utterances_are_padded_and_long_ones_cut(utterances):
    whole = WholeBatches(utterances, DataConfig(min_seconds=0.4, num_buckets=1), seed=0)[0]
    assert sorted(whole.lengths.tolist()) == [8_000, 16_000, 16_000]
    short = int(whole.lengths.argmin())
    assert torch.equal(whole.waveform[short, :8_000], FileReader(utterances)(1, 0, 8_000))
    assert not bool(whole.waveform[short, 8_000:].any())
    batches = WholeBatches(utterances, DataConfig(min_seconds=0.4, max_crop_seconds=0.75, num_buckets=1), seed=0)
    starts = set()
    for index in range(10):
        batch = batches[index]
        assert sorted(batch.lengths.tolist()) == [8_000, 12_000, 12_000]
        for waveform, count in zip(batch.waveform, batch.lengths.tolist(), strict=True):
            samples = (waveform[:count] * 32_768).round().long()
            assert torch.equal(samples, samples[0] + torch.arange(count))  # a part of the ramp, from any position
            starts.add(int(samples[0]))
    assert len(starts) > 10
    again = WholeBatches(utterances, DataConfig(min_seconds=0.4, max_crop_seconds=0.75, num_buckets=1), seed=0)[7]
    assert torch.equal(again.waveform, batches[7].waveform)


def test_utterances_shorter_than_the_minimum_are_left_out(utterances):
    assert len(WholeBatches(utterances, DataConfig(min_seconds=0.6), seed=0)[0].lengths) == 2
    with pytest.raises(ValueError, match=r"expected utterances of 5 s or more to pre-train on, got 3"):
        WholeBatches(utterances, DataConfig(min_seconds=5), seed=0)


def test_labels_must_match_utterances(utterances):
    with pytest.raises(ValueError, match="labels for 3 utterances, got 2"):
        TextBatches(utterances, [[1], [2]], DataConfig(), seed=0)


def test_removed_or_changed_files_are_named(utterances, tmp_path):
    reader = FileReader(utterances)
    soundfile.write(tmp_path / "ramp.wav", ramp()[:20_000], RATE, subtype="PCM_16")
    with pytest.raises(ValueError, match=r"ramp\.wav.*(changed|truncated)"):
        reader(1, 0, RATE // 2)
    (tmp_path / "ramp.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"ramp\.wav"):
        reader(0, 0, 10)


class Slow:
    """Takes longer for some numbers, and counts."""

    def __init__(self, *, broken=()):
        self.broken = broken
        self.made = 0

    def __getitem__(self, index):
        time.sleep(0.01 * (index % 3))
        self.made += 1
        if index in self.broken:
            raise ValueError(f"broken {index}")
        return index


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_batches_come_in_order(num_threads):
    assert list(prefetch(Slow(), range(5, 25), num_threads=num_threads)) == list(range(5, 25))
    assert list(prefetch(Slow(), [], num_threads=num_threads)) == []
    assert not threads()


def test_reading_ahead_is_bounded():
    source = Slow()
    stream = prefetch(source, iter(range(10**9)), num_threads=2)
    assert next(stream) == 0
    time.sleep(0.2)
    assert source.made == 5
    stream.close()


def test_an_error_appears_in_its_place_and_ends_the_threads():
    stream = prefetch(Slow(broken={3}), range(10), num_threads=2)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken 3"):
        next(stream)
    assert not threads()


def test_closing_early_ends_the_threads():
    stream = prefetch(Slow(), range(100), num_threads=3)
    next(stream)
    assert threads()
    stream.close()
    assert not threads()
