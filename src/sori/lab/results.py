"""What the laboratory found: one row for each representation, and their table, plain data and picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from sori.evaluation.bootstrap import Estimate
from sori.plots.systems import Dot, Panel, side_by_side

_MEASURES = {
    "phone": ("phone", "accuracy"),
    "speaker/frame": ("speaker_frame", "accuracy"),
    "ABX within": ("abx_within", "error"),
    "ABX across": ("abx_across", "error"),
}
"""Columns and where the sheet keeps them."""
CER = "CER"
_TITLES = {
    "phone": "frames whose phone is\nnamed right (more is better)",
    "ABX within": "ABX errors within\nspeakers (less is better)",
    "ABX across": "ABX errors across\nspeakers (less is better)",
    "speaker/frame": "frames whose speaker\nis named right",
    CER: "wrong characters\n(less is better)",
}
_DRAWN = ("phone", "ABX within", "ABX across", CER)

Kind = Literal["trained", "untrained", "spectrum"]


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


class Results(NamedTuple):
    """Everything; `table`, `markdown`, `to_data` and `write` put it down."""

    title: str
    """What it is, above the picture too."""
    notes: list[str]
    trained: dict[str, Training]
    rows: list[Row]
    failed: dict[str, str]
    """What went wrong, by system."""

    def table(self) -> str:
        """For the screen; percents with 95 % intervals."""
        blocks = [_aligned(cells) for cells in (self._trainings(), self._cells()) if len(cells) > 1]
        return "\n\n".join(["\n".join([self.title, *self.notes]), *blocks, *self._failures()])

    def markdown(self) -> str:
        """The same as Markdown."""
        blocks = [_markdown(cells) for cells in (self._trainings(), self._cells()) if len(cells) > 1]
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join([f"# {self.title}", notes, *blocks, *self._failures()]) + "\n"

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON; shares are fractions."""
        rows = [
            row._asdict() | {"scores": {name: one.to_data() for name, one in row.scores.items()}} for row in self.rows
        ]
        trained = {name: one._asdict() for name, one in self.trained.items()}
        return {"title": self.title, "notes": self.notes, "trained": trained, "rows": rows, "failed": self.failed}

    def write(self, folder: Path) -> None:
        """`lab.json`, `lab.md` and, where there is something to draw, `lab.png`."""
        text = json.dumps(self.to_data(), ensure_ascii=False, indent=1)
        (folder / "lab.json").write_text(text + "\n", encoding="utf-8")
        (folder / "lab.md").write_text(self.markdown(), encoding="utf-8")
        if self.rows:
            self.draw().savefig(folder / "lab.png", facecolor="white", dpi=150)

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
            percents = [_percent(row.scores[name]) if name in row.scores else "-" for name in shown]
            cells.append([row.name, layer, f"{row.frame_ms:g}", str(row.dim), *percents])
        return cells

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
    lines = [line for line in sheet["lines"] if line["kind"] != "spectrum"]
    chosen = []
    for kind, ending in (("trained", ""), ("untrained", ", untrained")):
        found = [line for line in lines if line["kind"] == kind]
        chosen.append(_row(f"{system}{ending}", max(found, key=_on_dev)))
    return chosen + [_row(line["name"], line) for line in sheet["lines"] if line["kind"] == "spectrum"]


def _on_dev(line: Mapping[str, Any]) -> float:
    return float((line["phone"] or line["speaker_frame"])["dev_share"])


def _row(name: str, line: Mapping[str, Any]) -> Row:
    found = {column: (line[key], score) for column, (key, score) in _MEASURES.items()}
    scores = {column: Estimate(**one[score]) for column, (one, score) in found.items() if one is not None}
    return Row(name, line["kind"], line["layer"], line["frame_ms"], line["dim"], scores)


def together(found: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of all systems; spectra once for each distance of frames, as the first system's sheet has them."""
    models = [row for rows in found for row in rows if row.kind != "spectrum"]
    spectra = {row.name: row for rows in reversed(found) for row in rows if row.kind == "spectrum"}
    return models + sorted(spectra.values(), key=lambda row: (row.frame_ms, row.name))


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})"


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def _markdown(cells: Sequence[Sequence[str]]) -> str:
    head, *rows = cells
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows))
