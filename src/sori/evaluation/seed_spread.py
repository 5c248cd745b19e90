"""Trainings that differ in the seed alone: the best of them, how far apart they lie, and which cannot be told apart.

With ten minutes of transcripts the seed alone moves the result, so that a single run says little. Pairs are compared on
the same utterances by a paired bootstrap (`error_rate.compare`): "cannot be told apart" means that the interval of
their difference contains zero.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from sori.evaluation.error_rate import Difference, ErrorReport, compare

_SHOWN_PAIRS = 10


class Pair(NamedTuple):
    """Two seeds on the same utterances; negative differences: the first makes fewer errors."""

    first: int
    second: int
    wer: Difference
    cer: Difference


class Spread(NamedTuple):
    """An error rate over seeds, as fractions."""

    mean: float
    low: float
    """The lowest."""
    high: float
    """The highest."""
    deviation: float | None
    """Standard deviation of a single training (divisor n - 1); None for one seed."""


@dataclass(frozen=True)
class SeedScores:
    """What several seeds reached on one test set; `table` and `to_data` write it."""

    folder: Path
    """Holds the chosen model and a folder for each seed."""
    split: str
    """On which they were measured."""
    reports: dict[int, ErrorReport]
    """Of the seeds that finished, at least one."""
    failed: dict[int, str]
    """Why the other seeds came to nothing."""

    @property
    def chosen(self) -> int:
        """The seed with the lowest character error rate; word errors break ties, then the order."""
        return min(self.reports, key=lambda seed: (self.reports[seed].cer.rate, self.reports[seed].wer.rate))

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every two seeds that finished, compared."""
        found = []
        for first, second in itertools.combinations(self.reports, 2):
            differences = compare([self.reports[first]], [self.reports[second]])
            found.append(Pair(first, second, differences["wer"], differences["cer"]))
        return found

    @property
    def wer(self) -> Spread:
        """Word error rates over seeds."""
        return _spread([report.wer.rate for report in self.reports.values()])

    @property
    def cer(self) -> Spread:
        """Character error rates over seeds."""
        return _spread([report.cer.rate for report in self.reports.values()])

    def table(self) -> str:
        """Everything as text for the screen."""
        lines = [*self._head(), *self._rows()]
        lines += [f"seed {seed} failed and is not scored: {reason}" for seed, reason in self.failed.items()]
        return "\n".join([*lines, *self._pair_rows(), "", *self._verdict()])

    def _head(self) -> list[str]:
        report = self.reports[self.chosen]
        num_drawn = len(report.speakers) if report.unit == "speakers" else len(report.utterances)
        measured = f"{len(report.utterances):,} utterances, {report.wer.edits.total:,} words"
        return [
            f"{self.split}: {measured}; 95 % intervals over {num_drawn:,} {report.unit}",
            "All seeds learn from the same transcripts: their spread is that of training alone.",
            "",
            f"{'seed':>10}{'CER':>9}{'interval':>17}{'WER':>10}{'interval':>17}",
        ]

    def _rows(self) -> list[str]:
        rows = []
        for seed, report in self.reports.items():
            cells = "".join(
                f"{rate.rate:{width}.2%}{f'{rate.low:.1%} to {rate.high:.1%}':>17}"
                for rate, width in ((report.cer, 9), (report.wer, 10))
            )
            rows.append(f"{seed:10}{cells}{'  chosen' if seed == self.chosen else ''}")
        cer, wer = self.cer, self.wer
        rows.append(f"{'mean':>10}{cer.mean:9.2%}{'':17}{wer.mean:10.2%}")
        if cer.deviation is not None and wer.deviation is not None:
            ends = [f"{spread.low:.2%} to {spread.high:.2%}" for spread in (cer, wer)]
            rows.append(f"{'range':>10}{ends[0]:>26}{ends[1]:>27}")
            rows.append(f"{'st. dev.':>10}{cer.deviation:9.2%}{'':17}{wer.deviation:10.2%}")
        return rows

    def _pair_rows(self) -> list[str]:
        if not self.pairs:
            return []
        shown = self.pairs
        if len(shown) > _SHOWN_PAIRS:
            shown = [pair for pair in shown if self.chosen in (pair.first, pair.second)]
        lines = ["", "CER of two seeds on the same recordings, difference with its 95 % interval (paired bootstrap)"]
        for pair in shown:
            value, low, high = pair.cer.absolute
            better = pair.first if value < 0 else pair.second
            verdict = f"seed {better} makes fewer errors" if pair.cer.is_clear else "cannot be told apart"
            interval = f"({low:+.2%} to {high:+.2%})"
            lines.append(f"{f'{pair.first} - {pair.second}':>10}{value:+9.2%}  {interval:22}{verdict}")
        if len(shown) < len(self.pairs):
            unclear = sum(not pair.cer.is_clear for pair in self.pairs)
            lines.append(f"of all {len(self.pairs)} pairs {unclear} cannot be told apart; here are those of the chosen")
        return lines

    def _verdict(self) -> list[str]:
        chosen = self.chosen
        if len(self.reports) == 1:
            return [f"Seed {chosen} is the only one that finished: nothing can be said about the spread."]
        alike = [
            pair.second if pair.first == chosen else pair.first
            for pair in self.pairs
            if chosen in (pair.first, pair.second) and not pair.cer.is_clear
        ]
        told = (
            f"It cannot be told apart from {_listed(alike)}: on other recordings another might have been the best."
            if alike
            else "It can be told apart from every other."
        )
        return [
            f"Chosen: seed {chosen}, the lowest CER on {self.split}. {told}",
            f"Its figures on {self.split} are optimistic, because it was chosen by them; the mean over seeds is not.",
            f"Measure it on recordings nothing was chosen by: sori evaluate {self.folder} --data DATA --split test",
        ]

    def to_data(self) -> dict[str, Any]:
        """Everything as plain data for JSON; rates are fractions."""
        rows = []
        for seed, report in self.reports.items():
            data = report.to_data()
            rows.append({"seed": seed, "wer": data["wer"], "cer": data["cer"]})
        rows += [{"seed": seed, "failed": reason} for seed, reason in self.failed.items()]
        return {
            "split": self.split,
            "num_utterances": len(self.reports[self.chosen].utterances),
            "interval": self.reports[self.chosen].to_data()["interval"],
            "chosen": self.chosen,
            "chosen_by": f"cer on {self.split}, then wer",
            "wer": self.wer._asdict(),
            "cer": self.cer._asdict(),
            "seeds": sorted(rows, key=lambda row: row["seed"]),
            "pairs": [
                {"first": pair.first, "second": pair.second, "wer": _plain(pair.wer), "cer": _plain(pair.cer)}
                for pair in self.pairs
            ],
        }


def _spread(rates: Sequence[float]) -> Spread:
    deviation = statistics.stdev(rates) if len(rates) > 1 else None
    return Spread(statistics.fmean(rates), min(rates), max(rates), deviation)


def _plain(difference: Difference) -> dict[str, Any]:
    value, low, high = difference.absolute
    return {
        "difference": value,
        "low": low,
        "high": high,
        "share_better": difference.share_better,
        "clear": difference.is_clear,
    }


def _listed(seeds: Sequence[int]) -> str:
    names = [str(seed) for seed in seeds]
    if len(names) == 1:
        return f"seed {names[0]}"
    return f"seeds {', '.join(names[:-1])} and {names[-1]}"
