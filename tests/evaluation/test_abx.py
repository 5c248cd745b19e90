"""ABX beside brute force, and warped distances beside a plain recursion over all paths."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

from sori.evaluation.abx import AbxConfig, Item, find_items, mean_by, plan, score, spans_of
from sori.evaluation.dtw import Items, compare, distance, unit_length


def angle(x, y):
    norms = np.linalg.norm(x) * np.linalg.norm(y)
    return math.acos(max(-1.0, min(1.0, float(x @ y) / norms))) / math.pi if norms else 0.5


def paths(i, j):
    if i == j == 0:
        yield [(0, 0)]
        return
    for di, dj in ((1, 1), (1, 0), (0, 1)):
        if i >= di and j >= dj:
            yield from ([*path, (i, j)] for path in paths(i - di, j - dj))


def slow_distance(x, y):
    every = [(sum(angle(x[i], y[j]) for i, j in path), len(path)) for path in paths(len(x) - 1, len(y) - 1)]
    least = min(cost for cost, _ in every)
    cost, length = min((round(cost - least, 12), length) for cost, length in every)
    return (cost + least) / length


def table_distance(x, y):
    """The same by a table, for sequences of any length."""
    best = {}
    for i, j in itertools.product(range(len(x)), range(len(y))):
        before = [best[k] for k in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if k in best]
        cost, steps = min(before, default=(0.0, 0))
        best[i, j] = (cost + angle(x[i], y[j]), steps + 1)
    cost, steps = best[len(x) - 1, len(y) - 1]
    return cost / steps


@pytest.mark.parametrize("seed", range(20))
def test_the_distance_is_that_of_the_best_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((rng.integers(1, 6), 7)), rng.standard_normal((rng.integers(1, 6), 7))
    if seed % 4 == 0:  # equal frames: many paths cost the same, and their lengths differ
        x, y = np.eye(7)[rng.integers(0, 2, len(x) + 1)], np.eye(7)[rng.integers(0, 2, len(y))]
    if seed % 5 == 0:
        x[0] = 0
    assert distance(x, y) == pytest.approx(slow_distance(x, y), abs=1e-12)
    assert distance(x, y) == pytest.approx(table_distance(x, y), abs=1e-12)


def test_long_sequences_and_single_precision():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((23, 41)), rng.standard_normal((17, 41))
    assert distance(x, y) == pytest.approx(table_distance(x, y), abs=1e-12)
    assert distance(x.astype(np.float32), y.astype(np.float32)) == pytest.approx(table_distance(x, y), abs=1e-6)


def test_what_every_distance_obeys():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((6, 5)), rng.standard_normal((9, 5))
    assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-14)
    assert distance(x, x) == pytest.approx(0, abs=1e-7)
    assert distance(x, np.repeat(x, 3, axis=0)) == pytest.approx(0, abs=1e-7)
    assert distance(3 * x, y * 0.1) == pytest.approx(distance(x, y), abs=1e-12)
    assert distance(np.ones((2, 3)), -np.ones((4, 3))) == pytest.approx(1, abs=1e-7)
    assert distance(np.zeros((2, 3)), np.ones((2, 3))) == 0.5


def make(rng, *, num_speakers=3, num_phones=3, num_contexts=2, most=3, dim=4):
    """Items in random numbers for each cell, each with random frames of its own."""
    items = []
    for context, speaker, phone in itertools.product(range(num_contexts), range(num_speakers), range(num_phones)):
        items += [Item(0, 0.0, 0.0, phone, (context, context), speaker)] * int(rng.integers(0, most + 1))
    planned = plan(items, AbxConfig(max_items=99, max_x_speakers=99))
    frames = [rng.standard_normal((rng.integers(1, 5), dim)) for _ in planned.chosen]
    ends = np.cumsum([len(rows) for rows in frames])
    return planned, frames, np.stack([ends - [len(rows) for rows in frames], ends], axis=1)


def brute_force(chosen, frames, *, across):
    """Error of each cell by the definition, then the averages by dictionaries."""
    cells = defaultdict(list)
    for (x, one), (a, two), (b, three) in itertools.product(enumerate(chosen), repeat=3):
        fits = one.context == two.context == three.context and one.phone == two.phone != three.phone and x != a
        if fits and two.speaker == three.speaker and (one.speaker != two.speaker) == across:
            near, far = table_distance(frames[x], frames[a]), table_distance(frames[x], frames[b])
            cells[two.phone, three.phone, two.speaker, one.speaker, one.context].append(
                (far < near) + 0.5 * (far == near)
            )
    means = {key: np.mean(values) for key, values in cells.items()}
    for width in (4, 3, 2, 0):
        grouped = defaultdict(list)
        for key, value in means.items():
            grouped[key[:width]].append(value)
        means = {key: np.mean(values) for key, values in grouped.items()}
    return means[()], len(cells), sum(map(len, cells.values()))


@pytest.mark.parametrize("seed", range(4))
def test_the_error_rate_is_that_of_the_definition(seed):
    planned, frames, spans = make(np.random.default_rng(seed))
    found = score(planned, np.concatenate(frames), spans, num_threads=2)
    for across, one in ((False, found.within), (True, found.across)):
        value, num_cells, num_triples = brute_force(planned.chosen, frames, across=across)
        assert one.error.value == pytest.approx(value, abs=1e-12)
        assert (one.num_cells, one.num_triples) == (num_cells, num_triples)
        assert one.error.low <= one.error.value <= one.error.high


def test_the_number_of_threads_changes_nothing():
    planned, frames, spans = make(np.random.default_rng(7))
    one, two = (score(planned, np.concatenate(frames), spans, num_threads=n) for n in (1, 3))
    assert one == two


def test_known_representations():
    planned, frames, spans = make(np.random.default_rng(3), most=4)
    phones = np.concatenate([np.full(len(rows), item.phone) for rows, item in zip(frames, planned.chosen, strict=True)])
    perfect = score(planned, np.eye(3)[phones], spans)
    assert (perfect.within.error.value, perfect.across.error.value) == (0, 0)
    constant = score(planned, np.ones((len(phones), 4), dtype=np.float32), spans)
    assert (constant.within.error.value, constant.across.error.value) == (0.5, 0.5)
    assert constant.within.error.low == constant.within.error.high == 0.5
    speakers = np.concatenate(
        [np.full(len(rows), item.speaker) for rows, item in zip(frames, planned.chosen, strict=True)]
    )
    assert score(planned, np.eye(3)[speakers], spans).across.error.value == 0.5  # all of A and B are as far from X


def test_a_rotation_changes_nothing():
    planned, frames, spans = make(np.random.default_rng(5))
    turn = np.linalg.qr(np.random.default_rng(6).standard_normal((4, 4)))[0]
    every = np.concatenate(frames)
    plain, turned = score(planned, every, spans), score(planned, 2 * every @ turn, spans)
    assert turned.across.error.value == pytest.approx(plain.across.error.value, abs=1e-12)


def test_rare_cells_weigh_as_much_as_frequent_ones():
    """Two contexts: in one, 10 items are always right; in the other, the only X is wrong."""
    right = [Item(0, 0, 0, phone, (0, 0), 0) for phone in (0, 1) for _ in range(10)]
    wrong = [Item(0, 0, 0, 0, (1, 1), 0)] * 2 + [Item(0, 0, 0, 1, (1, 1), 0)]
    planned = plan(right + wrong, AbxConfig())
    east, north = [1.0, 0.0], [0.0, 1.0]
    frames = np.array([east] * 10 + [north] * 10 + [east, [0.6, 0.8]] + [[0.9, math.sqrt(0.19)]])
    spans = np.stack([np.arange(23), np.arange(1, 24)], axis=1)
    # Pair (0, 1): context 0 has no errors, context 1 two of two; pair (1, 0): only context 0, no errors.
    assert score(planned, frames, spans).within.error.value == pytest.approx((0.5 + 0.0) / 2)


def test_caps():
    items = [Item(0, 0, 0, phone, (0, 0), speaker) for phone in (0, 1) for speaker in range(8) for _ in range(12)]
    planned = plan(items, AbxConfig(max_items=3, max_x_speakers=2), seed=1)
    assert np.diff(planned.bags).tolist() == [3] * 16
    assert len(planned.within) == 16
    assert len(planned.across) == 16 * 2
    assert (planned.across[:, 0] != planned.across[:, 1]).all()
    again, other = (plan(items, AbxConfig(max_items=3, max_x_speakers=2), seed=seed) for seed in (1, 2))
    assert (planned.across == again.across).all()
    assert (planned.across != other.across).any()


def test_items_have_neighbours_and_the_task_says_what_they_are():
    row = [(0.0, 0.1, 0), (0.1, 0.2, 1), (0.2, 0.4, 2), (0.45, 0.5, 0), (0.5, 0.6, -1), (0.6, 0.7, 1), (0.7, 0.8, 2)]
    assert find_items([row], [5]) == [Item(0, 0.0, 0.4, 1, (0, 2), 5)]
    assert find_items([row], [5], task="phone") == [Item(0, 0.1, 0.2, 1, (0, 2), 5)]
    assert find_items([row], [5], task="any") == [Item(0, 0.1, 0.2, 1, (-1, -1), 5)]


def test_frames_of_items():
    middles = {0: np.array([0.01, 0.03, 0.05]), 1: np.array([0.01, 0.03])}
    items = [Item(0, 0.0, 0.04, 0, (0, 0), 0), Item(1, 0.02, 0.03, 0, (0, 0), 0), Item(1, 0.03, 0.5, 0, (0, 0), 0)]
    # The second lies between two frame middles: the nearer one to 0.025 is that at 0.03.
    assert spans_of(items, middles, np.array([0, 3])).tolist() == [[0, 2], [4, 5], [4, 5]]


def test_nothing_to_compare():
    alone = plan([Item(0, 0, 0, 0, (0, 0), 0)] * 2, AbxConfig())
    assert score(alone, np.ones((2, 2)), np.array([[0, 1], [1, 2]])) == (None, None)
    assert score(plan([], AbxConfig()), np.ones((2, 2)), np.zeros((0, 2), dtype=np.int64)) == (None, None)
    with pytest.raises(ValueError, match="at least one frame"):
        score(alone, np.ones((2, 2)), np.array([[0, 1], [1, 1]]))


def test_distances_are_counted():
    """X and A of a bag of 3, B of a bag of 2: 3 (2 + 2) distances and 3 * 2 * 2 triples."""
    frames = unit_length(np.random.default_rng(0).standard_normal((5, 3)))
    items = Items(frames, np.arange(5), np.arange(1, 6), np.array([0, 3, 5]))
    errors, triples, num_distances = compare(items, np.array([[0, 0, 0, 2]]))
    assert (triples.tolist(), num_distances, errors[0]) == ([0, 12], 12, 0)


def test_means_by_key():
    keys = np.array([[1, 0], [0, 2], [1, 0]])
    rows, means = mean_by(keys, np.array([1.0, 5.0, 2.0]))
    assert (rows.tolist(), means.tolist()) == ([[0, 2], [1, 0]], [5.0, 1.5])
