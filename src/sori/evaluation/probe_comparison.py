"""Representations side by side: the scores of each, which layer is the best, and what it has over the others."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sori.evaluation.bootstrap import Estimate, difference
from sori.evaluation.linear_probe import Probed
from sori.evaluation.probe_tasks import Answers

COLUMNS = ("phone", "speaker", "speaker/frame", "abx within", "abx across", "letters")
"""Of the sheet; for ABX and letters, less is better."""

Kind = Literal["trained", "untrained", "spectrum"]


class Line(NamedTuple):
    """One representation and its scores."""

    name: str
    kind: Kind
    layer: int | None
    frame_ms: float
    """From one frame to the next."""
    dim: int
    answers: Answers


class Gain(NamedTuple):
    """What a layer has over another representation."""

    other: str
    """Name of the other one's line."""
    kind: Kind
    """Of the other."""
    scores: dict[str, Estimate]
    """Differences, layer minus other, in draws that both share; by column."""


def estimates(answers: Answers) -> dict[str, Estimate]:
    """The scores of a representation by column; none where it was not asked."""
    probed: tuple[Probed | None, ...] = (answers.phone, answers.speaker, answers.speaker_frame)
    found = {name: one.accuracy for name, one in zip(COLUMNS, probed, strict=False) if one is not None}
    if answers.abx is not None:
        scores = zip(COLUMNS[3:5], answers.abx, strict=True)
        found |= {name: one.error for name, one in scores if one is not None}
    if answers.letters is not None:
        found["letters"] = answers.letters.error
    return found


def best(lines: Sequence[Line], kind: Kind) -> Line | None:
    """The layer whose phones (without phones: speakers) are read best on the dev part, which no score comes from.

    The lower one of equals. Where neither was asked, the one with the fewest wrong letters on the dev part, or the
    last; None where there is no layer of that kind.
    """
    found = [line for line in lines if line.kind == kind]
    judged = [line for line in found if line.answers.phone or line.answers.speaker_frame or line.answers.letters]
    return max(judged, key=_on_dev) if judged else found[-1] if found else None


def _on_dev(line: Line) -> float:
    if probed := line.answers.phone or line.answers.speaker_frame:
        return probed.dev_share
    assert line.answers.letters is not None  # noqa: S101 - such lines were chosen
    return -line.answers.letters.dev_error


def gains(lines: Sequence[Line]) -> list[Gain]:
    """What the best trained layer has over the best untrained one, and over each spectrum.

    Args:
        lines: of one sheet; without trained layers there is nothing to compare.
    """
    mine = best(lines, "trained")
    if mine is None:
        return []
    untrained = best(lines, "untrained")
    others = [untrained] if untrained else []
    found, own = list[Gain](), estimates(mine.answers)
    for other in (*others, *(line for line in lines if line.kind == "spectrum")):
        theirs = estimates(other.answers)
        apart = {name: difference(own[name], theirs[name]) for name in own if name in theirs}
        found.append(Gain(other.name, other.kind, {name: one for name, one in apart.items() if one is not None}))
    return found


def line_data(line: Line) -> dict[str, Any]:
    """Plain data for JSON."""
    data: dict[str, Any] = line._asdict()
    answers: Answers = data.pop("answers")
    for name, one in (("phone", answers.phone), ("speaker", answers.speaker), ("speaker_frame", answers.speaker_frame)):
        data[name] = None if one is None else one._asdict() | {"accuracy": one.accuracy.to_data()}
    for name in ("within", "across"):
        found = None if answers.abx is None else getattr(answers.abx, name)
        data[f"abx_{name}"] = None if found is None else found._asdict() | {"error": found.error.to_data()}
    told = answers.letters
    data["letters"] = None if told is None else told._asdict() | {"error": told.error.to_data()}
    return data


def percent(one: Estimate) -> str:
    """A share with its interval, such as `31.0 (28.9 to 33.1)`."""
    return f"{100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})"


def points(one: Estimate) -> str:
    """A difference of shares with its interval, such as `+2.1 (+0.4 to +3.9)`."""
    return f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
