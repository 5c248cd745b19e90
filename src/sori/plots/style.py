"""Common style of all figures: colour-blind safe colours, light axes, no global state.

Figures have no background and draw all text and lines in `INK`, so that a page can recolour them in dark mode.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sori.core.files import atomic_write

INK = "#3b3f46"
"""Text, ticks and neutral lines."""
BLUE, ORANGE, GREEN, PURPLE, GREY = "#2f7fc1", "#e0702a", "#1f9e78", "#b0619f", "#8b9099"
"""After Okabe and Ito, with medium lightness for contrast on white and on black."""
RED = "#d43d51"
"""Colour of errors; always combined with a shape or a word."""
HEAT = "cividis"
"""Colour map of magnitudes: perceptually uniform and colour-blind safe."""

STYLE: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # names with dollar signs are no formulas
}
"""Used by each plotting function as `@rc_context(STYLE)`."""


def figure(heights: Sequence[float], *, width: float = 7.5, share_time: bool = True) -> tuple[Figure, list[Axes]]:
    """Create a figure with axes below each other.

    Args:
        heights: height of each, in inches.
        width: width of the figure, in inches.
        share_time: whether all share one horizontal axis, labelled at the bottom.
    """
    made = Figure(figsize=(width, sum(heights)), layout="constrained")
    axes = made.subplots(len(heights), sharex=share_time, squeeze=False, height_ratios=heights)
    return made, list(axes[:, 0])


def save_figure(made: Figure, path: Path) -> None:
    """Write a figure on white, whole or not at all; the extension says the format.

    Raises:
        ValueError: figures have no format of this name.
        OSError: as `atomic_write`.
    """
    known = made.canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        raise ValueError(
            f"expected the name of a figure that ends in {', '.join(f'.{name}' for name in sorted(known))}, got "
            f"{path.name!r}; likely the extension is missing or misspelt: name it {path.stem}.png"
        )
    with rc_context(STYLE), atomic_write(path) as partial:
        made.savefig(partial, facecolor="white", dpi=150)
