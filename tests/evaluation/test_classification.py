"""Accuracy and F1 against scikit-learn if installed, spans by hand, intervals."""

import random

import pytest

from sori.evaluation.classification import compare, spans


def test_measures_equal_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = random.Random(0)
    wanted = [draw.choice("abc") for _ in range(300)]
    predicted = [one if draw.random() < 0.6 else draw.choice("abc") for one in wanted]
    found = compare([[one] for one in wanted], [[one] for one in predicted])
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(wanted, predicted))
    assert found.f1.value == pytest.approx(metrics.f1_score(wanted, predicted, average="macro"))
    each = metrics.f1_score(wanted, predicted, average=None, labels=list("abc"))
    assert [c.f1 for c in found.classes] == pytest.approx(list(each))
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high
    # standard error of a proportion of 300
    assert found.accuracy.high - found.accuracy.low == pytest.approx(2 * 1.96 * 0.0260, rel=0.15)


def test_words_are_counted_singly_and_unknown_predictions_are_errors():
    found = compare([["x", "y"], ["y"]], [["x", ""], ["y"]])
    assert found.accuracy.value == pytest.approx(2 / 3)
    assert found.f1.value == pytest.approx((1 + 2 / 3) / 2)
    assert found.spans is None
    assert "on 2 texts" in found.table()


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["O", "B-X", "I-X", "O"], {(1, 3, "X")}),
        (["B-X", "B-X"], {(0, 1, "X"), (1, 2, "X")}),
        (["B-X", "I-Y"], {(0, 1, "X"), (1, 2, "Y")}),
        (["I-X", "I-X", "B-Y"], {(0, 2, "X"), (2, 3, "Y")}),
        (["O", ""], set()),
    ],
)
def test_spans(labels, names):
    assert spans(labels) == names


def test_span_f1_counts_whole_spans():
    found = compare([["B-X", "I-X", "O", "B-Y"]], [["B-X", "O", "O", "B-Y"]])
    assert found.spans.value == pytest.approx(0.5)


def test_no_texts_are_refused():
    with pytest.raises(ValueError, match="got none"):
        compare([], [])
