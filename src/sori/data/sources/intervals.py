"""Labelled time intervals, and the label at a given time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Interval(NamedTuple):
    """A labelled time interval."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    label: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.end - self.start


def labels_at(intervals: Sequence[Interval], times: NDArray[np.float64], index: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the number of the label at each time; -1 without a label, or if the label has no number.

    Args:
        intervals: in order, not overlapping; each includes its start and excludes its end.
        times: seconds.
        index: number of each label.
    """
    if not intervals:
        return np.full(len(times), -1, dtype=np.int64)
    starts = np.array([one.start for one in intervals])
    ends = np.array([one.end for one in intervals])
    numbers = np.array([index.get(one.label, -1) for one in intervals], dtype=np.int64)
    place = np.searchsorted(starts, times, side="right") - 1
    inside = (place >= 0) & (times < ends[place])
    return np.where(inside, numbers[place], -1)
