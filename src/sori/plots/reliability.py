"""Reliability diagram of word confidences."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.plots.style import BLUE, GREY, STYLE, figure


@rc_context(STYLE)
def reliability(
    rows: Sequence[tuple[float, float, float, float]], confidences: Sequence[float], *, caption: str
) -> Figure:
    """Plot word accuracy against confidence, and a histogram of the confidences below.

    Args:
        rows: for each group of words its mean confidence, its accuracy, and the ends of the interval of the accuracy.
        confidences: confidence of every word, from 0 to 1.
        caption: title of the figure; it may contain line breaks.
    """
    made, (axes, below) = figure([4.2, 1.5], width=5.0)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfect calibration")
    stated, right = [row[0] for row in rows], [row[1] for row in rows]
    errors = [[max(0.0, row[1] - row[2]) for row in rows], [max(0.0, row[3] - row[1]) for row in rows]]
    axes.errorbar(stated, right, yerr=errors, color=BLUE, marker="o", markersize=4, capsize=2, lw=1, label="observed")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="fraction of correct words")
    axes.set_title(caption, fontsize=9, fontweight="normal")
    axes.grid(visible=True)
    axes.legend(loc="upper left")
    below.hist(confidences, bins=40, range=(0, 1), color=BLUE, alpha=0.7)
    below.set(xlabel="confidence", ylabel="words")
    below.grid(visible=True, axis="y")
    return made
