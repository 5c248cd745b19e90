import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.evaluation.confidence_fit import auc, bins, ece, logistic, measure, nce, right_words
from sori.evaluation.error_rate import error_rates


def synthetic(num, weights, bias, *, seed=0):
    random = np.random.default_rng(seed)
    features = random.standard_normal((num, len(weights)))
    truth = 1 / (1 + np.exp(-(features @ np.array(weights) + bias)))
    return features, truth, random.random(num) < truth


def test_newton_agrees_with_gradient_descent():
    features, _, right = synthetic(300, [1.5, -2.0, 0.0], -1.0)
    found = np.append(*logistic(features, right, prior=0.7))
    inputs, weights = np.c_[features, np.ones(300)], np.zeros(4)
    for _ in range(20_000):
        stated = 1 / (1 + np.exp(-inputs @ weights))
        weights -= 0.01 * (inputs.T @ (stated - right) + 0.7 * np.append(weights[:3], 0))
    np.testing.assert_allclose(found, weights, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(0.1, 10))
def test_at_the_optimum_the_mean_probability_is_the_accuracy(seed, bias, prior):
    features, _, right = synthetic(200, [1.0, 1.0], bias, seed=seed)
    if right.all() or not right.any():
        return
    weights, found = logistic(features, right, prior=prior)
    stated = 1 / (1 + np.exp(-(features @ weights + found)))
    assert stated.mean() == pytest.approx(right.mean(), abs=1e-8)


def test_separable_words_give_finite_weights():
    features = np.linspace(-50, 50, 40)[:, None]
    weights, bias = logistic(features, features[:, 0] > 0)
    assert np.isfinite([*weights, bias]).all()
    with pytest.raises(ValueError, match="got 40 correct of 40"):
        logistic(features, np.ones(40, bool))


def test_known_probabilities_are_recovered():
    features, _, right = synthetic(5000, [1.2, -0.8], -1.5)
    others, truth, theirs = synthetic(20_000, [1.2, -0.8], -1.5, seed=1)
    weights, bias = logistic(features, right)
    stated = 1 / (1 + np.exp(-(others @ weights + bias)))
    assert np.abs(stated - truth).max() < 0.08
    assert ece(stated, theirs) < 0.015
    assert nce(stated, theirs) == pytest.approx(nce(truth, theirs), abs=0.003)


STATED = np.array([0.1, 0.2, 0.6, 0.9])
RIGHT = np.array([False, True, True, True])


def test_measures_by_hand():
    assert ece(STATED, RIGHT, num_bins=2) == pytest.approx((abs(0.15 - 0.5) + abs(0.75 - 1.0)) / 2)
    most = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    given_bits = -(math.log2(0.9) + math.log2(0.2) + math.log2(0.6) + math.log2(0.9)) / 4
    assert nce(STATED, RIGHT) == pytest.approx((most - given_bits) / most)
    assert auc(STATED, RIGHT) == 1.0
    assert auc(np.array([0.5, 0.5, 0.9, 0.1]), RIGHT) == pytest.approx((0.5 + 1 + 0) / 3)
    found = measure(STATED, RIGHT, num_draws=20)
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.16 + 0.01) / 4)


def test_a_constant_probability_explains_no_entropy():
    right = np.arange(40) % 4 == 0
    stated = np.full(40, 0.25)
    assert (ece(stated, right), auc(stated, right)) == (pytest.approx(0), 0.5)
    assert nce(stated, right) == pytest.approx(0, abs=1e-12)
    assert nce(np.where(right, 1.0, 0.0), right) == pytest.approx(1, abs=1e-5)
    assert nce(1 - stated, right) < 0
    assert math.isnan(nce(stated, np.ones(40, bool)))


def test_bins_are_of_equal_mass_and_never_split_one_probability():
    random = np.random.default_rng(0)
    stated = random.random(150)
    found = bins(stated, stated > 0.5)
    assert [one.num for one in found] == [10] * 15
    assert all(one.low - 1e-9 <= one.right <= one.high + 1e-9 for one in found)
    (low, high) = bins(np.array([0.3] * 14 + [0.4]), np.arange(15) < 7)
    assert (low.num, high.num, low.right) == (14, 1, 0.5)
    # Wilson (1927) for 7 of 14
    assert (low.low, low.high) == pytest.approx((0.2680, 0.7320), abs=1e-4)


def test_intervals_are_over_groups_and_repeat():
    _, truth, right = synthetic(400, [1.0], 0.0)
    groups = [str(n // 40) for n in range(400)]
    found = measure(truth, right, groups, num_draws=200)
    assert found == measure(truth, right, groups, num_draws=200)
    assert found.nce_interval[0] < found.nce < found.nce_interval[1]
    # one group is always drawn whole: nothing varies
    one = measure(truth, right, ["a"] * 400, num_draws=20)
    assert one.ece_interval == pytest.approx((one.ece, one.ece))


def test_right_words_are_those_the_error_rate_counts():
    assert right_words("the cat sat", ["a", "the", "cat", "sad"]) == [False, True, True, False]
    assert right_words("the cat sat", []) == []
    assert right_words("", ["a"]) == [False]
    # normalisation turned one word into two, and another into none
    assert right_words("a b c", ["a b", "", "c"]) == [True, False, True]
    assert right_words("a x c", ["a b", "c"]) == [False, True]


@settings(max_examples=60, deadline=None)
@given(*[st.lists(st.sampled_from("abc"), min_size=1, max_size=8)] * 2)
def test_right_words_and_the_word_error_rate_agree(reference, hypothesis):
    edits = error_rates([" ".join(reference)], [" ".join(hypothesis)], num_draws=1).wer.edits
    assert sum(right_words(" ".join(reference), hypothesis)) == len(hypothesis) - edits.substitutions - edits.insertions
