"""Intervals for shares: whole speakers (or utterances) are drawn with replacement, as for error rates.

Bisani and Ney 2004. Frames of one utterance are right or wrong together, and so are those of one speaker.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.seeds import derive

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

    def to_data(self) -> dict[str, float | str]:
        """Plain data for JSON."""
        return dict(self._asdict())


def share(
    correct: NDArray[np.float64],
    total: NDArray[np.float64],
    speakers: Sequence[str | None],
    *,
    num_draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The share of what is correct, with its interval.

    Args:
        correct: of each utterance.
        total: likewise; positive in sum.
        speakers: likewise.
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
    return Estimate(float(sums[0].sum() / sums[1].sum()), *interval(drawn), unit)


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
