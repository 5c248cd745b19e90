"""Greedy coverage of units, pairs and speakers."""

import itertools
import time

import numpy as np
import pytest

from sori.inference.coverage import Coverage, choose_greedily, count_features


def sequences(rng, count, *, num_units=12, length=30):
    return [[without(rng.integers(0, num_units, length))] for _ in range(count)]


def without(units):
    return units[np.diff(units, prepend=-1) != 0].astype(np.int32)


def build(units, *, seconds=None, speakers=None, budget=20.0):
    seconds = np.full(len(units), 3.0) if seconds is None else np.asarray(seconds, float)
    speakers = [None] * len(units) if speakers is None else speakers
    return Coverage(count_features(units), seconds, speakers, budget_seconds=budget), seconds


def chosen(units, *, budget=20.0, factors=None, candidates=None, **more):
    coverage, seconds = build(units, budget=budget, **more)
    rows = range(len(units)) if candidates is None else candidates
    return [gain.row for gain in choose_greedily(coverage, list(rows), seconds, budget_seconds=budget, factors=factors)]


def test_units_and_pairs_are_counted_for_each_codebook_group():
    units = [[np.array([1, 2, 1], np.int32), np.array([5], np.int32)], [np.array([2, 1], np.int32)]]
    found = count_features(units)
    assert found.num_units == 3  # 1 and 2 of the first codebook, 5 of the second
    assert found.num_columns == 5  # and the pairs 1 2 and 2 1
    rows = [dict(zip(*(part.tolist() for part in found.row(n)), strict=True)) for n in (0, 1)]
    assert rows == [{0: 2.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}, {0: 1.0, 1: 1.0, 4: 1.0}]


def test_the_lazy_choice_is_the_choice_by_trying_all():
    rng = np.random.default_rng(0)
    units = sequences(rng, 40)
    seconds, speakers = rng.uniform(2, 5, 40), [f"s{n % 3}" for n in range(40)]
    lazy = chosen(units, seconds=seconds, speakers=speakers, budget=30.0)
    coverage, _ = build(units, seconds=seconds, speakers=speakers, budget=30.0)
    left, open_rows, slow = 30.0, set(range(40)), []
    while fitting := [row for row in sorted(open_rows) if seconds[row] <= left + 1e-9]:
        best = max(fitting, key=lambda row: (coverage.gain(row), -row))
        open_rows.discard(best)
        if not coverage.is_near_duplicate(best):
            coverage.add(best)
            left -= seconds[best]
            slow.append(best)
    assert lazy == slow
    assert len(lazy) > 5


def test_the_gain_is_the_increase_of_the_value_and_never_grows():
    rng = np.random.default_rng(1)
    coverage, _ = build(sequences(rng, 30))
    before = [coverage.gain(row) for row in range(30)]
    coverage.add(7)
    after = [coverage.gain(row) for row in range(30)]
    assert all(now <= then + 1e-12 for now, then in zip(after, before, strict=True))
    assert after[7] < 0.6 * before[7]


def test_rare_units_are_covered_more_often_than_by_chance():
    rng = np.random.default_rng(2)
    common = [without(rng.integers(0, 6, 30)) for _ in range(190)]
    rare = [without(np.concatenate([rng.integers(0, 6, 20), rng.integers(6, 12, 10)])) for _ in range(10)]
    found = chosen([[one] for one in (*common, *rare)], budget=180.0)
    assert len(found) == 60
    assert sum(row >= 190 for row in found) >= 7  # three by chance


def test_speakers_are_in_balance():
    rng = np.random.default_rng(3)
    speakers = ["many"] * 90 + ["few"] * 10
    found = chosen(sequences(rng, 100), speakers=speakers, budget=30.0)
    assert 3 <= sum(speakers[row] == "few" for row in found) <= 7  # one by chance


def test_a_duplicate_is_chosen_once():
    rng = np.random.default_rng(4)
    units = sequences(rng, 6)
    units[5] = [units[0][0].copy()]
    found = chosen(units, budget=18.0)
    assert len(found) == 5
    assert len({0, 5} & set(found)) == 1


def test_what_was_transcribed_before_is_covered():
    one, other = [np.tile([1, 2, 3], 10).astype(np.int32)], [np.tile([7, 8, 9], 10).astype(np.int32)]
    units = [one, [np.tile([1, 3, 2], 10).astype(np.int32)], other]
    coverage, seconds = build(units, budget=9.0)
    coverage.add(0)
    found = list(choose_greedily(coverage, [1, 2], seconds, budget_seconds=3.0))
    assert [gain.row for gain in found] == [2]
    assert found[0].new_units == 3


def test_factors_change_the_order_and_the_budget_is_kept():
    rng = np.random.default_rng(5)
    units = sequences(rng, 20)
    factors = dict.fromkeys(range(20), 1.0) | {13: 50.0}
    assert chosen(units, factors=factors)[0] == 13
    for budget in (2.9, 3.0, 10.0):
        assert len(chosen(units, budget=budget)) == int(budget // 3)


def test_utterances_without_units_do_not_stop_the_choice():
    rng = np.random.default_rng(6)
    units = [*sequences(rng, 4), [], [np.zeros(0, np.int32)]]
    assert sorted(chosen(units, budget=30.0)) == list(range(6))
    assert chosen([[], []], budget=30.0) == [0, 1]


@pytest.mark.slow
def test_thirty_thousand_utterances():
    rng = np.random.default_rng(7)
    zipf = 1 / np.arange(1, 101)
    flat = rng.choice(100, (30_000, 90), p=zipf / zipf.sum())
    begun = time.process_time()
    found = chosen(
        [[without(row)] for row in flat],
        seconds=rng.uniform(2, 10, 30_000),
        speakers=[f"s{n % 60}" for n in range(30_000)],
        budget=600.0,
    )
    assert time.process_time() - begun < 60  # 14 s on one core of a server
    assert 60 < len(found) < 300
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[:3])
def test_equal_utterances_are_chosen_in_the_given_order(order):
    units = [[np.array([4, 5, 6], np.int32) + 10 * row] for row in range(3)]
    assert chosen(units, budget=9.0, candidates=order) == list(order)
