"""Calibration of word confidences: measures, and the logistic regression that fits them.

Measures for words with a stated probability p of being correct: expected calibration error over bins of equal mass
(Naeini et al. 2015; Nguyen and O'Connor 2015 for equal mass), Brier score (Brier 1950), normalised cross entropy (NIST,
SCTK; Siu and Gish 1999), and the area under the ROC curve, which depends on the ranking only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.seeds import derive
from sori.text.edit_distance import align

NUM_BINS = 15
MEASURES = ("ece", "brier", "nce", "auc")
_CERTAIN = 1e-6  # probabilities are clipped this far from 0 and 1, as one word could have infinite cost
_PRIOR = 1.0
_Z = 1.959964  # 97.5 % point of the normal distribution

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Bin(NamedTuple):
    """Bin of words with similar probabilities."""

    stated: float
    """Mean probability."""
    right: float
    """Fraction of correct words."""
    low: float
    """Ends of the 95 % interval of this fraction (Wilson 1927)."""
    high: float
    num: int


@dataclass(frozen=True)
class CalibrationMetrics:
    """Calibration of probabilities; bootstrap intervals over groups such as speakers."""

    ece: float
    """Expected calibration error: mean distance of stated probability and accuracy, over bins of equal mass."""
    brier: float
    """Mean squared difference between probability and outcome (0 or 1)."""
    nce: float
    """Fraction of the entropy of correctness that the probabilities explain: 1 all, 0 none, negative if they are worse
    than the base rate. NaN if all words are correct, or all wrong."""
    auc: float
    """Probability that a correct word has a higher confidence than a wrong one; NaN in the same cases."""
    ece_interval: tuple[float, float]
    """Resampling adds variance, so this interval is biased upwards and may exclude a small `ece`."""
    nce_interval: tuple[float, float]


def right_words(reference: str, words: Sequence[str]) -> list[bool]:
    """Return which words are correct: those that the alignment of the word error rate counts as equal.

    Args:
        reference: normalised reference.
        words: normalised hypothesis words in order. Normalisation may turn one into several words, or none; it is
            correct if it has at least one word and all of them are correct.
    """
    parts = [word.split() for word in words]
    hypothesis = [part for word in parts for part in word]
    steps = align([reference.split()], [hypothesis])[0]
    equal = [step.kind == "right" for step in steps if step.hypothesis]
    flags, place = [], 0
    for word in parts:
        flags.append(bool(word) and all(equal[place : place + len(word)]))
        place += len(word)
    return flags


def logistic(features: Array, right: Flags, *, prior: float = _PRIOR) -> tuple[Array, float]:
    """Fit a logistic regression by Newton's method in float64; return weights and bias.

    The weights have a Gaussian prior, the bias has none: at the optimum, the mean probability equals the accuracy.

    Args:
        features: `word feature`, standardised.
        right: whether each word is correct.
        prior: precision of the prior.

    Raises:
        ValueError: all words are correct, or all wrong.
    """
    if right.all() or not right.any():
        raise ValueError(
            f"expected both correct and wrong words, got {int(right.sum())} correct of {len(right)}; "
            "a confidence cannot be fitted: give more transcribed speech"
        )
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    precision = np.append(np.full(features.shape[1], prior), 0.0)

    def cost(weights: Array) -> float:
        odds = inputs @ weights
        return float(np.logaddexp(0, np.where(right, -odds, odds)).sum() + 0.5 * (precision * weights**2).sum())

    weights = np.zeros(inputs.shape[1])
    for _ in range(100):
        stated = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (stated - right) + precision * weights
        curvature = (inputs * (stated * (1 - stated))[:, None]).T @ inputs + np.diag(precision)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while cost(weights - size * step) > cost(weights) + 1e-12 * abs(cost(weights)) and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return weights[:-1], float(weights[-1])


def measure(
    stated: Array, right: Flags, groups: Sequence[str] | None = None, *, num_draws: int = 1000, seed: int = 0
) -> CalibrationMetrics:
    """Measure the calibration of probabilities.

    Args:
        stated: probability of each word.
        right: whether each word is correct.
        groups: group of each word, such as its speaker, resampled for the intervals; None: words are resampled.
        num_draws: number of bootstrap draws.
        seed: seed of the bootstrap.
    """
    names = np.arange(len(stated)) if groups is None else np.unique(np.array(groups), return_inverse=True)[1]
    order = np.argsort(names, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(names[order])) + 1)
    random = np.random.default_rng(derive(seed, "bootstrap", "calibration"))
    drawn = np.empty((num_draws, 2))
    for row in drawn:
        chosen = np.concatenate([members[number] for number in random.integers(len(members), size=len(members))])
        row[:] = ece(stated[chosen], right[chosen]), nce(stated[chosen], right[chosen])
    known = [column[np.isfinite(column)] for column in drawn.T]
    intervals = [tuple(np.quantile(c, [0.025, 0.975]).tolist()) if len(c) else (math.nan, math.nan) for c in known]
    brier = float(((stated - right) ** 2).mean())
    return CalibrationMetrics(ece(stated, right), brier, nce(stated, right), auc(stated, right), *intervals)


def ece(stated: Array, right: Flags, num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error over bins of equal mass."""
    return sum(abs(one.stated - one.right) * one.num for one in bins(stated, right, num_bins)) / len(stated)


def bins(stated: Array, right: Flags, num_bins: int = NUM_BINS) -> list[Bin]:
    """Group words by probability into bins of equal mass; equal probabilities share a bin, so bins may be fewer."""
    order = np.argsort(stated, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(stated[order]) > 0, True)) + 1
    wanted = np.arange(1, num_bins + 1) * len(stated) / num_bins
    rows = []
    for members in np.split(order, np.unique(ends[np.searchsorted(ends, wanted - 1e-9)])[:-1]):
        num, accuracy = len(members), float(right[members].mean())
        middle = (accuracy + _Z**2 / (2 * num)) / (1 + _Z**2 / num)
        half = _Z / (1 + _Z**2 / num) * math.sqrt(accuracy * (1 - accuracy) / num + _Z**2 / (4 * num**2))
        rows.append(Bin(float(stated[members].mean()), accuracy, middle - half, middle + half, num))
    return rows


def nce(stated: Array, right: Flags) -> float:
    """Return the normalised cross entropy; probabilities are clipped to a millionth from 0 and 1."""
    accuracy = float(right.mean())
    if accuracy in (0.0, 1.0):
        return math.nan
    given = np.clip(np.where(right, stated, 1 - stated), _CERTAIN, 1 - _CERTAIN)
    entropy = -accuracy * math.log(accuracy) - (1 - accuracy) * math.log(1 - accuracy)
    return float(1 + np.log(given).mean() / entropy)


def auc(stated: Array, right: Flags) -> float:
    """Return the area under the ROC curve, ties counted as a half (rank sum of Mann and Whitney)."""
    num_right, num_wrong = int(right.sum()), int((~right).sum())
    if not num_right or not num_wrong:
        return math.nan
    _, place, counts = np.unique(stated, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[right].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def _sigmoid(odds: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -odds))
