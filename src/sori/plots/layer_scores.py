"""Plot probe scores by layer, against baselines."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.plots.style import BLUE, GREEN, GREY, ORANGE, STYLE, figure


class Point(NamedTuple):
    """Score with its interval, as fractions."""

    layer: int
    value: float
    low: float
    high: float


class Panel(NamedTuple):
    """One measure."""

    title: str
    trained: Sequence[Point]
    untrained: Sequence[Point]
    levels: Mapping[str, float]
    """Baselines without layers, such as MFCC, log-mel and chance."""


@rc_context(STYLE)
def by_layer(panels: Sequence[Panel]) -> Figure:
    """Plot a panel for each measure: the trained model, its random initialisation, and baselines as lines.

    Args:
        panels: at least one panel, each with at least one trained layer.
    """
    made, every = figure([2.3] * len(panels), width=6.5)
    for axes, panel in zip(every, panels, strict=True):
        for points, colour, style, label in (
            (panel.trained, BLUE, "-", "trained"),
            (panel.untrained, GREY, "--", "random initialisation"),
        ):
            if points:
                layers = [one.layer for one in points]
                axes.plot(layers, [100 * one.value for one in points], style, color=colour, marker="o", label=label)
                low, high = ([100 * getattr(one, end) for one in points] for end in ("low", "high"))
                axes.fill_between(layers, low, high, color=colour, alpha=0.2, linewidth=0)
        for number, (name, level) in enumerate(panel.levels.items()):
            colour, style = ((ORANGE, "-."), (GREEN, ":"), (GREY, "-"))[number % 3]
            axes.axhline(100 * level, color=colour, linestyle=style, linewidth=1.2, label=name)
        axes.set(ylabel="percent", title=panel.title)
        axes.set_xticks(sorted({one.layer for one in (*panel.trained, *panel.untrained)}))
        axes.grid(visible=True, axis="y")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    every[-1].set_xlabel("layer (0: input of the first block)")
    return made
