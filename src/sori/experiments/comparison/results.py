"""Results of the comparison: one row for each representation, as a table, plain data and a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from sori.core.files import write_json, write_text
from sori.evaluation import text_table
from sori.evaluation.bootstrap import Estimate
from sori.evaluation.probe_comparison import Kind, percent, points
from sori.plots.style import save_figure
from sori.plots.system_scores import Dot, Panel, side_by_side

_MEASURES = {
    "phone": ("phone", "accuracy"),
    "speaker/frame": ("speaker_frame", "accuracy"),
    "abx within": ("abx_within", "error"),
    "abx across": ("abx_across", "error"),
    "letters": ("letters", "error"),
}
"""Columns of the table, and their keys in the probing report."""
CER = "CER"
FILES = JSON, TABLE, PICTURE = "lab.json", "lab.md", "lab.png"
_TITLES = {
    "phone": "phone accuracy per frame\n(higher is better)",
    "abx within": "ABX error within speakers\n(lower is better)",
    "abx across": "ABX error across speakers\n(lower is better)",
    "speaker/frame": "speaker accuracy\nper frame",
    "letters": "CER of the letter probe on\nfrozen vectors (lower is better)",
    CER: "CER after fine-tuning\n(lower is better)",
}
_DRAWN = ("phone", "abx within", "abx across", "letters", CER)


class Training(NamedTuple):
    """Training budget, final loss and cost of a system."""

    parameters: int
    """Number of trainable parameters, including those of the objective."""
    updates: int
    hours_heard: float
    """Hours of audio processed, counting repetitions."""
    loss: float
    """Final loss in nats per target; not comparable between systems."""
    chance: float | None
    """Loss at chance level."""
    cpu_seconds: float
    """Processor time of all threads."""
    seconds: float
    """Wall-clock time."""
    device: str


class Row(NamedTuple):
    """Scores of one representation."""

    name: str
    kind: Kind
    layer: int | None
    """Layer with the best probe accuracy on the dev part."""
    frame_ms: float
    dim: int
    scores: dict[str, Estimate]


class Gain(NamedTuple):
    """Paired differences between a system's layer and another representation at the same frames."""

    system: str
    other: str
    scores: dict[str, Estimate]
    """Differences, system minus other, over the same bootstrap samples."""


class Results(NamedTuple):
    """All results of a comparison."""

    title: str
    """Title of the table and of the figure."""
    notes: list[str]
    trained: dict[str, Training]
    rows: list[Row]
    gains: list[Gain]
    failed: dict[str, str]
    """Reason of the failure, by system."""

    def table(self) -> str:
        """Format the results as text; percentages with 95 % intervals."""
        blocks = [
            text_table.aligned(cells) for cells in (self._trainings(), self._cells(), self._gained()) if len(cells) > 1
        ]
        return "\n\n".join(["\n".join([self.title, *self.notes]), *blocks, *self._failures()])

    def markdown(self) -> str:
        """Format the results as Markdown."""
        blocks = [
            text_table.markdown(cells) for cells in (self._trainings(), self._cells(), self._gained()) if len(cells) > 1
        ]
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join([f"# {self.title}", notes, *blocks, *self._failures()]) + "\n"

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON; rates are fractions."""
        rows = [
            row._asdict() | {"scores": {name: one.to_data() for name, one in row.scores.items()}} for row in self.rows
        ]
        trained = {name: one._asdict() for name, one in self.trained.items()}
        gains = [
            one._asdict() | {"scores": {name: score.to_data() for name, score in one.scores.items()}}
            for one in self.gains
        ]
        about = {"title": self.title, "notes": self.notes, "trained": trained, "rows": rows}
        return about | {"gains": gains, "failed": self.failed}

    def write(self, folder: Path) -> None:
        """`lab.json`, `lab.md` and, where there is something to draw, `lab.png`."""
        write_json(folder / JSON, self.to_data())
        write_text(folder / TABLE, self.markdown())
        if self.rows:
            save_figure(self.draw(), folder / PICTURE)

    def draw(self) -> Figure:
        """Draw all representations in one figure.

        Raises:
            ValueError: nothing was measured.
        """
        if panels := self._panels():
            return side_by_side(panels, title=self.title)
        raise ValueError("expected scores to draw, got none: every system failed before it was measured")

    def _panels(self) -> list[Panel]:
        measured = {name for row in self.rows for name in row.scores}
        shown = [name for name in _DRAWN if name in measured] or [name for name in _TITLES if name in measured]
        return [
            Panel(
                _TITLES[name],
                [
                    Dot(row.name, row.kind, *(row.scores[name][:3] if name in row.scores else (None, None, None)))
                    for row in self.rows
                ],
            )
            for name in shown
        ]

    def _tables(self) -> list[list[list[str]]]:
        return [cells for cells in (self._trainings(), self._cells(), self._gained()) if len(cells) > 1]

    def _trainings(self) -> list[list[str]]:
        head = ["", "parameters", "updates", "hours processed", "loss", "chance", "CPU min", "wall-clock min"]
        return [head] + [
            [
                name,
                f"{one.parameters:,}",
                f"{one.updates:,}",
                f"{one.hours_heard:.2f}",
                f"{one.loss:.3f}",
                "-" if one.chance is None else f"{one.chance:.3f}",
                f"{one.cpu_seconds / 60:.3g}",
                f"{one.seconds / 60:.3g}",
            ]
            for name, one in self.trained.items()
        ]

    def _cells(self) -> list[list[str]]:
        shown = [name for name in (*_MEASURES, CER) if any(name in row.scores for row in self.rows)]
        cells = [["", "layer", "ms", "dim", *shown]]
        for row in self.rows:
            layer = "-" if row.layer is None else str(row.layer)
            percents = [percent(row.scores[name]) if name in row.scores else "-" for name in shown]
            cells.append([row.name, layer, f"{row.frame_ms:g}", str(row.dim), *percents])
        return cells

    def _gained(self) -> list[list[str]]:
        shown = [name for name in _MEASURES if any(name in one.scores for one in self.gains)]
        return [["difference, paired", *shown]] + [
            [f"{one.system} - {one.other}", *(points(one.scores[n]) if n in one.scores else "-" for n in shown)]
            for one in self.gains
        ]

    def _failures(self) -> list[str]:
        return ["\n".join(f"failed: {name}: {reason}" for name, reason in self.failed.items())] if self.failed else []


def rows_of(system: str, report: Mapping[str, Any]) -> list[Row]:
    """Extract the table's rows from a probing report: the system, its random-initialisation baseline, the features.

    Both models are represented by the layer with the best phone accuracy on the dev part, which is not used for scores;
    without phones, the best speaker accuracy. Of equal layers, the lower one.

    Args:
        system: name of the system.
        report: probing report, as plain data.
    """
    lines = {line["name"]: line for line in report["lines"]}
    chosen = [
        _row(f"{system}{ending}", lines[report["best"][kind]])
        for kind, ending in (("trained", ""), ("untrained", ", untrained"))
    ]
    return chosen + [_row(name, line) for name, line in lines.items() if line["kind"] == "spectrum"]


def gains_of(system: str, report: Mapping[str, Any]) -> list[Gain]:
    """Extract differences between a system and its random-initialisation, log-mel and MFCC baselines at its frames.

    Args:
        system: name of the system.
        report: probing report, as plain data.
    """
    lines = {line["name"]: line for line in report["lines"]}
    frame_ms = lines[report["best"]["trained"]]["frame_ms"]
    found = []
    for gain in report["gains"]:
        if lines[gain["other"]]["frame_ms"] == frame_ms:
            other = "untrained" if gain["kind"] == "untrained" else gain["other"]
            scores = {name: gain["scores"].get(name) for name in _MEASURES}
            found.append(Gain(system, other, {name: Estimate(**one) for name, one in scores.items() if one}))
    return found


def _row(name: str, line: Mapping[str, Any]) -> Row:
    found = {column: (line[key], score) for column, (key, score) in _MEASURES.items()}
    scores = {column: Estimate(**one[score]) for column, (one, score) in found.items() if one is not None}
    return Row(name, line["kind"], line["layer"], line["frame_ms"], line["dim"], scores)


def merge_rows(found: Sequence[Sequence[Row]]) -> list[Row]:
    """Merge the rows of all systems; log-mel and MFCC once for each frame shift, from the first system's report."""
    models = [row for rows in found for row in rows if row.kind != "spectrum"]
    features = {row.name: row for rows in reversed(found) for row in rows if row.kind == "spectrum"}
    return models + sorted(features.values(), key=lambda row: (row.frame_ms, row.name))
