"""Pairs and batches of segments against counting by hand, and files of segments that are wrong."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from sori.data.batches.sampler import DataConfig
from sori.data.batches.segment_pairs import Kept, SegmentBatches, SegmentConfig, keep, neighbours
from sori.data.manifest import Utterance
from sori.data.word_segments import (
    Segment,
    by_utterance,
    fixed_segments,
    read_segments,
    write_segments,
)

RATE = 16_000
DATA = DataConfig(batch_seconds=3.0, num_buckets=2)


def utterance(number, path="none.wav", seconds=1.0, speaker="anna", start=0.0):
    return Utterance(f"u{number}", str(path), start, round(seconds * RATE), None, speaker, None, None)


@pytest.fixture
def corpus(tmp_path):
    """Six utterances of two speakers, on a ramp whose values show their position, with zero to four words each."""
    path = tmp_path / "ramp.wav"
    soundfile.write(path, np.arange(6 * RATE // 4, dtype=np.int16), RATE, subtype="PCM_16")
    utterances = [
        utterance(n, path, seconds=0.5 + 0.1 * n, speaker="anna" if n % 2 else "ben", start=0.1 * n) for n in range(6)
    ]
    segments = [
        [Segment(f"u{n}", 0.1 * m, 0.1 * m + 0.08, f"w{(n + m) % 3}") for m in range(count)]
        for n, count in enumerate([4, 1, 3, 2, 0, 4])
    ]
    return utterances, segments


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 4))
def test_neighbours_are_those_found_by_trying_all(sizes, window):
    streams = np.repeat(np.arange(len(sizes)), sizes)
    expected = [
        [a, b]
        for a, b in product(range(len(streams)), repeat=2)
        if a != b and abs(a - b) <= window and streams[a] == streams[b]
    ]
    assert neighbours(streams, window).tolist() == expected


def test_a_batch_holds_whole_utterances_their_segments_and_pairs(corpus):
    kept = keep(*corpus, SegmentConfig(window=2))
    assert [u.id for u in kept.utterances] == ["u0", "u2", "u3", "u5"]
    batches = SegmentBatches(kept, SegmentConfig(window=2), DATA, seed=0)
    seen = Counter()
    for index in range(batches.num_batches):
        batch = batches[index]
        assert int(batch.lengths.max()) == batch.waveform.shape[1]
        for row, waveform in enumerate(batch.waveform):
            samples = (waveform[: int(batch.lengths[row])] * 32768).round().int()
            number = round(int(samples[0]) / 1600)
            seen[f"u{number}"] += 1
            assert torch.equal(samples, 1600 * number + torch.arange(len(samples)).int())
            assert not waveform[int(batch.lengths[row]) :].any()
            own = (batch.rows == row).nonzero().flatten()
            expected = kept.segments[[u.id for u in kept.utterances].index(f"u{number}")]
            assert batch.starts[own].tolist() == [round(one.start * RATE) for one in expected]
            assert batch.stops[own].tolist() == [round(one.end * RATE) for one in expected]
            pairs = {(a - int(own[0]), b - int(own[0])) for a, b in batch.pairs.tolist() if a in own.tolist()}
            count = len(expected)
            assert pairs == {(a, b) for a, b in product(range(count), repeat=2) if 0 < abs(a - b) <= 2}
    assert seen == Counter(u.id for u in kept.utterances)
    assert batches[0].seconds == pytest.approx(float(batches[0].lengths.sum()) / RATE)


def test_windows_may_continue_through_the_utterances_of_a_speaker(corpus):
    config = SegmentConfig(window=2, windows="speaker")
    kept = keep(*corpus, config)
    assert [u.id for u in kept.utterances] == ["u0", "u1", "u2", "u3", "u5"]
    batches = SegmentBatches(kept, config, DataConfig(batch_seconds=30.0), seed=0)
    assert batches.num_batches == 2
    for index in range(2):
        batch = batches[index]
        numbers = [round(float(waveform[0]) * 32768 / 1600) for waveform in batch.waveform]
        assert numbers in ([0, 2], [1, 3, 5])
        count = len(batch.rows)
        expected = [[a, b] for a, b in product(range(count), repeat=2) if 0 < abs(a - b) <= 2]
        assert batch.pairs.tolist() == expected


def test_long_streams_are_divided(corpus):
    config = SegmentConfig(windows="speaker")
    kept = keep(*corpus, config)
    batches = SegmentBatches(kept, config, DataConfig(batch_seconds=1.2), seed=0)
    assert batches.num_batches > 2
    times_used = Counter(
        round(float(waveform[0]) * 32768 / 1600)
        for index in range(batches.num_batches)
        for waveform in batches[index].waveform
    )
    assert set(times_used.values()) == {1}


@pytest.mark.parametrize("windows", ["utterance", "speaker"])
def test_a_batch_is_the_same_in_every_call(corpus, windows):
    config = SegmentConfig(windows=windows, subsample=0.05)
    first, second = (SegmentBatches(keep(*corpus, config), config, DATA, seed=3) for _ in range(2))
    for index in (7, 0, 3):
        assert all(torch.equal(a, b) for a, b in zip(first[index], second[index], strict=True))
    other = SegmentBatches(keep(*corpus, config), config, DATA, seed=4)
    assert any(
        a.shape != b.shape or not torch.equal(a, b) for n in range(4) for a, b in zip(first[n], other[n], strict=True)
    )


def test_rare_words_are_removed_before_windows_are_formed():
    segments = [[Segment("u0", 0.1 * n, 0.1 * n + 0.1, word) for n, word in enumerate("abaca")]]
    kept = keep([utterance(0)], segments, SegmentConfig(min_count=2))
    assert [one.word for one in kept.segments[0]] == ["a", "a", "a"]
    with pytest.raises(ValueError, match="3 segments, of which 0 occur 4 times"):
        keep([utterance(0)], [segments[0][:3]], SegmentConfig(min_count=4))


def test_frequent_words_are_centre_words_as_often_as_in_word2vec(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(RATE), RATE)
    words = "aaaaaaaab" * 4
    segments = [[Segment("u0", 0.02 * n, 0.02 * n + 0.02, word) for n, word in enumerate(words)]]
    config = SegmentConfig(window=1, subsample=0.05)
    batches = SegmentBatches(Kept([utterance(0, path)], segments), config, DATA, seed=0)
    middles = Counter()
    for index in range(300):
        middles.update([words[n] for n in set(batches[index].pairs[:, 0].tolist())])
    for word, fraction in (("a", 8 / 9), ("b", 1 / 9)):
        expected = min(1.0, (0.05 / fraction) ** 0.5 + 0.05 / fraction)
        drawn = middles[word] / (300 * words.count(word))
        assert drawn == pytest.approx(expected, abs=4 * (0.25 / (300 * words.count(word))) ** 0.5)
    # neighbours are never dropped: the last segment is beside one other
    assert {b for n in range(20) for b in batches[n].pairs[:, 1].tolist()} == set(range(len(words)))


def test_segments_come_back_from_their_file(tmp_path):
    segments = [Segment("u0", 0.0, 0.5, "yeekirá"), Segment("u1", 0.25, 1.0, None)]
    write_segments(tmp_path / "segments.jsonl", segments)
    assert read_segments(tmp_path / "segments.jsonl") == segments


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "u0", "start": 0.5, "end": 0.5}', "0 <= start < end"),
        ('{"id": "u0", "start": 0.5, "end": 0.2}', "0 <= start < end"),
        ('{"id": "u0", "start": -0.1, "end": 0.2}', "0 <= start < end"),
        ('{"id": "u0", "start": NaN, "end": 0.2}', "0 <= start < end"),
        ('{"id": "u0", "start": 0.1}', "'end' is missing"),
        ('{"id": 3, "start": 0.1, "end": 0.2}', "must be text"),
        ('{"id": "u0", "start": 0.1, "end": 0.2, "word": 7}', "must be text"),
        ('{"id": "u0", "start": "x", "end": 0.2}', "could not convert"),
        ("[1, 2]", "line 2: expected"),
        ("u0 0.1 0.2", "line 2 is not JSON"),
    ],
)
def test_lines_that_are_not_segments_are_named(tmp_path, line, message):
    path = tmp_path / "segments.jsonl"
    path.write_text('{"id": "u0", "start": 0.0, "end": 0.1}\n' + line + "\n")
    with pytest.raises(ValueError, match="line 2") as caught:
        read_segments(path)
    assert message in str(caught.value)


def test_segments_outside_the_utterances_are_refused():
    known = [utterance(0, seconds=1.0)]
    with pytest.raises(ValueError, match="'u9', which is not among the 1 prepared"):
        by_utterance([Segment("u9", 0.0, 0.1, "a")], known, origin="x")
    with pytest.raises(ValueError, match=r"a ends at 1.05 s, but u0 lasts 1 s"):
        by_utterance([Segment("u0", 0.9, 1.05, "a")], known, origin="x")
    rounded = Segment("u0", 0.9, 1.01, "a")
    assert by_utterance([rounded, Segment("u0", 0.1, 0.2, "b")], known, origin="x") == [
        [Segment("u0", 0.1, 0.2, "b"), rounded]
    ]


def test_pieces_of_fixed_length_cover_the_utterance():
    found = fixed_segments([utterance(0, seconds=1.0), utterance(1, seconds=0.1)], 0.3)
    assert [(one.utterance, round(one.start, 3), round(one.end, 3)) for one in found] == [
        ("u0", 0.0, 0.333),
        ("u0", 0.333, 0.667),
        ("u0", 0.667, 1.0),
        ("u1", 0.0, 0.1),
    ]


def test_speakers_without_neighbours_are_refused(corpus):
    utterances, segments = corpus
    alone = Kept([utterances[1]], [segments[1]])
    with pytest.raises(ValueError, match="two segments or more"):
        SegmentBatches(alone, SegmentConfig(windows="speaker"), DATA, seed=0)
