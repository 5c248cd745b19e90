import math

import numpy as np
import pytest

from sori.evaluation.bootstrap import difference, share
from sori.evaluation.linear_probe import Probed
from sori.evaluation.probe_comparison import Line, best, estimates, gains, percent, points
from sori.evaluation.probe_tasks import Answers


def shares(random, *, gain=0.0, names=range(200)):
    """Right answers of 50 in 200 utterances of very different difficulty; `gain` of the wrong ones are put right."""
    easy = random.uniform(0.1, 0.9, 200)
    right = np.random.default_rng(5).binomial(50, easy).astype(float)
    return share(right + gain * (50 - right), np.full(200, 50.0), [None] * 200, names=names)


def test_the_difference_is_that_of_the_same_draws():
    one, other = (shares(np.random.default_rng(1), gain=gain) for gain in (0.1, 0.0))
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
    a, b, apart = (share(x, total, [None] * 300, names=range(300), seed=4) for x in (one, other, one - other))
    found = difference(a, b)
    assert np.allclose(found[:3], apart[:3], atol=1e-12)


def test_what_was_drawn_from_other_things_is_not_compared():
    random = np.random.default_rng(3)
    assert difference(shares(random), shares(random, names=range(1, 201))) is None


def line(name, kind, dev_share, estimate):
    probed = Probed(estimate, 0.1, dev_share, 1e-2, 100, 100)
    return Line(name, kind, 0 if kind != "spectrum" else None, 20.0, 8, Answers(probed, None, None, None, None))


def test_the_best_layer_is_chosen_on_the_dev_part():
    weak, strong = (shares(np.random.default_rng(1), gain=gain) for gain in (0.0, 0.2))
    lines = [
        line("layer 0", "trained", 0.6, weak),
        line("layer 1", "trained", 0.5, strong),
        line("untrained layer 0", "untrained", 0.2, weak),
        line("untrained layer 1", "untrained", 0.3, strong),
        line("log-mel, 20 ms", "spectrum", 0.9, strong),
    ]
    assert best(lines, "trained").name == "layer 0"
    found = gains(lines)
    assert [(one.other, one.kind) for one in found] == [
        ("untrained layer 1", "untrained"),
        ("log-mel, 20 ms", "spectrum"),
    ]
    for one in found:
        assert one.scores["phone"].high < 0
    assert gains(lines[2:]) == []
    assert best(lines[2:], "trained") is None


def test_without_a_dev_part_the_last_layer_counts():
    asked = Answers(None, None, None, None, None)
    lines = [Line(f"layer {n}", "trained", n, 20.0, 8, asked) for n in range(3)]
    assert best(lines, "trained").name == "layer 2"
    assert estimates(asked) == {}


@pytest.mark.parametrize(("write", "wanted"), [(percent, r"20.0 (1.0 to 30.5)"), (points, r"+20.0 (+1.0 to +30.5)")])
def test_how_scores_are_written(write, wanted):
    one = shares(np.random.default_rng(1))._replace(value=0.2, low=0.01, high=0.305)
    assert write(one) == wanted
