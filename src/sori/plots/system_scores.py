"""Plot the scores of several systems: a row for each system, a panel for each measure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.plots.style import BLUE, GREY, ORANGE, STYLE

_STYLES = {"trained": (BLUE, "o"), "untrained": (GREY, "o"), "spectrum": (ORANGE, "D")}


class Dot(NamedTuple):
    """Score with its interval, as fractions; None if it was not measured."""

    name: str
    kind: Literal["trained", "untrained", "spectrum"]
    value: float | None
    low: float | None
    high: float | None


class Panel(NamedTuple):
    """One measure."""

    title: str
    dots: Sequence[Dot]
    """Scores; all panels have the same names in the same order."""


@rc_context(STYLE)
def side_by_side(panels: Sequence[Panel], *, title: str = "") -> Figure:
    """Plot a row for each name and a panel for each measure, with intervals as lines.

    Args:
        panels: at least one panel.
        title: title of the figure.
    """
    names = [dot.name for dot in panels[0].dots]
    made = Figure(figsize=(2.0 + 2.3 * len(panels), 1.2 + 0.28 * len(names)), layout="constrained")
    every = made.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(every, panels, strict=True):
        for y, dot in enumerate(panel.dots):
            if dot.value is None or dot.low is None or dot.high is None:
                continue
            colour, marker = _STYLES[dot.kind]
            axes.hlines(y, 100 * dot.low, 100 * dot.high, color=colour, linewidth=2, alpha=0.6)
            fill = "none" if dot.kind == "untrained" else colour
            axes.plot(100 * dot.value, y, marker, color=colour, markerfacecolor=fill, markersize=5.5)
        axes.set_title(panel.title, fontsize=9)
        axes.set(xlabel="percent")
        axes.grid(visible=True)
        axes.set_axisbelow(True)
    if title:
        made.suptitle(title, fontsize=10)
    every[0].set_yticks(range(len(names)), names)
    every[0].set_ylim(len(names) - 0.5, -0.5)  # the first at the top
    return made
