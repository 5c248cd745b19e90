"""Bootstrap intervals for fractions: whole speakers (or utterances) are drawn with replacement, as for error rates.

Bisani and Ney 2004. Errors are correlated within an utterance and within a speaker, so frames are not drawn singly.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.seeds import derive

FEWEST_SPEAKERS = 10
"""With fewer speakers, utterances are drawn: too few speakers say little about other speakers."""
CONFIDENCE = 0.95

Unit = Literal["speakers", "utterances", "phone pairs", "texts"]


class Estimate(NamedTuple):
    """A value with its bootstrap interval."""

    value: float
    low: float
    high: float
    unit: Unit
    """Unit that was resampled."""
    drawn: tuple[float, ...] = ()
    """Value in each draw; two estimates with the same `basis` share their draws."""
    basis: str = ""
    """Digest of the sample that was drawn from."""

    def to_data(self) -> dict[str, float | str]:
        """Return plain data for JSON, without the draws."""
        return {"value": self.value, "low": self.low, "high": self.high, "unit": self.unit}


def difference(one: Estimate, other: Estimate) -> Estimate | None:
    """Return the paired difference of two estimates with its interval; None if their samples differ.

    The paired interval is much narrower than the separate ones suggest, because the same utterances are hard for both.
    """
    if not one.drawn or one.basis != other.basis:
        return None
    apart = np.array(one.drawn) - np.array(other.drawn)
    return Estimate(one.value - other.value, *interval(apart), one.unit, tuple(apart.tolist()), one.basis)


def basis_of(*parts: object) -> str:
    """Return a short digest of a sample."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def fraction(
    correct: NDArray[np.float64],
    total: NDArray[np.float64],
    speakers: Sequence[str | None],
    *,
    names: Sequence[object],
    num_draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return the fraction of correct items with its interval.

    Args:
        correct: number of correct items of each utterance.
        total: number of items of each utterance; the sum is positive.
        speakers: speaker of each utterance.
        names: name of each utterance; estimates over the same names can be compared draw by draw.
        num_draws: number of bootstrap draws.
        seed: seed of the bootstrap.
    """
    unit: Unit = "utterances"
    groups = np.arange(len(total))
    if None not in speakers and len(set(speakers)) >= FEWEST_SPEAKERS:
        unit, groups = "speakers", np.unique(np.array(speakers, dtype=str), return_inverse=True)[1]
    sums = np.stack([np.bincount(groups, correct), np.bincount(groups, total)])
    weights = draws(sums.shape[1], num_draws=num_draws, seed=seed)
    drawn = (weights @ sums[0]) / np.maximum(weights @ sums[1], 1)
    drawn_from = basis_of(unit, list(names), list(speakers), num_draws, seed)
    return Estimate(float(sums[0].sum() / sums[1].sum()), *interval(drawn), unit, tuple(drawn.tolist()), drawn_from)


def draws(num: int, *, num_draws: int, seed: int, name: str = "groups") -> NDArray[np.float64]:
    """Return how often each of `num` items occurs in each draw of `num` with replacement, `draw item`.

    Args:
        num: number of items.
        num_draws: number of draws.
        seed: seed of the bootstrap.
        name: name of the sample; different names give different draws.
    """
    random = np.random.default_rng(derive(seed, "bootstrap", name))
    return random.multinomial(num, np.full(num, 1 / num), size=num_draws).astype(np.float64)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the central 95 % interval of some draws; NaN without finite draws."""
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
