"""Distance between two sequences of vectors: dynamic time warping over angles, averaged along the path; compiled.

The distance between two frames is the angle between them divided by pi, in [0, 1]; a zero frame has distance 1/2 to
every frame. A path goes from both first to both last frames by steps of (1, 1), (1, 0) and (0, 1). The path with the
smallest sum is used, of equal ones the shortest; the distance is its sum divided by its number of frame pairs. This
definition is symmetric and independent of the implementation.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit

_compiled = jit(error_model="numpy")
# Allows reordering of sums of products, so that they can be vectorised.
_reordered = jit(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})

_Array = NDArray[Any]


class Items(NamedTuple):
    """Items (spans of frames), grouped in bags of equivalent items."""

    frames: _Array
    """`frame dim`, each of norm 1 or 0 (`unit_length`); float32 or float64."""
    starts: NDArray[np.int64]
    """First frame of each item."""
    stops: NDArray[np.int64]
    """Last frame + 1 of each item."""
    bags: NDArray[np.int64]
    """`bag + 1`: first item of each bag; the items of a bag are consecutive."""


def unit_length(frames: _Array) -> _Array:
    """Return the frames scaled to unit norm; zero frames stay zero."""
    norm = np.sqrt(np.einsum("td,td->t", frames, frames, dtype=np.float64))
    return (frames / np.where(norm > 0, norm, 1)[:, None]).astype(frames.dtype)


def compare(
    items: Items, tasks: NDArray[np.int64], *, num_threads: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Count, for each task, how often X is closer to an item B of another bag than to an item A.

    Args:
        items: items in bags.
        tasks: `task 4`: the bags of X and of A, and first and last + 1 of the bags of B; A's own bag is skipped. If X
            and A are from the same bag, X is not compared with itself.
        num_threads: number of threads; None: one per core.

    Returns:
        For each task and each of its bags (for A's bag 0 of 0): the number of errors among the triples, half an error
        for equal distances, and the number of triples; and the number of distances computed.
    """
    sizes = tasks[:, 3] - tasks[:, 2]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    errors, triples = np.zeros(offsets[-1]), np.zeros(offsets[-1], dtype=np.int64)
    work = np.ascontiguousarray(tasks, dtype=np.int64)
    num_threads = num_threads or cpu_count() or 1
    pieces = np.array_split(np.arange(len(tasks)), max(1, min(len(tasks), 16 * num_threads)))

    def run(piece: NDArray[np.int64]) -> int:
        if not len(piece):
            return 0
        first, last = int(piece[0]), int(piece[-1]) + 1
        return int(_compare(*items, work, offsets, first, last, errors, triples))

    with ThreadPoolExecutor(num_threads) as pool:
        return errors, triples, sum(pool.map(run, pieces))


def distance(x: _Array, y: _Array) -> float:
    """Return the distance between two sequences `frame dim` of equal dimension, each with at least one frame."""
    both = unit_length(np.concatenate([x, y]))
    cost, steps = np.zeros((2, len(y))), np.zeros((2, len(y)), dtype=np.int64)
    angles = np.zeros(len(y))
    return float(_distance(both, 0, len(x), len(x), len(both), cost, steps, angles))


@no_type_check
@_reordered
def _angles(frames: _Array, x: int, y: int, stop: int, angles: _Array) -> None:
    """Compute the angles, divided by pi, between frame x and frames y to stop."""
    dim = frames.shape[1]
    zero = frames[0, 0] * 0
    row = frames[x]
    count = 0
    while y < stop:
        if y + 4 <= stop:  # four at once, so that each element of x is loaded once for four products
            a, b, c, d = zero, zero, zero, zero
            for k in range(dim):
                value = row[k]
                a += value * frames[y, k]
                b += value * frames[y + 1, k]
                c += value * frames[y + 2, k]
                d += value * frames[y + 3, k]
            angles[count], angles[count + 1], angles[count + 2], angles[count + 3] = a, b, c, d
            y += 4
            count += 4
        else:
            a = zero
            for k in range(dim):
                a += row[k] * frames[y, k]
            angles[count] = a
            y += 1
            count += 1
    for j in range(count):
        angles[j] = math.acos(min(1.0, max(-1.0, angles[j]))) / math.pi


@no_type_check
@_compiled
def _distance(
    frames: _Array,
    x_start: int,
    x_stop: int,
    y_start: int,
    y_stop: int,
    cost: _Array,
    steps: _Array,
    angles: _Array,
) -> float:
    """Compute the distance; `cost` and `steps` hold sum and length of the best paths for two frames of x in turn."""
    width = y_stop - y_start
    for i in range(x_stop - x_start):
        now, before = i % 2, 1 - i % 2
        _angles(frames, x_start + i, y_start, y_stop, angles)
        for j in range(width):
            best, length = math.inf, 0
            if i > 0 and j > 0:
                best, length = cost[before, j - 1], steps[before, j - 1]
            if i > 0 and (cost[before, j] < best or (cost[before, j] == best and steps[before, j] < length)):
                best, length = cost[before, j], steps[before, j]
            if j > 0 and (cost[now, j - 1] < best or (cost[now, j - 1] == best and steps[now, j - 1] < length)):
                best, length = cost[now, j - 1], steps[now, j - 1]
            if i == 0 and j == 0:
                best = 0.0
            cost[now, j] = best + angles[j]
            steps[now, j] = length + 1
    last = (x_stop - x_start - 1) % 2
    return cost[last, width - 1] / steps[last, width - 1]


@no_type_check
@_compiled
def _num_errors(own: _Array, num: int, other: float) -> float:
    found = 0.0
    for a in range(num):
        found += 1.0 if other < own[a] else (0.5 if other == own[a] else 0.0)
    return found


@no_type_check
@_compiled
def _compare(
    frames: _Array,
    starts: _Array,
    stops: _Array,
    bags: _Array,
    tasks: _Array,
    offsets: _Array,
    first: int,
    last: int,
    errors: _Array,
    triples: _Array,
) -> int:
    """Process the tasks from first to last; return the number of distances computed."""
    longest = (stops - starts).max()
    cost, steps = np.zeros((2, longest)), np.zeros((2, longest), dtype=np.int64)
    angles, own = np.zeros(longest), np.zeros((bags[1:] - bags[:-1]).max())
    count = 0
    for task in range(first, last):
        x_bag, a_bag = tasks[task, 0], tasks[task, 1]
        for x in range(bags[x_bag], bags[x_bag + 1]):
            num = 0
            for a in range(bags[a_bag], bags[a_bag + 1]):
                if a != x:
                    own[num] = _distance(frames, starts[x], stops[x], starts[a], stops[a], cost, steps, angles)
                    num += 1
            count += num
            for b_bag in range(tasks[task, 2], tasks[task, 3]):
                place = offsets[task] + b_bag - tasks[task, 2]
                for b in range(bags[b_bag], bags[b_bag + 1]) if b_bag != a_bag else range(0):
                    other = _distance(frames, starts[x], stops[x], starts[b], stops[b], cost, steps, angles)
                    errors[place] += _num_errors(own, num, other)
                    triples[place] += num
                    count += 1
    return count
