"""Count the units of a corpus: frames, stretches, contexts, and how often each unit goes with a label of its frames."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTSIDE = -1
"""Unit before the first and after the last stretch of an utterance."""

Integers = NDArray[np.int64]


class Stretches(NamedTuple):
    """Longest stretches of equal units, in the order of the utterances and of time; arrays of one entry each."""

    units: Integers
    """Number of the unit."""
    owners: Integers
    """Number of the utterance."""
    firsts: Integers
    """First frame, counted from the beginning of the utterance."""
    lengths: Integers
    """Number of frames."""


class UnitStatistics(NamedTuple):
    """Counts of the units that occur, in ascending order of their numbers."""

    units: Integers
    """Number of each unit."""
    num_frames: Integers
    num_stretches: Integers
    before: list[list[tuple[int, int]]]
    """For each unit, the rows of the units before it (or `OUTSIDE`) and how often, the most frequent first."""
    after: list[list[tuple[int, int]]]

    @property
    def mean_frames(self) -> NDArray[np.float64]:
        """Return the mean length of a stretch of each unit, in frames."""
        mean: NDArray[np.float64] = self.num_frames / self.num_stretches
        return mean


def stretches_of(units: Sequence[NDArray[np.integer[Any]]]) -> Stretches:
    """Find the stretches of equal units.

    Args:
        units: units of the frames of each utterance.
    """
    lengths = np.array([len(one) for one in units], dtype=np.int64)
    every = np.concatenate([np.zeros(0, dtype=np.int64), *units]).astype(np.int64)
    owners = np.repeat(np.arange(len(units)), lengths)
    begins = np.ones(len(every), dtype=bool)
    begins[1:] = (every[1:] != every[:-1]) | (owners[1:] != owners[:-1])
    places = np.flatnonzero(begins)
    firsts = places - (np.cumsum(lengths) - lengths)[owners[places]]
    return Stretches(every[places], owners[places], firsts, np.diff(places, append=len(every)))


def unit_statistics(stretches: Stretches, *, num_contexts: int) -> UnitStatistics:
    """Count frames, stretches and contexts of every unit.

    Args:
        stretches: from `stretches_of`.
        num_contexts: maximum number of units before and after that are listed for each unit.
    """
    units, rows = np.unique(stretches.units, return_inverse=True)
    num_frames = np.bincount(rows, weights=stretches.lengths, minlength=len(units)).astype(np.int64)
    joined = stretches.owners[1:] == stretches.owners[:-1]
    before, after = np.full(len(rows), OUTSIDE), np.full(len(rows), OUTSIDE)
    before[1:] = np.where(joined, rows[:-1], OUTSIDE)
    after[:-1] = np.where(joined, rows[1:], OUTSIDE)
    return UnitStatistics(
        units,
        num_frames,
        np.bincount(rows, minlength=len(units)),
        _most_frequent(rows, before, len(units), num_contexts),
        _most_frequent(rows, after, len(units), num_contexts),
    )


def labels_of_units(units: Integers, frames: Integers, labels: Integers, *, num_labels: int) -> NDArray[np.int64]:
    """Count how often each unit goes with each label, `unit label`.

    Args:
        units: the units to count, ascending.
        frames: unit of each frame, one of `units`.
        labels: number of the label of each frame; -1 for none.
        num_labels: number of labels.
    """
    known = labels >= 0
    flat = np.searchsorted(units, frames[known]) * num_labels + labels[known]
    table = np.bincount(flat, minlength=len(units) * num_labels).reshape(len(units), num_labels)
    return table.astype(np.int64)


def _most_frequent(rows: Integers, others: Integers, num_units: int, most: int) -> list[list[tuple[int, int]]]:
    """Return, for each row, the most frequent of the others that stand beside it, and their counts."""
    pairs, counts = np.unique(np.stack([rows, others]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    found: list[list[tuple[int, int]]] = [[] for _ in range(num_units)]
    for row, other, count in zip(
        pairs[0, order].tolist(), pairs[1, order].tolist(), counts[order].tolist(), strict=True
    ):
        if len(found[row]) < most:
            found[row].append((other, count))
    return found
