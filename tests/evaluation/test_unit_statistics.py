"""Counts of units, against counting one by one."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest

from sori.evaluation.unit_statistics import OUTSIDE, labels_of_units, stretches_of, unit_statistics


def sequences(seed=0, num=12):
    """Utterances with few different units, so that stretches are long, some of one frame, one of none."""
    rng = np.random.default_rng(seed)
    made = [np.repeat(rng.integers(0, 6, n), rng.integers(1, 4, n)) * 7 for n in rng.integers(1, 30, num)]
    return [*made, np.zeros(0, dtype=np.int32), np.array([7], dtype=np.int32), np.array([7, 7], dtype=np.int32)]


def test_stretches_are_groups_of_equal_units():
    units = sequences()
    wanted = []
    for owner, one in enumerate(units):
        place = 0
        for unit, group in itertools.groupby(one.tolist()):
            length = len(list(group))
            wanted.append((unit, owner, place, length))
            place += length
    assert list(zip(*(column.tolist() for column in stretches_of(units)), strict=True)) == wanted


@pytest.mark.parametrize("most", [1, 3, 100])
def test_statistics_are_those_of_counting(most):
    units = sequences(1)
    frames, runs, before, after = Counter(), Counter(), defaultdict(Counter), defaultdict(Counter)
    for one in units:
        frames.update(one.tolist())
        row = [unit for unit, _ in itertools.groupby(one.tolist())]
        runs.update(row)
        for left, right in itertools.pairwise([None, *row, None]):
            if right is not None:
                before[right][left] += 1
            if left is not None:
                after[left][right] += 1
    found = unit_statistics(stretches_of(units), num_contexts=most)
    names = found.units.tolist()
    assert names == sorted(frames)
    assert dict(zip(names, found.num_frames.tolist(), strict=True)) == frames
    assert dict(zip(names, found.num_stretches.tolist(), strict=True)) == runs
    rows = {None: OUTSIDE, **{name: row for row, name in enumerate(names)}}
    for unit, listed, other in zip(names * 2, found.before + found.after, [before] * 6 + [after] * 6, strict=True):
        every = sorted(((rows[name], count) for name, count in other[unit].items()), key=lambda one: (-one[1], one[0]))
        assert listed == every[:most]


def test_labels_are_counted_at_their_frames():
    rng = np.random.default_rng(2)
    frames, labels = rng.integers(0, 5, 400) * 3, rng.integers(-1, 4, 400)
    table = labels_of_units(np.unique(frames), frames, labels, num_labels=4)
    for row, unit in enumerate(np.unique(frames)):
        for label in range(4):
            assert table[row, label] == ((frames == unit) & (labels == label)).sum()
    assert table.sum() == (labels >= 0).sum()
    assert labels_of_units(np.unique(frames), frames, labels * 0 - 1, num_labels=0).shape == (5, 0)
