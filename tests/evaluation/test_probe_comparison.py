import math

import numpy as np
import pytest

from sori.evaluation.bootstrap import difference, fraction
from sori.evaluation.linear_probe import ProbeResult
from sori.evaluation.probe_comparison import ProbedRepresentation, best, estimates, gains, percent, points
from sori.evaluation.probe_tasks import ProbeScores


def accuracies(random, *, gain=0.0, names=range(200)):
    """Return the accuracy on 200 utterances of 50 items of varying difficulty; `gain` of the errors are corrected."""
    easy = random.uniform(0.1, 0.9, 200)
    right = np.random.default_rng(5).binomial(50, easy).astype(float)
    return fraction(right + gain * (50 - right), np.full(200, 50.0), [None] * 200, names=names)


def test_the_difference_is_that_of_the_same_draws():
    one, other = (accuracies(np.random.default_rng(1), gain=gain) for gain in (0.1, 0.0))
    found = difference(one, other)
    assert math.isclose(found.value, one.value - other.value)
    # Both vary by the difficulty of the utterances drawn; the difference hardly does.
    assert found.low > 0.03
    assert found.high - found.low < 0.3 * (one.high - one.low)
    assert one.low < other.high, "apart, the two intervals overlap and would say nothing"


def test_the_interval_of_a_difference_is_that_of_drawing_the_differences():
    random = np.random.default_rng(2)
    one, other = (random.binomial(20, 0.5, 300).astype(float) for _ in range(2))
    total = np.full(300, 20.0)
    a, b, apart = (fraction(x, total, [None] * 300, names=range(300), seed=4) for x in (one, other, one - other))
    found = difference(a, b)
    assert np.allclose(found[:3], apart[:3], atol=1e-12)


def test_estimates_on_different_samples_are_not_compared():
    random = np.random.default_rng(3)
    assert difference(accuracies(random), accuracies(random, names=range(1, 201))) is None


def representation(name, kind, dev_share, estimate):
    probed = ProbeResult(estimate, 0.1, dev_share, 1e-2, 100, 100)
    return ProbedRepresentation(
        name, kind, 0 if kind != "spectrum" else None, 20.0, 8, ProbeScores(probed, None, None, None, None)
    )


def test_the_best_layer_is_chosen_on_the_dev_part():
    weak, strong = (accuracies(np.random.default_rng(1), gain=gain) for gain in (0.0, 0.2))
    representations = [
        representation("layer 0", "trained", 0.6, weak),
        representation("layer 1", "trained", 0.5, strong),
        representation("random initialisation, layer 0", "untrained", 0.2, weak),
        representation("random initialisation, layer 1", "untrained", 0.3, strong),
        representation("log-mel, 20 ms", "spectrum", 0.9, strong),
    ]
    assert best(representations, "trained").name == "layer 0"
    found = gains(representations)
    assert [(one.other, one.kind) for one in found] == [
        ("random initialisation, layer 1", "untrained"),
        ("log-mel, 20 ms", "spectrum"),
    ]
    for one in found:
        assert one.scores["phone"].high < 0
    assert gains(representations[2:]) == []
    assert best(representations[2:], "trained") is None


def test_without_a_dev_part_the_last_layer_counts():
    scores = ProbeScores(None, None, None, None, None)
    representations = [ProbedRepresentation(f"layer {n}", "trained", n, 20.0, 8, scores) for n in range(3)]
    assert best(representations, "trained").name == "layer 2"
    assert estimates(scores) == {}


@pytest.mark.parametrize(
    ("formatted", "wanted"), [(percent, r"20.0 (1.0 to 30.5)"), (points, r"+20.0 (+1.0 to +30.5)")]
)
def test_how_scores_are_formatted(formatted, wanted):
    one = accuracies(np.random.default_rng(1))._replace(value=0.2, low=0.01, high=0.305)
    assert formatted(one) == wanted
