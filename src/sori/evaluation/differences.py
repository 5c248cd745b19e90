"""Analyse errors: aligned utterances, the most frequent confusions, error rates by length and by speaker.

Everything is derived from an `ErrorReport`, with the alignment that its rates are counted from: the confusions of a
report add up to its substitutions, insertions and deletions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from sori.evaluation.error_rate import SPACE, ErrorReport, Rate, Scored, rate, spell
from sori.text.edit_distance import Step, align

WORD_BOUNDS = (0, 2, 5, 10, 20, 40)
"""Upper bounds of the length groups in words: empty, 1 to 2, 3 to 5 and so on; the last group is open."""
SECOND_BOUNDS = (2, 5, 10, 20)
"""Upper bounds of the length groups in seconds."""
FEWEST_DRAWN = 10
"""Minimum number of speakers or utterances for the interval of a part of a test set."""


class Confusions(NamedTuple):
    """Counts of substitutions, deletions and insertions, the most frequent first."""

    wrong: list[tuple[str, str, int]]
    """Substitutions: reference, hypothesis and count."""
    missing: list[tuple[str, int]]
    """Deletions: reference and count."""
    extra: list[tuple[str, int]]
    """Insertions: hypothesis and count."""


class Part(NamedTuple):
    """The error rates of a part of a test set."""

    name: str
    num_utterances: int
    words: Rate
    """Word error rate; the interval is NaN if the part is too small (`FEWEST_DRAWN`)."""
    characters: Rate


def words(report: ErrorReport) -> list[list[Step]]:
    """Align the words of each reference with those of its hypothesis."""
    return _aligned(report, str.split)


def characters(report: ErrorReport) -> list[list[Step]]:
    """Align the characters of each reference with those of its hypothesis; word boundaries are shown as spaces."""
    shown = {SPACE: " "}
    return [
        [
            Step(step.kind, shown.get(step.reference, step.reference), shown.get(step.hypothesis, step.hypothesis))
            for step in steps
        ]
        for steps in _aligned(report, spell)
    ]


def confusions(aligned: Iterable[Iterable[Step]]) -> Confusions:
    """Count substitutions (wrong), deletions (missing) and insertions (extra).

    Args:
        aligned: alignments from `words` or `characters`.
    """
    counts = Counter(step for steps in aligned for step in steps if step.kind != "right")
    # ties in alphabetical order, so that the order of the utterances does not matter
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Confusions(
        [(step.reference, step.hypothesis, num) for step, num in ordered if step.kind == "wrong"],
        [(step.reference, num) for step, num in ordered if step.kind == "missing"],
        [(step.hypothesis, num) for step, num in ordered if step.kind == "extra"],
    )


def by_words(report: ErrorReport) -> list[Part]:
    """Return error rates by the number of reference words."""
    return _by_length(report, [float(one.words.total) for one in report.utterances], WORD_BOUNDS, whole=True)


def by_seconds(report: ErrorReport, seconds: Sequence[float]) -> list[Part]:
    """Return error rates by the duration of the recordings.

    Args:
        report: error report.
        seconds: duration of each utterance, in the order of the report.
    """
    return _by_length(report, seconds, SECOND_BOUNDS, whole=False)


def by_speaker(report: ErrorReport) -> list[Part]:
    """Return error rates by speaker, sorted by CER, with intervals over the speaker's utterances."""
    spoken: dict[str, list[Scored]] = {speaker: [] for speaker in report.speakers}
    for one in report.utterances:
        if one.speaker is not None:
            spoken[one.speaker].append(one)
    return [_part(speaker, utterances) for speaker, utterances in spoken.items()]


def _aligned(report: ErrorReport, cut: Callable[[str], list[str]]) -> list[list[Step]]:
    return align([cut(one.reference) for one in report.utterances], [cut(one.hypothesis) for one in report.utterances])


def _by_length(report: ErrorReport, lengths: Sequence[float], bounds: Sequence[int], *, whole: bool) -> list[Part]:
    groups: list[list[Scored]] = [[] for _ in range(len(bounds) + 1)]
    for one, length in zip(report.utterances, lengths, strict=True):
        groups[sum(length > bound for bound in bounds)].append(one)
    names = _names(bounds, whole=whole)
    return [_part(name, group) for name, group in zip(names, groups, strict=True) if group]


def _names(bounds: Sequence[int], *, whole: bool) -> list[str]:
    """Return `0`, `1 to 2`, `3 to 5`, `over 5` for whole numbers; `up to 2`, `2 to 5`, `over 5` otherwise."""
    first = str(bounds[0]) if whole else f"up to {bounds[0]}"
    between = [
        f"{low + whole}" if low + whole == high else f"{low + whole} to {high}" for low, high in pairwise(bounds)
    ]
    return [first, *between, f"over {bounds[-1]}"]


def _part(name: str, utterances: list[Scored]) -> Part:
    speakers = [one.speaker for one in utterances]
    distinct = len(set(speakers))
    num_drawn = distinct if None not in speakers and distinct > 1 else len(utterances)
    num_draws = 1000 if num_drawn >= FEWEST_DRAWN else 0
    return Part(
        name,
        len(utterances),
        rate([one.words for one in utterances], speakers, num_draws=num_draws),
        rate([one.characters for one in utterances], speakers, num_draws=num_draws),
    )
