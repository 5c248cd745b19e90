"""Plot error rates and losses of several recognisers."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.plots.style import BLUE, GREY, INK, ORANGE, STYLE, figure


@rc_context(STYLE)
def error_rates(rows: Sequence[tuple[str, float, tuple[float, float]]], *, measure: str) -> Figure:
    """Plot error rates as bars with their intervals, which the caption has to name.

    Args:
        rows: label, rate (0.25 is 25 %) and ends of the interval.
        measure: name of the error rate, for the axis.
    """
    made, (axes,) = figure([0.6 + 0.5 * len(rows)], width=5.0)
    for y, (label, rate, (low, high)) in enumerate(reversed(rows)):
        colour = BLUE if y == len(rows) - 1 else GREY
        axes.barh(y, 100 * rate, height=0.6, color=colour, label=label)
        axes.errorbar(100 * rate, y, xerr=[[100 * (rate - low)], [100 * (high - rate)]], color=INK, capsize=4, lw=1.2)
        axes.text(100 * high + 1.5, y, f"{rate:.1%}", va="center")
    axes.set_yticks(range(len(rows)), [label for label, _, _ in reversed(rows)])
    highest = max(high for _, _, (_, high) in rows)
    axes.set(xlim=(0, max(112 * highest, 10)), xlabel=f"{measure} in percent")
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    return made


@rc_context(STYLE)
def losses(curves: Sequence[tuple[str, Sequence[tuple[int, float]]]], *, ylabel: str) -> Figure:
    """Plot losses over updates, the first curve in colour, the others in grey.

    Args:
        curves: label, and (update, loss) in order.
        ylabel: name and unit of the loss.
    """
    made, (axes,) = figure([2.4])
    for number, (label, points) in enumerate(curves):
        colour, style = (BLUE, "-") if number == 0 else (GREY, ("--", ":")[number % 2 - 1])
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=style, label=label)
    axes.set(xlabel="update", ylabel=ylabel, ylim=(0, None))
    axes.grid(visible=True, axis="y")
    axes.legend()
    return made


@rc_context(STYLE)
def by_group(
    names: Sequence[str] | None,
    series: Sequence[tuple[str, Sequence[tuple[float, float, float]]]],
    *,
    what: str,
    measure: str,
) -> Figure:
    """Plot the rates of groups, such as speakers, as dots with intervals, in the order given.

    Args:
        names: names of the groups; None: only their number is shown.
        series: label, and for each group the rate (0.25 is 25 %) and the ends of its interval (NaN if there is none).
        what: kind of the groups, for the axis.
        measure: name of the rate, for the axis.
    """
    made, (axes,) = figure([2.6], width=7.5)
    styles = ((BLUE, "o"), (ORANGE, "D"))
    for number, ((label, rates), (colour, marker)) in enumerate(zip(series, styles, strict=False)):
        shift = 0.0 if len(series) == 1 else 0.3 * number - 0.15
        for x, (_, low, high) in enumerate(rates):
            axes.vlines(x + shift, 100 * low, 100 * high, color=colour, alpha=0.45, linewidth=1.2)
        values = [100 * rate for rate, _, _ in rates]
        places = [x + shift for x in range(len(rates))]
        axes.plot(places, values, marker, color=colour, markersize=4, label=label)
    count = len(series[0][1])
    if names is None:
        axes.set_xticks([])
    else:
        axes.set_xticks(range(count), names, rotation=90 if count > 8 or max(map(len, names)) > 8 else 0)
    highest = np.nanmax([ends for _, rates in series for ends in rates])
    axes.set(
        xlim=(-1, count), ylim=(0, max(105 * highest, 1)), ylabel=f"{measure} in percent", xlabel=f"{count} {what}"
    )
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    if len(series) > 1:
        axes.legend()
    return made
