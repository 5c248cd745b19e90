"""What a paired comparison found, in words for people who have never seen a bootstrap."""

from typing import NamedTuple

from sori.evaluation.error_rate import Difference, Unit

FEW = 10
"""With fewer speakers or utterances than this, intervals are said to be rough."""


class Verdict(NamedTuple):
    """What a comparison found."""

    headline: str
    detail: str

    def __str__(self) -> str:
        return f"{self.headline} {self.detail}"


def verdict(found: Difference, *, what: str, names: tuple[str, str], drawn: str) -> Verdict:
    """Whether one of two systems is better, and how sure that is.

    Args:
        found: the first against the second.
        what: was counted: `word` or `character`.
        names: of both, as they shall be called.
        drawn: what was drawn, such as `40 speakers`.
    """
    if found.absolute == (0, 0, 0):
        return Verdict(
            f"{names[0]} and {names[1]} cannot be told apart by their {what} errors.",
            f"Both make as many, in the whole test and in every draw of {drawn}.",
        )
    better, worse = names if found.absolute[0] <= 0 else names[::-1]
    shares = f"Drawing {drawn} again and again, {names[0]} makes fewer errors in {_share(found.share_better)}, "
    shares += f"{names[1]} in {_share(found.share_worse)}."
    points = [100 * value for value in found.absolute]
    interval = f"95 % interval {points[1]:+.2f} to {points[2]:+.2f}"
    if found.is_clear:
        return Verdict(
            f"{better} makes {_fewer(found)} {what} errors than {worse}.",
            f"{names[0]} minus {names[1]} is {points[0]:+.2f} percentage points ({interval}): the choice of the test "
            f"is an unlikely explanation. {shares}",
        )
    return Verdict(
        f"{names[0]} and {names[1]} cannot be told apart by their {what} errors.",
        f"{names[0]} minus {names[1]} is {points[0]:+.2f} percentage points, but the {interval} contains zero: another "
        f"test could turn it round. {shares} A larger test, with more speakers, may tell.",
    )


def caution(unit: Unit, num_drawn: int) -> str | None:
    """What to keep in mind about the intervals, if there is something."""
    if num_drawn < FEW:
        return f"There are only {num_drawn} {unit}: intervals over so few are rough, and rather too narrow."
    if unit == "utterances":
        return (
            "Speakers are not known for all utterances, or there is only one: intervals tell how the rates would "
            "differ for other sentences of the same voices, not for other voices."
        )
    return None


def _share(share: float) -> str:
    return {0.0: "no draw", 1.0: "every draw"}.get(share, f"{share:.1%} of the draws")


def _fewer(found: Difference) -> str:
    """By how much, relative to the worse of the two."""
    low, high = min(found.first, found.second), max(found.first, found.second)
    return f"{1 - low / high:.1%} fewer"
