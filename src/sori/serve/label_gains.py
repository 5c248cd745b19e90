"""How much labels help: the error rates of all rounds of a project, and whether more labels are worth it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sori.core.files import read_json
from sori.evaluation.error_rate import ErrorReport, compare, error_rates
from sori.serve.rounds import Round

_LEAST_COMMON = 3
"""Fewest held-out utterances on which two rounds are compared."""
_WORTHWHILE = 0.05
"""A doubling of the labels that removes a smaller fraction of the errors is called a small gain."""


class Point(NamedTuple):
    """A round on the learning curve."""

    number: int
    minutes: float
    """Transcribed minutes that it was trained on."""
    cer: float
    low: float
    high: float
    num_utterances: int
    """Held-out utterances that it was scored on."""


class LearningCurve(NamedTuple):
    """Error rates by labelled minutes, and what they say."""

    points: list[Point]
    verdict: str


def learning_curve(rounds: Sequence[Round]) -> LearningCurve:
    """Return the learning curve of all finished rounds that were not a check with a toy model, unless all were."""
    scored = [(one, _read(one.scores)) for one in rounds]
    known = [(one, report) for one, report in scored if report is not None]
    real = [pair for pair in known if pair[0].about.recipe != "ctc_smoke"] or known
    points = [
        Point(one.number, one.about.minutes, found[1].cer.rate, found[1].cer.low, found[1].cer.high, len(found[0]))
        for one, found in real
    ]
    return LearningCurve(points, _verdict(points, [found for _, found in real]))


_Found = tuple[list[str], ErrorReport]


def _read(path: Path) -> _Found | None:
    """Return ids and error report of a scored round; None: it is not scored, or the file is damaged."""
    try:
        rows: list[dict[str, Any]] = read_json(path)["utterances"]
        texts = [[row[name] for row in rows] for name in ("reference", "hypothesis", "speaker")]
        return [row["id"] for row in rows], error_rates(*texts)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _verdict(points: Sequence[Point], found: Sequence[_Found]) -> str:
    if not points:
        return "No recogniser has been scored yet. Ten minutes of transcripts are a good beginning."
    last = points[-1]
    now = f"{_percent(last.cer)} of the characters are wrong ({_percent(last.low)} to {_percent(last.high)})"
    pair = next((n for n in reversed(range(len(points) - 1)) if points[n].minutes < 0.8 * last.minutes), None)
    if pair is None:
        return (
            f"After {last.minutes:.1f} minutes, {now}. How much more labels help can be seen when a second recogniser "
            "was trained with more of them."
        )
    before = points[pair]
    common = set(found[pair][0]) & set(found[-1][0])
    if len(common) < _LEAST_COMMON:
        return f"After {last.minutes:.1f} minutes, {now}. The last two recognisers were scored on different utterances."
    new, old = (_only(one, common) for one in (found[-1], found[pair]))
    value, low, high = compare([new], [old])["cer"].absolute
    span = f"From {before.minutes:.1f} to {last.minutes:.1f} minutes"
    if high >= 0:
        return (
            f"{span} the error rate changed by {100 * value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}), "
            f"which may be chance; {now}. More labels help slowly here: more pre-training or more text may help more."
        )
    slope = value / math.log2(last.minutes / before.minutes)
    next_cer = max(0.0, last.cer + slope)
    worth = "Labelling more is worth it" if -slope >= _WORTHWHILE * last.cer else "This is a small gain"
    return (
        f"{span} the error rate fell by {-100 * value:.1f} points ({-100 * high:.1f} to {-100 * low:.1f}); {now}. "
        f"{worth}: if every doubling goes on to give as much, {2 * last.minutes:.0f} minutes will give about "
        f"{_percent(next_cer)}."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _only(found: _Found, names: set[str]) -> ErrorReport:
    ids, report = found
    rows = sorted((name, one) for name, one in zip(ids, report.utterances, strict=True) if name in names)
    kept = [one for _, one in rows]
    return error_rates([u.reference for u in kept], [u.hypothesis for u in kept], [u.speaker for u in kept])
