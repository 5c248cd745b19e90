"""Common style of the article's figures, and the files that they are made of.

A figure is a script `docs/figures/NAME.py`, which draws `docs/article/figures/NAME.svg` from the results of a run,
`docs/figures/data/NAME.json`:

    python docs/figures/NAME.py             # draws the figure; seconds
    python docs/figures/NAME.py --measure   # runs the experiment again, writes its results, then draws

    def measure() -> dict[str, Any]: ...                # experiment; a figure without one has none
    def draw(results: dict[str, Any]) -> None: ...      # calls `figure` and `save`

    def main() -> None:
        style.run("NAME", draw, measure)

Figures are cards: dark text on white, so that they can be read on light and dark pages. Text is drawn as paths, because
an SVG file in a page cannot load fonts. Not every machine has a Korean font: use symbols and few English words, and
explain them in the caption. Equal results give equal bytes: fixed names of elements, no date.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sori.core.files import atomic_write, write_text
from sori.plots.style import BLUE, GREEN, GREY, HEAT, INK, ORANGE, PURPLE, RED, STYLE

__all__ = [
    "BLUE",
    "CARD",
    "CYCLE",
    "GREEN",
    "GREY",
    "HEAT",
    "INK",
    "ORANGE",
    "PALE",
    "PURPLE",
    "RED",
    "WIDTH",
    "arrow",
    "box",
    "canvas",
    "figure",
    "read_results",
    "run",
    "save",
    "write_results",
]

WIDTH = 7.2
"""Width of every figure in inches; pages show them at the width of their text."""
CARD = "#ffffff"
"""Background."""
PALE = {BLUE: "#e3eef8", ORANGE: "#fbe9df", GREEN: "#dff2ec", PURPLE: "#f3e6f0", GREY: "#eef0f2", RED: "#fae2e5"}
"""A light tone of each colour, to fill boxes."""
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, GREY)
"""Colours of several curves, in this order; combine them with different markers or labels at the curves."""
_HERE = Path(__file__).parent
_INTO = _HERE.parent / "article" / "figures"
_ARTICLE: Any = {
    **STYLE,
    "figure.facecolor": CARD,
    "savefig.facecolor": CARD,
    "axes.facecolor": CARD,
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
    "font.family": "DejaVu Sans",  # part of matplotlib: the same paths on every machine
    "mathtext.fontset": "dejavusans",
    "text.parse_math": True,
    "axes.titlesize": 10.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "sori",
}


def run(name: str, draw: Callable[[dict[str, Any]], None], measure: Callable[[], dict[str, Any]] | None = None) -> None:
    """Run a figure's script: measure if the command line says so, then draw.

    Args:
        name: name of the script, its results and its figure.
        draw: draws the figure from the results ({} if there is no experiment).
        measure: runs the experiment and returns its results as JSON; a minute or two on one core.
    """
    parser = argparse.ArgumentParser(description=f"Draw docs/article/figures/{name}.svg.")
    if measure is not None:
        parser.add_argument("--measure", action="store_true", help="run the experiment again")
    args = parser.parse_args()
    if measure is not None and args.measure:
        write_results(name, measure())
    with mpl.rc_context(_ARTICLE):
        draw(read_results(name) if measure is not None else {})


def read_results(name: str) -> dict[str, Any]:
    """Read the results of an experiment, which `--measure` writes."""
    results: dict[str, Any] = json.loads((_HERE / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return results


def write_results(name: str, results: dict[str, Any]) -> None:
    """Write the results of an experiment with the command that repeats it; numbers with five significant digits."""
    content = {"command": f"python docs/figures/{name}.py --measure", **_rounded(results)}
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items())
    write_text(_HERE / "data" / f"{name}.json", "{\n" + ",\n".join(lines) + "\n}\n")


def figure(height: float, *, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Create a figure with axes, listed row by row.

    Args:
        height: height of the figure in inches.
        rows: number of axes below each other.
        columns: number of axes beside each other.
        options: passed to `Figure.subplots`, such as `sharey=True` or `width_ratios=[2, 1]`.
    """
    made = Figure(figsize=(WIDTH, height), layout="constrained")
    made.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr]
    return made, list(made.subplots(rows, columns, squeeze=False, **options).flat)


def canvas(height: float) -> tuple[Figure, Axes]:
    """Create a figure for a drawing of boxes and arrows: inches from the lower left corner, no axes."""
    made = Figure(figsize=(WIDTH, height))
    axes = made.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    return made, axes


def box(
    axes: Axes,
    centre: tuple[float, float],
    size: tuple[float, float],
    text: str = "",
    colour: str = BLUE,
    **options: Any,
) -> None:
    """Draw a rounded box with text; options are those of the text, such as `fontsize=9`."""
    (x, y), (width, height) = centre, size
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2 + 0.05, y - height / 2 + 0.05),
            width - 0.1,
            height - 0.1,
            boxstyle="round,pad=0.05",
            facecolor=PALE[colour],
            edgecolor=colour,
            linewidth=1.1,
        )
    )
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 9.5, **options})


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    colour: str = INK,
    bend: float = 0.0,
    dashed: bool = False,
) -> None:
    """Draw an arrow; `bend` is the curvature, positive to the right of its direction."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            color=colour,
            linewidth=1.2,
            linestyle="--" if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0,
            shrinkB=0,
        )
    )


def save(made: Figure, name: str) -> None:
    """Write `docs/article/figures/NAME.svg`."""
    with atomic_write(_INTO / f"{name}.svg") as partial:
        made.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {key: _rounded(one) for key, one in value.items()}
        case str() | bytes():
            return value
        case Sequence():
            return [_rounded(one) for one in value]
        case _:
            return value
