"""Describe the result of a paired comparison in plain words."""

from typing import NamedTuple

from sori.evaluation.error_rate import Difference, Unit

FEW = 10
"""With fewer speakers or utterances than this, a warning says that intervals are rough."""


class Verdict(NamedTuple):
    """Result of a comparison in words."""

    headline: str
    detail: str

    def __str__(self) -> str:
        return f"{self.headline} {self.detail}"


def verdict(found: Difference, *, what: str, names: tuple[str, str], drawn: str) -> Verdict:
    """Return which of two systems is better, and how certain that is.

    Args:
        found: difference of the first and the second system.
        what: unit of the error rate: `word` or `character`.
        names: names of both systems.
        drawn: what the bootstrap draws, such as `40 speakers`.
    """
    if found.absolute == (0, 0, 0):
        return Verdict(
            f"{names[0]} and {names[1]} do not differ significantly in their {what} errors.",
            f"Both make equally many, in the whole test set and in every draw of {drawn}.",
        )
    better, worse = names if found.absolute[0] <= 0 else names[::-1]
    fractions = f"In repeated draws of {drawn}, {names[0]} makes fewer errors in {_fraction(found.share_better)}, "
    fractions += f"{names[1]} in {_fraction(found.share_worse)}."
    points = [100 * value for value in found.absolute]
    interval = f"95 % interval {points[1]:+.2f} to {points[2]:+.2f}"
    if found.is_clear:
        return Verdict(
            f"{better} makes {_fewer(found)} {what} errors than {worse}.",
            f"{names[0]} minus {names[1]} is {points[0]:+.2f} percentage points ({interval}): unlikely "
            f"to be due to the choice of test data. {fractions}",
        )
    return Verdict(
        f"{names[0]} and {names[1]} do not differ significantly in their {what} errors.",
        f"{names[0]} minus {names[1]} is {points[0]:+.2f} percentage points, but the {interval} contains zero: other "
        f"test data could reverse it. {fractions} A larger test set, with more speakers, may decide.",
    )


def caution(unit: Unit, num_drawn: int) -> str | None:
    """Return a caution about the intervals, if one is needed."""
    if num_drawn < FEW:
        return f"There are only {num_drawn} {unit}: intervals over so few are rough, and tend to be too narrow."
    if unit == "utterances":
        return (
            "Speakers are not known for all utterances, or there is only one: intervals cover the variation over other "
            "sentences of the same speakers, not over other speakers."
        )
    return None


def _fraction(value: float) -> str:
    return {0.0: "no draw", 1.0: "every draw"}.get(value, f"{value:.1%} of the draws")


def _fewer(found: Difference) -> str:
    """Return the relative reduction against the worse system."""
    low, high = min(found.first, found.second), max(found.first, found.second)
    return f"{1 - low / high:.1%} fewer"
