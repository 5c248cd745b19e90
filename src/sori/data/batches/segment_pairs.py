"""Micro-batches of word segments and their neighbours, as pure functions of the seed and the number.

A micro-batch has several whole utterances, all their segments, and all pairs of a segment and a neighbour within the
window. Each segment is thus read once, regardless of its number of neighbours.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from pydantic import Field

from sori.core.audio import SAMPLE_RATE
from sori.core.batch import SegmentBatch
from sori.core.config import Config
from sori.core.seeds import derive
from sori.data.batches.loader import FileReader, Reader
from sori.data.batches.sampler import DataConfig, Rows, plan_texts
from sori.data.manifest import Utterance
from sori.data.word_segments import Segment


class SegmentConfig(Config):
    """Settings that define segments and their neighbours."""

    file: str | None = None
    """File of the segments; None: `segments.jsonl` in each prepared folder."""
    fixed_seconds: float | None = Field(default=None, gt=0)
    """Use segments of about this length instead of words, for untranscribed recordings."""
    window: int = Field(default=3, ge=1)
    """k: maximum distance of neighbours, in segments. Paper: 3."""
    windows: Literal["utterance", "speaker"] = "utterance"
    """Windows end with the utterance (paper), or continue through all utterances of a speaker, sorted by id.
    Code: they continue through all data, across speakers, which is not available here."""
    min_count: int = Field(default=1, ge=1)
    """Words that occur less often are removed before windows are formed. Code: 4."""
    subsample: float | None = Field(default=None, gt=0)
    """t: a word of relative frequency f is a centre word with probability sqrt(t / f) + t / f, drawn for each
    occurrence in each batch (word2vec; not applied to neighbours). Code: 1e-3; None: always."""


class Kept(NamedTuple):
    """Utterances with the segments to train on."""

    utterances: list[Utterance]
    segments: list[list[Segment]]
    """Segments of each utterance, in order; at least one."""


def keep(utterances: Sequence[Utterance], segments: Sequence[list[Segment]], config: SegmentConfig) -> Kept:
    """Remove rare words, and then utterances that have no pair of neighbours.

    Raises:
        ValueError: nothing is left.
    """
    counts = Counter(one.word for own in segments for one in own)
    kept = [[one for one in own if one.word is None or counts[one.word] >= config.min_count] for own in segments]
    least = 2 if config.windows == "utterance" else 1
    rows = [row for row, own in enumerate(kept) if len(own) >= least]
    if not rows:
        raise ValueError(
            f"expected utterances of two segments or more, which can be neighbours, got {len(utterances)} utterances "
            f"with {sum(map(len, segments))} segments, of which {sum(map(len, kept))} occur {config.min_count} "
            "times or more; for recordings of single words set segments.windows to speaker"
        )
    return Kept([utterances[row] for row in rows], [kept[row] for row in rows])


@final
class SegmentBatches:
    """Training batches of Speech2Vec.

    Args:
        kept: from `keep`.
        config: windows.
        data: batch size.
        seed: seed of the run.
        reader: source of the samples (see `audio_cache.open_audio`); None: the sound files.

    Raises:
        ValueError: no two segments are neighbours.
    """

    def __init__(
        self, kept: Kept, config: SegmentConfig, data: DataConfig, *, seed: int, reader: Reader | None = None
    ) -> None:
        self._num_samples = np.array([u.num_samples for u in kept.utterances], dtype=np.int64)
        self._segments, self._config, self._seed = kept.segments, config, seed
        self._reader = reader or FileReader(kept.utterances)
        self._plan = (
            plan_texts(self._num_samples, data, seed=seed)
            if config.windows == "utterance"
            else _Speakers(kept, data, seed=seed)
        )
        self._kept = _keep_probability(kept.segments, config.subsample)
        self.num_batches = self._plan.num_batches
        """Micro-batches in an epoch."""

    def __getitem__(self, index: int) -> SegmentBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        if isinstance(self._plan, _Speakers):
            rows = self._plan.rows(index)
            stream = np.zeros(len(rows), dtype=np.int64)
        else:
            rows, _ = self._plan.batch(index)
            stream = np.arange(len(rows))
        chosen = [self._segments[row] for row in rows]
        utterance = np.repeat(np.arange(len(rows)), [len(own) for own in chosen])
        pairs = neighbours(stream[utterance], self._config.window)
        flat = [one for own in chosen for one in own]
        return SegmentBatch(
            *read_waveforms(self._reader, rows, self._num_samples),
            torch.from_numpy(utterance),
            *borders(flat, self._num_samples[rows[utterance]]),
            torch.from_numpy(self._subsampled(pairs, flat, index)),
        )

    def _subsampled(self, pairs: Rows, segments: Sequence[Segment], index: int) -> Rows:
        """Remove the windows whose centre word is not drawn; keep all if none would be left."""
        if self._config.subsample is None:
            return pairs
        rng = np.random.Generator(np.random.Philox(derive(self._seed, index, "subsample")))
        kept = rng.random(len(segments)) < [self._kept[one.word] for one in segments]
        drawn = pairs[kept[pairs[:, 0]]]
        return drawn if len(drawn) else pairs


def neighbours(streams: Rows, window: int) -> Rows:
    """Return all ordered pairs of segments that are at most `window` apart in one stream, sorted.

    Args:
        streams: number of each segment's stream, in which segments can be neighbours; streams are contiguous.
        window: k.

    Returns:
        Array `pair 2`: the centre, and a neighbour.
    """
    found = [np.zeros((0, 2), dtype=np.int64)]
    for distance in range(1, min(window, len(streams) - 1) + 1):
        left = np.flatnonzero(streams[:-distance] == streams[distance:])
        found += [np.stack([left, left + distance], 1), np.stack([left + distance, left], 1)]
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def read_waveforms(reader: Reader, rows: Rows, num_samples: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Read whole utterances `batch sample`, padded with zeros, and their lengths."""
    lengths = torch.from_numpy(num_samples[rows])
    waveform = torch.zeros(len(rows), int(lengths.max()))
    for place, row in zip(waveform, rows, strict=True):
        place[: num_samples[row]] = reader(int(row), 0, int(num_samples[row]))
    return waveform, lengths


def borders(segments: Sequence[Segment], num_samples: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first sample of each segment and the one after its last, within its utterance of `num_samples`."""
    starts = np.array([round(one.start * SAMPLE_RATE) for one in segments], dtype=np.int64)
    stops = np.array([round(one.end * SAMPLE_RATE) for one in segments], dtype=np.int64)
    return torch.from_numpy(starts.clip(max=num_samples - 1)), torch.from_numpy(stops.clip(max=num_samples))


def _keep_probability(segments: Sequence[Sequence[Segment]], threshold: float | None) -> dict[str | None, float]:
    if threshold is None:
        return {}
    counts = Counter(one.word for own in segments for one in own)
    ratio = {word: threshold * counts.total() / count for word, count in counts.items()}
    return {word: 1.0 if word is None else min(1.0, r**0.5 + r) for word, r in ratio.items()}


@final
class _Speakers:
    """Batches of consecutive utterances of one speaker, sorted by id; only the order of batches is shuffled."""

    def __init__(self, kept: Kept, data: DataConfig, *, seed: int) -> None:
        of_speaker: dict[str | None, list[int]] = {}
        for row in sorted(range(len(kept.utterances)), key=lambda row: kept.utterances[row].id):
            of_speaker.setdefault(kept.utterances[row].speaker, []).append(row)
        self._batches: list[Rows] = []
        self._seed = seed
        for rows in of_speaker.values():
            seconds = np.array([kept.utterances[row].duration_seconds for row in rows])
            number = (np.cumsum(seconds) - seconds) // data.batch_seconds
            self._batches += np.split(np.array(rows), np.flatnonzero(np.diff(number)) + 1)
        self._batches = [rows for rows in self._batches if sum(len(kept.segments[row]) for row in rows) > 1]
        if not self._batches:
            raise ValueError(
                "expected speakers with two segments or more, got none; likely every recording has another speaker, "
                "or data.batch_seconds is too short for two segments"
            )
        self.num_batches = len(self._batches)
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    def rows(self, index: int) -> Rows:
        """Return the utterance numbers of micro-batch `index`."""
        epoch, position = divmod(index, self.num_batches)
        order: Rows = self._order(epoch)
        return self._batches[int(order[position])]

    def _shuffled(self, epoch: int) -> Rows:
        rng = np.random.Generator(np.random.Philox(derive(self._seed, epoch, "order")))
        return np.asarray(rng.permutation(self.num_batches), dtype=np.int64)
