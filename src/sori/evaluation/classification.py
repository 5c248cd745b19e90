"""Evaluate classifiers of texts or words: accuracy and F1 with intervals over texts."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sori.core import distributed
from sori.data.sources.labelled_texts import LabelledText, numbers_of, padded
from sori.evaluation.bootstrap import Estimate, draws, interval
from sori.models import factory
from sori.models.classifier import Classifier

_BATCH_SIZE = 64
_OTHER = ""
"""Prediction for a word that was truncated or has no letter in the vocabulary."""


class ClassCounts(NamedTuple):
    """Counts of one class."""

    name: str
    correct: int
    """Number of correct predictions."""
    actual: int
    """Number of labels."""
    predicted: int
    """Number of predictions."""

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall."""
        return 2 * self.correct / max(1, self.actual + self.predicted)


class Evaluation(NamedTuple):
    """Scores of predictions against labels."""

    accuracy: Estimate
    f1: Estimate
    """Mean F1 over the classes that occur in the labels."""
    classes: list[ClassCounts]
    spans: Estimate | None
    """Span F1, if the labels mark spans with B-KIND, I-KIND and O (CoNLL); otherwise None."""
    num_texts: int

    def table(self) -> str:
        """Return the scores as text."""
        lines = [f"accuracy {_percent(self.accuracy)}, mean F1 {_percent(self.f1)}, on {self.num_texts:,} texts"]
        if self.spans is not None:
            lines.append(f"span F1 {_percent(self.spans)}")
        lines += [
            f"  {c.name}: F1 {c.f1:.1%}, {c.correct:,} of {c.actual:,} found, predicted {c.predicted:,} times"
            for c in self.classes
        ]
        return "\n".join(lines)


def evaluate_classifier(classifier: Classifier, rows: Sequence[LabelledText], *, max_tokens: int) -> Evaluation:
    """Classify labelled texts and score the predictions.

    Args:
        classifier: in evaluation mode.
        rows: texts with labels; a label that is not a class of the classifier counts as an error.
        max_tokens: longer texts are truncated.

    Raises:
        ValueError: there are no texts.
    """
    predictions = [[name for name, _ in found] for found in predict(classifier, rows, max_tokens=max_tokens)]
    return compare([row.labels for row in rows], predictions)


def predict(
    classifier: Classifier, rows: Sequence[LabelledText], *, max_tokens: int
) -> Iterator[list[tuple[str, float]]]:
    """Yield the most likely class of each text, or of each of its words, with its probability.

    Args:
        classifier: in evaluation mode.
        rows: texts; their labels are ignored.
        max_tokens: longer texts are truncated; the words cut off get the class "".
    """
    bert, classes = factory.bert_of(classifier), classifier.config.classes
    assert bert.wordpiece is not None  # noqa: S101 - every loaded model has one
    words = classifier.config.read == "words"
    # Every word gets class 0, so that `numbers_of` marks the position of its first piece.
    marked = [row._replace(labels=(classes[0],) * len(row.words)) for row in rows]
    for first in range(0, len(rows), _BATCH_SIZE):
        some = marked[first : first + _BATCH_SIZE]
        ids = numbers_of(some, bert.wordpiece, classes=classes, max_tokens=max_tokens, words=words)
        batch = padded(ids, pad=bert.wordpiece.pad).to(distributed.device())
        with torch.no_grad():
            best = classifier.logits(batch).float().softmax(-1).max(-1)
        for row, text, probabilities, indices in zip(some, ids, best.values, best.indices, strict=True):
            predicted = [(classes[int(i)], float(p)) for i, p in zip(indices, probabilities, strict=True)]
            if not words:
                yield predicted[:1]
                continue
            pieces = bert.wordpiece.encode(row.words)
            here, found = 1, list[tuple[str, float]]()
            for word in pieces:
                seen = bool(word) and here < len(text.ids) - 1
                found.append(predicted[here] if seen else (_OTHER, 0.0))
                here += len(word)
            yield found


def compare(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Evaluation:
    """Score predictions against labels, with intervals over texts.

    Args:
        labels: label of each text, or of each of its words.
        predictions: predicted class of each text, or of each of its words.

    Raises:
        ValueError: there are no texts.
    """
    if not labels:
        raise ValueError("expected labelled texts to evaluate on, got none; give a table with held-out rows")
    names = sorted({name for text in labels for name in text})
    actual = np.array([[list(text).count(n) for n in names] for text in labels], dtype=np.float64)
    predicted = np.array([[list(text).count(n) for n in names] for text in predictions], dtype=np.float64)
    pairs = [list(zip(*both, strict=True)) for both in zip(labels, predictions, strict=True)]
    correct = np.array([[text.count((n, n)) for n in names] for text in pairs], dtype=np.float64)
    weights = draws(len(labels), num_draws=1000, seed=0, name="texts")
    counts = [weights @ part for part in (correct, actual, predicted)]
    accuracy = Estimate(float(correct.sum() / actual.sum()), *interval(counts[0].sum(1) / counts[1].sum(1)), "texts")
    sums = [part.sum(0) for part in (correct, actual, predicted)]
    f1 = Estimate(float(_f1(*sums).mean()), *interval(_f1(*counts).mean(1)), "texts")
    rows = [ClassCounts(n, *(int(part[k]) for part in sums)) for k, n in enumerate(names)]
    return Evaluation(accuracy, f1, rows, _span_f1(labels, predictions, weights), len(labels))


def _f1(
    correct: NDArray[np.float64], actual: NDArray[np.float64], predicted: NDArray[np.float64]
) -> NDArray[np.float64]:
    return 2 * correct / np.maximum(1, actual + predicted)


def _span_f1(
    labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], weights: NDArray[np.float64]
) -> Estimate | None:
    if not any(label.startswith("B-") for text in labels for label in text):
        return None
    pairs = [(spans(text), spans(predicted)) for text, predicted in zip(labels, predictions, strict=True)]
    counts = np.array([[len(a & b), len(a), len(b)] for a, b in pairs], dtype=np.float64)
    drawn = weights @ counts
    return Estimate(float(_f1(*counts.sum(0, keepdims=True).T)[0]), *interval(_f1(*drawn.T)), "texts")


def spans(labels: Sequence[str]) -> set[tuple[int, int, str]]:
    """Return start, end (exclusive) and kind of each span; an I- without a preceding B- starts a span."""
    found, begin, kind = set[tuple[int, int, str]](), 0, ""
    for place, label in enumerate([*labels, "O"]):
        mark, _, now = label.partition("-")
        if kind and (mark != "I" or now != kind):
            found.add((begin, place, kind))
            kind = ""
        if mark in ("B", "I") and not kind:
            begin, kind = place, now
    return found


def _percent(one: Estimate) -> str:
    return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"
