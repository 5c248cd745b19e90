"""Compare probed representations: the scores of each, the best layer, and its gain over the baselines."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sori.evaluation.bootstrap import Estimate, difference
from sori.evaluation.linear_probe import ProbeResult
from sori.evaluation.probe_tasks import ProbeScores

COLUMNS = ("phone", "speaker", "speaker/frame", "abx within", "abx across", "letters")
"""Measures of the probing report. ABX and letters are error rates: lower is better."""
_HEADINGS = {"letters": "CER"}

Kind = Literal["trained", "untrained", "spectrum"]
"""Trained encoder, random-initialisation baseline, or log-mel or MFCC features."""


class ProbedRepresentation(NamedTuple):
    """One representation and its scores."""

    name: str
    kind: Kind
    layer: int | None
    frame_ms: float
    """Frame shift."""
    dim: int
    scores: ProbeScores


class Gain(NamedTuple):
    """Score differences between a layer and another representation."""

    other: str
    """Name of the other representation."""
    kind: Kind
    """Kind of the other representation."""
    scores: dict[str, Estimate]
    """Differences by column, layer minus other, paired in the same bootstrap draws."""


def heading(column: str) -> str:
    """Return the table heading of a column."""
    return _HEADINGS.get(column, column)


def estimates(scores: ProbeScores) -> dict[str, Estimate]:
    """Return the scores of a representation by column; tasks that were not run are left out."""
    probed: tuple[ProbeResult | None, ...] = (scores.phone, scores.speaker, scores.speaker_frame)
    found = {name: one.accuracy for name, one in zip(COLUMNS, probed, strict=False) if one is not None}
    if scores.abx is not None:
        rates = zip(COLUMNS[3:5], scores.abx, strict=True)
        found |= {name: one.error for name, one in rates if one is not None}
    if scores.letters is not None:
        found["letters"] = scores.letters.error
    return found


def best(representations: Sequence[ProbedRepresentation], kind: Kind) -> ProbedRepresentation | None:
    """Return the best layer of a kind by its score on the dev part, which no reported score is computed on.

    The criterion is phone accuracy; without phones, frame-level speaker accuracy; without both, the character error
    rate. Ties go to the lower layer. Without any of these tasks the last layer is returned, and None if there is no
    layer of that kind.
    """
    found = [one for one in representations if one.kind == kind]
    scored = [one for one in found if one.scores.phone or one.scores.speaker_frame or one.scores.letters]
    return max(scored, key=_on_dev) if scored else found[-1] if found else None


def _on_dev(representation: ProbedRepresentation) -> float:
    scores = representation.scores
    if probed := scores.phone or scores.speaker_frame:
        return probed.dev_share
    assert scores.letters is not None  # noqa: S101 - guaranteed by the selection in `best`
    return -scores.letters.dev_error


def gains(representations: Sequence[ProbedRepresentation]) -> list[Gain]:
    """Return the gains of the best trained layer over the best randomly initialised one, log-mel and MFCC features.

    Args:
        representations: those of one probing report; without trained layers the result is empty.
    """
    layer = best(representations, "trained")
    if layer is None:
        return []
    untrained = best(representations, "untrained")
    others = [untrained] if untrained else []
    found, own = list[Gain](), estimates(layer.scores)
    for other in (*others, *(one for one in representations if one.kind == "spectrum")):
        theirs = estimates(other.scores)
        apart = {name: difference(own[name], theirs[name]) for name in own if name in theirs}
        found.append(Gain(other.name, other.kind, {name: one for name, one in apart.items() if one is not None}))
    return found


def representation_data(representation: ProbedRepresentation) -> dict[str, Any]:
    """Return a representation and its scores as plain data for JSON."""
    data: dict[str, Any] = representation._asdict()
    scores: ProbeScores = data.pop("scores")
    for name, one in (("phone", scores.phone), ("speaker", scores.speaker), ("speaker_frame", scores.speaker_frame)):
        data[name] = None if one is None else one._asdict() | {"accuracy": one.accuracy.to_data()}
    for name in ("within", "across"):
        found = None if scores.abx is None else getattr(scores.abx, name)
        data[f"abx_{name}"] = None if found is None else found._asdict() | {"error": found.error.to_data()}
    letters = scores.letters
    data["letters"] = None if letters is None else letters._asdict() | {"error": letters.error.to_data()}
    return data


def percent(one: Estimate) -> str:
    """Format a fraction and its interval in percent, such as `31.0 (28.9 to 33.1)`."""
    return f"{100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})"


def points(one: Estimate) -> str:
    """Format a difference and its interval in percentage points, such as `+2.1 (+0.4 to +3.9)`."""
    return f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
