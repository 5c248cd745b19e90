"""How well classes of texts, or of words, are told: accuracy and F1 with intervals over texts."""

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

_TOGETHER = 64
_OTHER = ""
"""What a word is called that was cut off, or has no letter that the model can read."""


class OfClass(NamedTuple):
    """Counts for one class."""

    name: str
    found: int
    """Told rightly."""
    there: int
    told: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.found / max(1, self.there + self.told)


class Judged(NamedTuple):
    """Answers against labels."""

    accuracy: Estimate
    f1: Estimate
    """Mean over the classes that there are."""
    classes: list[OfClass]
    spans: Estimate | None
    """F1 of whole names, where the labels mark them as B-KIND, I-KIND and O (CoNLL)."""
    num_texts: int

    def table(self) -> str:
        """Lines for a person."""
        lines = [f"accuracy {_percent(self.accuracy)}, mean F1 {_percent(self.f1)}, on {self.num_texts:,} texts"]
        if self.spans is not None:
            lines.append(f"F1 of whole names {_percent(self.spans)}")
        lines += [
            f"  {c.name}: F1 {c.f1:.1%}, {c.found:,} of {c.there:,} found, told {c.told:,} times" for c in self.classes
        ]
        return "\n".join(lines)


def judge(classifier: Classifier, rows: Sequence[LabelledText], *, max_tokens: int) -> Judged:
    """Let a classifier answer, and count.

    Args:
        classifier: in evaluation mode.
        rows: with their labels; a label that the classifier does not know counts as an error.
        max_tokens: longer texts are cut.

    Raises:
        ValueError: there are no texts.
    """
    answers = [[name for name, _ in found] for found in answer(classifier, rows, max_tokens=max_tokens)]
    return compare([row.labels for row in rows], answers)


def answer(
    classifier: Classifier, rows: Sequence[LabelledText], *, max_tokens: int
) -> Iterator[list[tuple[str, float]]]:
    """The likeliest class of each text, or of each of its words, with its probability.

    Args:
        classifier: in evaluation mode.
        rows: their labels are not looked at.
        max_tokens: longer texts are cut; words behind get the class "".
    """
    bert, classes = factory.bert_of(classifier), classifier.config.classes
    assert bert.wordpiece is not None  # noqa: S101 - as every model that was read
    words = classifier.config.read == "words"
    # Every word gets class 0, so that the place of its first piece is told.
    marked = [row._replace(labels=(classes[0],) * len(row.words)) for row in rows]
    for first in range(0, len(rows), _TOGETHER):
        some = marked[first : first + _TOGETHER]
        ids = numbers_of(some, bert.wordpiece, classes=classes, max_tokens=max_tokens, words=words)
        batch = padded(ids, pad=bert.wordpiece.pad).to(distributed.device())
        with torch.no_grad():
            best = classifier.logits(batch).float().softmax(-1).max(-1)
        for row, text, shares, places in zip(some, ids, best.values, best.indices, strict=True):
            told = [(classes[int(p)], float(s)) for p, s in zip(places, shares, strict=True)]
            if not words:
                yield told[:1]
                continue
            pieces = bert.wordpiece.encode(row.words)
            here, found = 1, list[tuple[str, float]]()
            for word in pieces:
                seen = bool(word) and here < len(text.ids) - 1
                found.append(told[here] if seen else (_OTHER, 0.0))
                here += len(word)
            yield found


def compare(labels: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> Judged:
    """Answers against labels, text by text.

    Args:
        labels: of each text, or of each of its words.
        answers: likewise.

    Raises:
        ValueError: there are no texts.
    """
    if not labels:
        raise ValueError("expected texts with labels to measure on, got none; give a table with rows that are held out")
    names = sorted({name for text in labels for name in text})
    there = np.array([[list(text).count(n) for n in names] for text in labels], dtype=np.float64)
    told = np.array([[list(text).count(n) for n in names] for text in answers], dtype=np.float64)
    pairs = [list(zip(*both, strict=True)) for both in zip(labels, answers, strict=True)]
    found = np.array([[text.count((n, n)) for n in names] for text in pairs], dtype=np.float64)
    weights = draws(len(labels), num_draws=1000, seed=0, name="texts")
    counts = [weights @ part for part in (found, there, told)]
    right = found.sum() / there.sum()
    accuracy = Estimate(float(right), *interval(counts[0].sum(1) / counts[1].sum(1)), "texts")
    sums = [part.sum(0) for part in (found, there, told)]
    f1 = Estimate(float(_f1(*sums).mean()), *interval(_f1(*counts).mean(1)), "texts")
    rows = [OfClass(n, *(int(part[k]) for part in sums)) for k, n in enumerate(names)]
    return Judged(accuracy, f1, rows, _of_spans(labels, answers, weights), len(labels))


def _f1(found: NDArray[np.float64], there: NDArray[np.float64], told: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * found / np.maximum(1, there + told)


def _of_spans(
    labels: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], weights: NDArray[np.float64]
) -> Estimate | None:
    if not any(label.startswith("B-") for text in labels for label in text):
        return None
    pairs = [(spans(text), spans(told)) for text, told in zip(labels, answers, strict=True)]
    counts = np.array([[len(a & b), len(a), len(b)] for a, b in pairs], dtype=np.float64)
    drawn = weights @ counts
    return Estimate(float(_f1(*counts.sum(0, keepdims=True).T)[0]), *interval(_f1(*drawn.T)), "texts")


def spans(labels: Sequence[str]) -> set[tuple[int, int, str]]:
    """First word, word after the last, and kind of each name; I- without a beginning begins one."""
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
