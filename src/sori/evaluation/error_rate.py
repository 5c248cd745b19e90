"""Word and character error rates with intervals, overall and by speaker, and the best and worst utterances.

Edits are counted by jiwer (minimal edit distance; see `edit_distance`). Words are separated by spaces. A character is a
grapheme cluster (Unicode annex 29), and the space between two words counts as one, as in jiwer's own rate. References
and hypotheses should both be normalised with `Vocabulary.normalise`; here only white space is normalised.

Intervals are computed by the bootstrap (Bisani and Ney 2004): whole speakers are drawn with replacement if all are
known, because errors of one speaker are correlated, otherwise utterances.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sori.evaluation.bootstrap import CONFIDENCE, draws, interval
from sori.text.edit_distance import count
from sori.text.vocabulary import graphemes

_SHOWN_SPEAKERS = 20
SPACE = "\0"
"""Represents the space between two words in character alignments; cannot occur in a transcript."""

Unit = Literal["speakers", "utterances"]


@dataclass(frozen=True)
class Edits:
    """Edits that turn a hypothesis into its reference, and the length of the reference."""

    substitutions: int
    insertions: int
    deletions: int
    total: int

    @property
    def errors(self) -> int:
        """Return the number of edits."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Return errors divided by reference length: above 1 with many insertions, infinite for an empty reference."""
        if self.total:
            return self.errors / self.total
        return math.inf if self.errors else 0.0

    def __add__(self, other: "Edits") -> "Edits":
        return Edits(
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.total + other.total,
        )


@dataclass(frozen=True)
class Rate:
    """An error rate with its interval."""

    edits: Edits
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Return errors divided by reference length."""
        return self.edits.rate


@dataclass(frozen=True)
class Scored:
    """Scores of one utterance."""

    reference: str
    hypothesis: str
    speaker: str | None
    words: Edits
    characters: Edits


@dataclass(frozen=True)
class ErrorReport:
    """Error rates of a test set, computed by `error_rates`; `table` and `to_data` format them."""

    wer: Rate
    cer: Rate
    unit: Unit
    """Unit that was resampled for the intervals."""
    utterances: tuple[Scored, ...]
    """Scores of each utterance, in the order given."""

    @property
    def speakers(self) -> dict[str, tuple[Edits, Edits]]:
        """Return word and character edits of each known speaker, sorted by CER."""
        sums: dict[str, tuple[Edits, Edits]] = {}
        for one in self.utterances:
            if one.speaker is not None:
                words, characters = sums.get(one.speaker, (Edits(0, 0, 0, 0), Edits(0, 0, 0, 0)))
                sums[one.speaker] = (words + one.words, characters + one.characters)
        return dict(sorted(sums.items(), key=lambda item: item[1][1].rate))

    @property
    def num_empty_references(self) -> int:
        """Return the number of empty references; every word of their hypotheses counts as an insertion."""
        return sum(not one.reference for one in self.utterances)

    def best(self, num: int = 5) -> list[Scored]:
        """Return the utterances with the lowest character error rate, longer ones first."""
        return sorted(self.utterances, key=lambda one: (one.characters.rate, -one.characters.total))[:num]

    def worst(self, num: int = 5) -> list[Scored]:
        """Return the utterances with the highest character error rate, longer ones first."""
        return sorted(self.utterances, key=lambda one: (-one.characters.rate, -one.characters.total))[:num]

    def table(self) -> str:
        """Return the report as text."""
        lines = [
            f"{len(self.utterances):,} utterances, {self.wer.edits.total:,} words; 95 % intervals over {self.unit}",
            f"{'':4}{'rate':>8}{'interval':>16}{'errors':>9}{'of':>9}{'subst.':>8}{'insert.':>9}{'delet.':>8}",
            *(_row(name, rate) for name, rate in (("WER", self.wer), ("CER", self.cer))),
        ]
        if self.num_empty_references:
            lines.append(f"{self.num_empty_references} empty references: words in their hypotheses count as insertions")
        if self.speakers:
            lines += ["", f"{'speaker':20}{'WER':>8}{'CER':>8}{'words':>8}"]
            rows = [f"{s[:19]:20}{w.rate:8.1%}{c.rate:8.1%}{w.total:8,}" for s, (w, c) in self.speakers.items()]
            hidden = max(0, len(rows) - _SHOWN_SPEAKERS)
            half = _SHOWN_SPEAKERS // 2
            lines += [*rows[:half], f"... {hidden} more between", *rows[-half:]] if hidden else rows
        for title, chosen in (("best", self.best()), ("worst", self.worst())):
            lines += ["", f"{title} utterances"]
            for one in chosen:
                lines.append(f"{one.characters.rate:8.1%}  reference   {one.reference}")
                lines.append(f"{'':8}  hypothesis  {one.hypothesis}")
        return "\n".join(lines)

    def to_data(self) -> dict[str, Any]:
        """Return the report as plain data for JSON; rates are fractions, null for empty references."""
        return {
            "wer": _rate_data(self.wer),
            "cer": _rate_data(self.cer),
            "interval": {"confidence": CONFIDENCE, "unit": self.unit},
            "num_utterances": len(self.utterances),
            "num_empty_references": self.num_empty_references,
            "speakers": {
                s: {"words": _edit_data(w), "characters": _edit_data(c)} for s, (w, c) in self.speakers.items()
            },
            "utterances": [asdict(one) for one in self.utterances],
        }


def error_rates(
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str | None] | None = None,
    *,
    num_draws: int = 1000,
    seed: int = 0,
) -> ErrorReport:
    """Score hypotheses against references.

    Args:
        references: normalised transcripts, in any order.
        hypotheses: in the same order.
        speakers: in the same order; speakers are resampled if all are known and there are at least two.
        num_draws: number of bootstrap draws.
        seed: seed of the bootstrap.

    Raises:
        ValueError: the lists differ in length, or no reference has a word.
    """
    speakers = [None] * len(references) if speakers is None else speakers
    if not len(references) == len(hypotheses) == len(speakers):
        raise ValueError(
            f"expected as many hypotheses and speakers as references, got {len(hypotheses)} and {len(speakers)} for "
            f"{len(references)}; likely some utterances were lost; pass them as empty strings"
        )
    references, hypotheses = ([" ".join(text.split()) for text in texts] for texts in (references, hypotheses))
    if not any(references):
        raise ValueError(
            f"expected references with words, got {len(references)} empty ones; is the test set transcribed?"
        )
    words, characters = (
        _edits([cut(text) for text in references], [cut(text) for text in hypotheses]) for cut in (str.split, spell)
    )
    scored = tuple(map(Scored, references, hypotheses, speakers, words, characters))
    wer, cer = (rate(edits, speakers, num_draws=num_draws, seed=seed) for edits in (words, characters))
    return ErrorReport(wer=wer, cer=cer, unit=_groups(speakers)[1], utterances=scored)


def rate(edits: Sequence[Edits], speakers: Sequence[str | None], *, num_draws: int = 1000, seed: int = 0) -> Rate:
    """Return the error rate of some utterances with its interval.

    Args:
        edits: edits of each utterance; at least one.
        speakers: in the same order.
        num_draws: number of bootstrap draws.
        seed: seed of the bootstrap.
    """
    groups, _ = _groups(speakers)
    weights = draws(int(groups.max()) + 1, num_draws=num_draws, seed=seed)
    errors, totals = _counts([edits], groups)
    drawn = (weights @ errors[0]) / np.maximum(weights @ totals[0], 1)
    return Rate(sum(edits, Edits(0, 0, 0, 0)), *interval(drawn))


def spell(text: str) -> list[str]:
    """Split a text into the characters that are compared: grapheme clusters, `SPACE` between words."""
    return [SPACE if cluster == " " else cluster for cluster in graphemes(text)]


@dataclass(frozen=True)
class Difference:
    """Difference of two systems on the same utterances; negative: the first makes fewer errors."""

    first: float
    second: float
    absolute: tuple[float, float, float]
    """First rate minus second: value, lower and upper end of the interval."""
    relative: tuple[float, float, float]
    """The same relative to the second rate."""
    share_better: float
    """Fraction of draws in which the first makes fewer errors."""
    share_worse: float
    """Fraction of draws in which it makes more; in the others, both make equally many."""

    @property
    def is_clear(self) -> bool:
        """Return whether the interval of the difference excludes zero."""
        return self.absolute[1] > 0 or self.absolute[2] < 0


def compare(
    first: Sequence[ErrorReport], second: Sequence[ErrorReport], *, num_draws: int = 1000, seed: int = 0
) -> dict[Literal["wer", "cer"], Difference]:
    """Compare two systems by a paired bootstrap.

    Each draw takes the same speakers (or utterances) for both systems. A system may have several reports, one for each
    training seed; rates are then means over seeds, and each draw also resamples seeds.

    Args:
        first: reports of one system on one test set.
        second: reports of the other on the same test set.
        num_draws: number of bootstrap draws.
        seed: seed of the bootstrap.

    Raises:
        ValueError: a list is empty or the test sets differ.
    """
    if not first or not second:
        raise ValueError("expected at least one report of each system, got none")
    spoken = [(one.reference, one.speaker) for one in first[0].utterances]
    if any([(one.reference, one.speaker) for one in report.utterances] != spoken for report in [*first, *second]):
        raise ValueError(
            "expected reports on the same utterances in the same order, got different ones; a paired comparison needs "
            "both systems scored on one test set with one normalisation"
        )
    groups, _ = _groups([speaker for _, speaker in spoken])
    weights = draws(int(groups.max()) + 1, num_draws=num_draws, seed=seed)
    seeds = [
        draws(len(side), num_draws=num_draws, seed=seed, name=name)
        for side, name in ((first, "first"), (second, "second"))
    ]
    result: dict[Literal["wer", "cer"], Difference] = {}
    for key, part in (("wer", "words"), ("cer", "characters")):
        values, drawn = [], []
        for side, chosen in zip((first, second), seeds, strict=True):
            errors, totals = _counts([[getattr(one, part) for one in report.utterances] for report in side], groups)
            values.append(float(errors.sum() / totals.sum()))
            by_draw = np.einsum("ds,sg,dg->d", chosen, errors, weights)
            drawn.append(by_draw / np.maximum(np.einsum("ds,sg,dg->d", chosen, totals, weights), 1))
        result[key] = _difference(values, drawn)  # type: ignore[index]
    return result


def _difference(values: list[float], drawn: list[NDArray[np.float64]]) -> Difference:
    gap = drawn[0] - drawn[1]
    relative = gap / np.where(drawn[1] > 0, drawn[1], np.nan)
    known = relative[np.isfinite(relative)]
    return Difference(
        first=values[0],
        second=values[1],
        absolute=(values[0] - values[1], *interval(gap)),
        relative=((values[0] / values[1] - 1) if values[1] else math.nan, *interval(known)),
        share_better=float((gap < 0).mean()),
        share_worse=float((gap > 0).mean()),
    )


def _edits(references: list[list[str]], hypotheses: list[list[str]]) -> list[Edits]:
    return [
        Edits(kinds["wrong"], kinds["extra"], kinds["missing"], len(reference))
        for reference, kinds in zip(references, count(references, hypotheses), strict=True)
    ]


def _groups(speakers: Sequence[str | None]) -> tuple[NDArray[np.intp], Unit]:
    if None not in speakers and len(set(speakers)) > 1:
        return np.unique(np.array(speakers, dtype=str), return_inverse=True)[1], "speakers"
    return np.arange(len(speakers)), "utterances"


def _counts(
    edits: Sequence[Sequence[Edits]], groups: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return errors and reference lengths, `seed group`."""
    errors = np.stack([np.bincount(groups, [one.errors for one in run]) for run in edits])
    totals = np.stack([np.bincount(groups, [one.total for one in run]) for run in edits])
    return errors.astype(np.float64), totals.astype(np.float64)


def _row(name: str, rate: Rate) -> str:
    edits = rate.edits
    interval = f"{rate.low:.1%} to {rate.high:.1%}"
    counts = f"{edits.errors:9,}{edits.total:9,}{edits.substitutions:8,}{edits.insertions:9,}{edits.deletions:8,}"
    return f"{name:4}{rate.rate:8.2%}{interval:>16}{counts}"


def _rate_data(rate: Rate) -> dict[str, Any]:
    return _edit_data(rate.edits) | {"low": rate.low, "high": rate.high}


def _edit_data(edits: Edits) -> dict[str, Any]:
    return {"rate": edits.rate if math.isfinite(edits.rate) else None, "errors": edits.errors} | asdict(edits)
