"""Report a run: a live line on the screen, `metrics.jsonl`, and TensorBoard if its extra is installed.

Every line of `metrics.jsonl` is a JSON object with `kind` and `step` (finished updates). Kind `train` holds averages
over the updates since the last report:

- `chance` and `max_code_perplexity`: reference values, for systems that have them;
- `loss` in nats per target, and every term of the system's loss under its own name: `contrastive` (the part of the
  loss that the chance level refers to), `chance` (where it differs from batch to batch), `correct` (accuracy),
  `code_perplexity`, `equal_share` (fraction of distractors equal to their positive), `blank_share` (fraction of frames
  predicted blank), ...;
- `grad_norm` before clipping, `lr` of the last update, `skipped` (number of updates that were not finite);
- `batch_seconds` (audio per update), `hours` (audio processed by the whole run), `hours_per_hour` (hours of audio
  processed per hour), `seconds_left`, `wait_share` (fraction of the time spent waiting for batches, on average over
  the processes; while one of them waits, the others wait for its gradients, which is not counted).

Kind `rollback` says that the run went back to update `step` when its codebook had collapsed by update `from_step`, and
multiplied its learning rate by `lr_factor`; the rows of the updates between are removed.
Kind `evaluation` holds the results of the evaluations, kind `warning` the `name`, `cause` and `cure` of a finding.
Numbers that are not finite are null.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sori.core.files import write_text
from sori.core.json_values import parsed_json
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.training.board import Board
from sori.training.watch import Facts, Finding, Report, contrastive


@dataclass
class Window:
    """Sums over the updates since the last report; plain data, stored in the checkpoint."""

    num_updates: int = 0
    skipped: int = 0
    total: float = 0.0
    count: float = 0.0
    seconds: float = 0.0
    grad_norm: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)

    def add(self, sums: Mapping[str, float], *, seconds: float, grad_norm: float, skipped: bool) -> None:
        """Add one update; of a skipped one only count and seconds. `sums` holds `total`, `count` and the terms."""
        self.num_updates += 1
        self.seconds += seconds
        if skipped:
            self.skipped += 1
            return
        self.grad_norm += grad_norm
        self.total += sums["total"]
        self.count += sums["count"]
        for name, value in sums.items():
            if name not in {"total", "count"}:
                self.terms[name] = self.terms.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Return the numbers of a report that do not depend on time; NaN if every update was skipped."""
        count = self.count or math.nan
        finite = (self.num_updates - self.skipped) or math.nan
        return {
            "loss": self.total / count,
            **{name: value / count for name, value in self.terms.items()},
            "grad_norm": self.grad_norm / finite,
            "skipped": self.skipped,
            "batch_seconds": self.seconds / max(1, self.num_updates),
        }

    def to_state(self) -> dict[str, Any]:
        """Return plain data for the checkpoint."""
        return asdict(self)


@final
class Reporter:
    """Report a run on screen, in a file and in TensorBoard. A context manager, active only in the first process.

    Args:
        folder: Run folder.
        step: Number of finished updates; later lines in the file, left by an interrupted run, are removed.
        facts: Chance level and maximal perplexity, shown beside the measured values.
        active: False: shows and writes nothing.
    """

    def __init__(self, folder: RunFolder, *, step: int, facts: Facts, active: bool = True) -> None:
        self.folder, self.step, self.facts, self.active = folder, step, facts, active
        self.console = Console(stderr=True, highlight=False, markup=False, quiet=not active)
        self._live: Live | None = None
        self._line = ""
        self._board: Board | None = None

    def __enter__(self) -> "Reporter":
        if not self.active:
            return self
        cut_metrics(self.folder.metrics, self.step)
        self._board = Board(self.folder.board, self.step)
        if self.console.is_terminal and logger.isEnabledFor(logging.INFO):
            self._live = Live(console=self.console, transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if self._board:
            self._board.close()

    def tick(self, step: int) -> None:
        """Advance the live line by one update."""
        if self._live:
            self._live.update(Text(f"{step}/{self.facts.num_steps}  {self._line}"))

    def report(self, numbers: Report, *, line: str | None = None) -> None:
        """Write a report of kind `train`; `line` replaces the default line on the screen."""
        self._line = line or format_line(numbers, self.facts)
        if not self._live:
            self.message(f"{numbers['step']:.0f}/{self.facts.num_steps}  {self._line}")
        self._write("train", numbers)

    def evaluation(self, step: int, numbers: Report) -> None:
        """Write a report of kind `evaluation`."""
        self.message(f"{step}/{self.facts.num_steps}  " + ", ".join(f"{k} {v:.4g}" for k, v in numbers.items()))
        self._write("evaluation", {"step": step, **numbers})

    def warn(self, step: int, finding: Finding) -> None:
        """Show a finding and write it to the file."""
        if self.active:
            logger.warning("WARNING at update %d, %s", step, finding)
        self._write("warning", {"step": step, "name": finding.name, "cause": finding.cause, "cure": finding.cure})

    def rolled_back(self, step: int, rollbacks: Sequence[Mapping[str, Any]]) -> None:
        """Let the file show the run up to an update, with the rollbacks so far, where it does not yet.

        Args:
            step: Number of finished updates.
            rollbacks: Rows of kind `rollback` without the kind, as stored in the checkpoint.
        """
        path = self.folder.metrics
        if not self.active or (not rollbacks and step == self.step):
            return
        rows = [row for row in read_metrics(path) if row["kind"] != "rollback" and row["step"] <= step]
        rows = sorted([*rows, *({"kind": "rollback", **one} for one in rollbacks)], key=lambda row: row["step"])
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if not path.is_file() or text != path.read_text(encoding="utf-8", errors="replace"):
            write_text(path, text)
        if step != self.step and self._board:
            self._board.close()
            self._board = Board(self.folder.board, step)
        self.step = step

    def message(self, text: str) -> None:
        """Log a line, above the live line."""
        if self.active:
            logger.info(text)

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        if not self.active:
            return
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        path = self.folder.metrics
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, **plain}) + "\n")
        except OSError as error:
            raise OSError(
                f"cannot write {path}: {error}; free some space, then repeat the command to continue from the last "
                "checkpoint"
            ) from error
        if self._board:
            numbers = {f"{kind}/{k}": v for k, v in plain.items() if isinstance(v, int | float) and k != "step"}
            self._board.add(int(values["step"]), numbers)


def format_line(numbers: Report, facts: Facts) -> str:
    """Return a report as one line for the screen."""
    parts = []
    chance = numbers.get("chance", facts.chance_nats)
    beside = "" if chance is None else f" (chance {chance:.3f})"
    parts.append(f"loss {contrastive(numbers):.3f} nats{beside}")
    if "correct" in numbers:
        parts.append(f"accuracy {numbers['correct']:.1%}")
    if "code_perplexity" in numbers:
        most = "" if facts.max_code_perplexity is None else f" of {facts.max_code_perplexity:.0f}"
        parts.append(f"codebook perplexity {numbers['code_perplexity']:.1f}{most}")
    parts += [
        f"{label} {numbers[name]:.1%}"
        for name, label in (
            ("next_correct", "next sentence"),
            ("equal_share", "equal distractors"),
            ("blank_share", "blank"),
        )
        if name in numbers
    ]
    parts += [
        f"gradient norm {numbers['grad_norm']:.2g}",
        f"lr {numbers['lr']:.2g}",
        *(
            [f"processed {numbers['hours']:.2f} h at {numbers['hours_per_hour']:.3g}x real time"]
            if numbers["hours"]
            else []
        ),
        f"waiting for data {numbers['wait_share']:.1%}",
        f"{_clock(numbers['seconds_left'])} left",
    ]
    if numbers["skipped"]:
        parts.append(f"skipped {numbers['skipped']:.0f}")
    return " | ".join(parts)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file, without a last line left incomplete by a kill."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = parsed_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            rows.append(row)
    return rows


def cut_metrics(path: Path, step: int) -> None:
    """Remove, atomically, incomplete lines and those after update `step`, which will be written again."""
    if not path.is_file():
        return
    kept = "".join(json.dumps(row) + "\n" for row in read_metrics(path) if row["step"] <= step)
    if kept != path.read_text(encoding="utf-8", errors="replace"):
        write_text(path, kept)


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
