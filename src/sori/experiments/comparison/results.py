"""What the laboratory found: one row for each representation, and their table, plain data and picture."""

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
"""Columns and where the sheet keeps them."""
CER = "CER"
FILES = JSON, TABLE, PICTURE = "lab.json", "lab.md", "lab.png"
_TITLES = {
    "phone": "frames whose phone is\nnamed right (more is better)",
    "abx within": "ABX errors within\nspeakers (less is better)",
    "abx across": "ABX errors across\nspeakers (less is better)",
    "speaker/frame": "frames whose speaker\nis named right",
    "letters": "letters read wrongly from\nfrozen vectors (less is better)",
    CER: "wrong characters\n(less is better)",
}
_DRAWN = ("phone", "abx within", "abx across", "letters", CER)


class Training(NamedTuple):
    """What a system has cost."""

    parameters: int
    """Trained ones, the objective's included."""
    updates: int
    hours_heard: float
    """Repetitions counted."""
    loss: float
    """At the end, in nats a target; what it means differs by system."""
    chance: float | None
    """The loss of a guess."""
    cpu_seconds: float
    """Of all threads."""
    seconds: float
    """By the clock."""
    device: str


class Row(NamedTuple):
    """One representation."""

    name: str
    kind: Kind
    layer: int | None
    """The one whose vectors the dev part likes best."""
    frame_ms: float
    dim: int
    scores: dict[str, Estimate]


class Gain(NamedTuple):
    """What a system's layer has over another representation at its own frames."""

    system: str
    other: str
    scores: dict[str, Estimate]
    """Differences, system minus other, in the same draws."""


class Results(NamedTuple):
    """Everything; `table`, `markdown`, `to_data` and `write` put it down."""

    title: str
    """What it is, above the picture too."""
    notes: list[str]
    trained: dict[str, Training]
    rows: list[Row]
    gains: list[Gain]
    failed: dict[str, str]
    """What went wrong, by system."""

    def table(self) -> str:
        """For the screen; percents with 95 % intervals."""
        blocks = [
            text_table.aligned(cells) for cells in (self._trainings(), self._cells(), self._gained()) if len(cells) > 1
        ]
        return "\n\n".join(["\n".join([self.title, *self.notes]), *blocks, *self._failures()])

    def markdown(self) -> str:
        """The same as Markdown."""
        blocks = [
            text_table.markdown(cells) for cells in (self._trainings(), self._cells(), self._gained()) if len(cells) > 1
        ]
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join([f"# {self.title}", notes, *blocks, *self._failures()]) + "\n"

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON; shares are fractions."""
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
        """All representations in one figure.

        Raises:
            ValueError: nothing was measured.
        """
        if panels := self._panels():
            return side_by_side(panels, title=self.title)
        raise ValueError("nothing has been measured, so there is nothing to draw")

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
        head = ["", "parameters", "updates", "hours heard", "loss", "chance", "processor min", "min by the clock"]
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


def rows_of(system: str, sheet: Mapping[str, Any]) -> list[Row]:
    """A sheet's rows for the table: the system's layer, its untrained self's, and the spectra.

    Of both, the layer whose phones are read best on the dev part, which no score comes from; without phones, the one
    whose speakers are. The lower one of equals.

    Args:
        system: its name.
        sheet: what `sheet.Sheet.to_data` gives.
    """
    lines = {line["name"]: line for line in sheet["lines"]}
    chosen = [
        _row(f"{system}{ending}", lines[sheet["best"][kind]])
        for kind, ending in (("trained", ""), ("untrained", ", untrained"))
    ]
    return chosen + [_row(name, line) for name, line in lines.items() if line["kind"] == "spectrum"]


def gains_of(system: str, sheet: Mapping[str, Any]) -> list[Gain]:
    """What the system's layer has over its untrained self and over spectra at the system's own frames.

    Args:
        system: its name.
        sheet: what `sheet.Sheet.to_data` gives.
    """
    lines = {line["name"]: line for line in sheet["lines"]}
    frame_ms = lines[sheet["best"]["trained"]]["frame_ms"]
    found = []
    for gain in sheet["gains"]:
        if lines[gain["other"]]["frame_ms"] == frame_ms:
            other = "untrained" if gain["kind"] == "untrained" else gain["other"]
            scores = {name: gain["scores"].get(name) for name in _MEASURES}
            found.append(Gain(system, other, {name: Estimate(**one) for name, one in scores.items() if one}))
    return found


def _row(name: str, line: Mapping[str, Any]) -> Row:
    found = {column: (line[key], score) for column, (key, score) in _MEASURES.items()}
    scores = {column: Estimate(**one[score]) for column, (one, score) in found.items() if one is not None}
    return Row(name, line["kind"], line["layer"], line["frame_ms"], line["dim"], scores)


def together(found: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of all systems; spectra once for each distance of frames, as the first system's sheet has them."""
    models = [row for rows in found for row in rows if row.kind != "spectrum"]
    spectra = {row.name: row for rows in reversed(found) for row in rows if row.kind == "spectrum"}
    return models + sorted(spectra.values(), key=lambda row: (row.frame_ms, row.name))
