"""Compare trainings that differ only in the seed: the best one, the spread, and which differences are significant.

With ten minutes of transcripts, error rates vary considerably with the seed, so a single run is not conclusive. Pairs
are compared on the same utterances by a paired bootstrap (`error_rate.compare`): "no significant difference" means that
the interval of their difference contains zero.
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
    """Differences of two seeds on the same utterances; negative: the first makes fewer errors."""

    first: int
    second: int
    wer: Difference
    cer: Difference


class Spread(NamedTuple):
    """Statistics of an error rate over seeds, as fractions."""

    mean: float
    low: float
    """Lowest rate."""
    high: float
    """Highest rate."""
    deviation: float | None
    """Standard deviation of a single training (divisor n - 1); None for one seed."""


@dataclass(frozen=True)
class SeedScores:
    """Error rates of several seeds on one test set; `table` and `to_data` format them."""

    folder: Path
    """Folder with the chosen model and a folder for each seed."""
    split: str
    """Split they were evaluated on."""
    reports: dict[int, ErrorReport]
    """Error report of each seed that finished; at least one."""
    failed: dict[int, str]
    """Reason of failure of each other seed."""

    @property
    def chosen(self) -> int:
        """Return the seed with the lowest CER; ties are broken by WER, then by order."""
        return min(self.reports, key=lambda seed: (self.reports[seed].cer.rate, self.reports[seed].wer.rate))

    @cached_property
    def pairs(self) -> list[Pair]:
        """Return the comparison of every pair of finished seeds."""
        found = []
        for first, second in itertools.combinations(self.reports, 2):
            differences = compare([self.reports[first]], [self.reports[second]])
            found.append(Pair(first, second, differences["wer"], differences["cer"]))
        return found

    @property
    def wer(self) -> Spread:
        """Return the statistics of the word error rate."""
        return _spread([report.wer.rate for report in self.reports.values()])

    @property
    def cer(self) -> Spread:
        """Return the statistics of the character error rate."""
        return _spread([report.cer.rate for report in self.reports.values()])

    def table(self) -> str:
        """Return the scores as text."""
        lines = [*self._head(), *self._rows()]
        lines += [f"seed {seed} failed and has no scores: {reason}" for seed, reason in self.failed.items()]
        return "\n".join([*lines, *self._pair_rows(), "", *self._verdict()])

    def _head(self) -> list[str]:
        report = self.reports[self.chosen]
        num_drawn = len(report.speakers) if report.unit == "speakers" else len(report.utterances)
        measured = f"{len(report.utterances):,} utterances, {report.wer.edits.total:,} words"
        return [
            f"{self.split}: {measured}; 95 % intervals over {num_drawn:,} {report.unit}",
            "All seeds are trained on the same transcripts: the spread comes from training alone.",
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
            verdict = f"seed {better} makes fewer errors" if pair.cer.is_clear else "no significant difference"
            interval = f"({low:+.2%} to {high:+.2%})"
            lines.append(f"{f'{pair.first} - {pair.second}':>10}{value:+9.2%}  {interval:22}{verdict}")
        if len(shown) < len(self.pairs):
            unclear = sum(not pair.cer.is_clear for pair in self.pairs)
            lines.append(f"{unclear} of {len(self.pairs)} pairs do not differ significantly; shown: the chosen seed")
        return lines

    def _verdict(self) -> list[str]:
        chosen = self.chosen
        if len(self.reports) == 1:
            return [f"Seed {chosen} is the only one that finished: the spread is unknown."]
        alike = [
            pair.second if pair.first == chosen else pair.first
            for pair in self.pairs
            if chosen in (pair.first, pair.second) and not pair.cer.is_clear
        ]
        summary = (
            f"It does not differ significantly from {_listed(alike)}: on other recordings another seed may be better."
            if alike
            else "It differs significantly from every other seed."
        )
        return [
            f"Chosen: seed {chosen}, the lowest CER on {self.split}. {summary}",
            f"Its rates on {self.split} are optimistic, because it was selected on them; the mean over seeds is not.",
            f"Evaluate it on recordings not used for selection: sori evaluate {self.folder} --data DATA --split test",
        ]

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON; rates are fractions."""
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
