"""One recogniser beside another."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.plots.style import BLUE, GREY, INK, STYLE, figure


@rc_context(STYLE)
def error_rates(rows: Sequence[tuple[str, float, tuple[float, float]]], *, measure: str) -> Figure:
    """Error rates as bars with their intervals.

    Args:
        rows: a label, the rate (0.25 is 25 %) and the ends of its interval.
        measure: what is counted, for the axis.
    """
    made, (axes,) = figure([0.6 + 0.5 * len(rows)], width=5.0)
    for y, (label, rate, (low, high)) in enumerate(reversed(rows)):
        colour = BLUE if y == len(rows) - 1 else GREY
        axes.barh(y, 100 * rate, height=0.6, color=colour, label=label)
        axes.errorbar(100 * rate, y, xerr=[[100 * (rate - low)], [100 * (high - rate)]], color=INK, capsize=4, lw=1.2)
        axes.text(100 * high + 1.5, y, f"{rate:.1%}", va="center")
    axes.set_yticks(range(len(rows)), [label for label, _, _ in reversed(rows)])
    highest = max(high for _, _, (_, high) in rows)
    axes.set(xlim=(0, max(112 * highest, 10)), xlabel=f"{measure} in percent, with 95% intervals")
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    return made


@rc_context(STYLE)
def losses(curves: Sequence[tuple[str, Sequence[tuple[int, float]]]], *, ylabel: str) -> Figure:
    """Losses over updates, the first curve in colour, the others in grey.

    Args:
        curves: a label, and (update, loss) in order.
        ylabel: what the loss is, with its unit.
    """
    made, (axes,) = figure([2.4])
    for number, (label, points) in enumerate(curves):
        colour, style = (BLUE, "-") if number == 0 else (GREY, ("--", ":")[number % 2 - 1])
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=style, label=label)
    axes.set(xlabel="update", ylabel=ylabel, ylim=(0, None))
    axes.grid(visible=True, axis="y")
    axes.legend()
    return made
