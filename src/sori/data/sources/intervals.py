"""Labelled stretches of time, and which of them a moment falls into."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Interval(NamedTuple):
    """A labelled stretch of time."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    label: str

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def labels_at(intervals: Sequence[Interval], times: NDArray[np.float64], index: Mapping[str, int]) -> NDArray[np.int64]:
    """The number of the label at each moment; -1 where there is none, or one without a number.

    Args:
        intervals: in order, not overlapping; each holds its start and not its end.
        times: seconds.
        index: from label to number.
    """
    if not intervals:
        return np.full(len(times), -1, dtype=np.int64)
    starts = np.array([one.start for one in intervals])
    ends = np.array([one.end for one in intervals])
    numbers = np.array([index.get(one.label, -1) for one in intervals], dtype=np.int64)
    place = np.searchsorted(starts, times, side="right") - 1
    inside = (place >= 0) & (times < ends[place])
    return np.where(inside, numbers[place], -1)
