"""Intervals for shares: whole speakers (or utterances) are drawn with replacement, as for error rates.

Bisani and Ney 2004. Frames of one utterance are right or wrong together, and so are those of one speaker.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.seeds import derive

FEWEST_SPEAKERS = 10
"""With fewer, utterances are drawn: a handful of speakers says too little about others."""
CONFIDENCE = 0.95

Unit = Literal["speakers", "utterances", "phone pairs", "texts"]


class Estimate(NamedTuple):
    """A share with its interval."""

    value: float
    low: float
    high: float
    unit: Unit
    """What was drawn for the interval."""
    drawn: tuple[float, ...] = ()
    """The value in each draw; of two estimates with the same `basis`, in the same draws."""
    basis: str = ""
    """Digest of what was drawn from."""

    def to_data(self) -> dict[str, float | str]:
        """Plain data for JSON, without the draws."""
        return {"value": self.value, "low": self.low, "high": self.high, "unit": self.unit}


def difference(one: Estimate, other: Estimate) -> Estimate | None:
    """What one has over the other, with an interval from the draws of both; None if they were drawn from other things.

    Much surer than the two intervals look: an utterance that is hard for one is hard for the other.
    """
    if not one.drawn or one.basis != other.basis:
        return None
    apart = np.array(one.drawn) - np.array(other.drawn)
    return Estimate(one.value - other.value, *interval(apart), one.unit, tuple(apart.tolist()), one.basis)


def basis_of(*parts: object) -> str:
    """A short digest of what is drawn from."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def share(
    correct: NDArray[np.float64],
    total: NDArray[np.float64],
    speakers: Sequence[str | None],
    *,
    names: Sequence[object],
    num_draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The share of what is correct, with its interval.

    Args:
        correct: of each utterance.
        total: likewise; positive in sum.
        speakers: likewise.
        names: likewise; shares of the same ones can be compared draw by draw.
        num_draws: of the bootstrap.
        seed: of the bootstrap.
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
    """How often each of `num` things is taken in each draw of `num` with replacement, draw by thing.

    Args:
        num: how many there are.
        num_draws: how often.
        seed: of the bootstrap.
        name: of what is drawn; other names, other draws.
    """
    random = np.random.default_rng(derive(seed, "bootstrap", name))
    return random.multinomial(num, np.full(num, 1 / num), size=num_draws).astype(np.float64)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of some draws; not a number without draws."""
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
