"""Plot distances between languages by unit use, and the use of each unit by language."""

from collections.abc import Sequence

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sori.core.shapes import Float, Tensor
from sori.plots.style import BLUE, HEAT, STYLE

_MOST_NUMBERS = 12
"""Maximum number of languages for which the matrix shows numbers."""


@rc_context(STYLE)
def languages(
    names: Sequence[str],
    distances: Float[Tensor, "half other_half"],
    between: Float[Tensor, "language other_language"],
    owned: Float[Tensor, "language group unit"],
) -> Figure:
    """Plot the distances between languages as a matrix and as a map, and the units by language.

    Args:
        names: names of the languages.
        distances: distances between all halves of the languages, ordered by language; from 0 to 1.
        between: mean distances between languages; on the diagonal, between the halves of a language.
        owned: fraction of the use of each unit that each language has, languages weighted equally.
    """
    rows = 1.2 + 0.28 * len(names)
    made = Figure(figsize=(7.5, 3.4 + rows), layout="constrained")
    grid = made.add_gridspec(2, 2, height_ratios=[3.4, rows])
    _draw_matrix(made.add_subplot(grid[0, 0]), names, between)
    _draw_map(made.add_subplot(grid[0, 1]), names, distances)
    _draw_units(made.add_subplot(grid[1, :]), names, owned)
    return made


def _draw_matrix(axes: Axes, names: Sequence[str], between: Tensor) -> None:
    num = len(names)
    axes.imshow(between.numpy(), cmap=HEAT, vmin=0, vmax=float(between.max()))
    middle = float(between.max()) / 2
    for i in range(num if num <= _MOST_NUMBERS else 0):
        for j in range(num):
            colour = "white" if between[i, j] < middle else "black"
            axes.text(j, i, f"{between[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(num), names, rotation=0 if num <= _MOST_NUMBERS else 90)
    axes.set_yticks(range(num), names)
    axes.tick_params(length=0)
    axes.set(title="Distances", xlabel="diagonal: halves of one language")


def _draw_map(axes: Axes, names: Sequence[str], distances: Tensor) -> None:
    """Draw each language as a line between its halves; languages differ if their lines are further apart than long."""
    places, kept = scaled(distances)
    for number, name in enumerate(names):
        ends = places[2 * number : 2 * number + 2].tolist()
        axes.plot(*zip(*ends, strict=True), color=BLUE, marker="o", markersize=5)
        axes.annotate(name, max(ends, key=lambda end: end[1]), (0, 6), textcoords="offset points", ha="center")
    axes.margins(0.2)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title="Map", xlabel=f"this plane has {kept:.0%} of the variance", xticks=[], yticks=[])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_units(axes: Axes, names: Sequence[str], owned: Tensor) -> None:
    """Draw a column for each unit, grouped by the language that uses it most."""
    flat = owned.flatten(1)
    used = flat[:, flat.sum(0) > 0]
    owner = used.argmax(0)
    order = sorted(range(used.shape[1]), key=lambda unit: (int(owner[unit]), -float(used[owner[unit], unit])))
    image = axes.imshow(100 * used[:, order].numpy(), cmap=HEAT, vmin=0, aspect="auto", interpolation="nearest")
    mine = (flat > 0.5).sum(1).tolist()
    axes.set_yticks(range(len(names)), [f"{name}: {num} own" for name, num in zip(names, mine, strict=True)])
    num, unused = used.shape[1], flat.shape[1] - used.shape[1]
    never = f"; {unused} not used here" if unused else ""
    axes.set(title="Units by language", xlabel=f"{num} units, by the language that uses them most{never}", xticks=[])
    bar = axes.figure.colorbar(image, ax=axes, label="% of its use; line: equal use")
    bar.ax.axhline(100 / len(names), color="white", linewidth=1.5)
    bar.outline.set_visible(False)


def scaled(distances: Float[Tensor, "point other_point"]) -> tuple[Float[Tensor, "point 2"], float]:
    """Compute points in a plane by classical multidimensional scaling (Torgerson 1952).

    Returns:
        The points, and the fraction of the variance in the plane.
    """
    num = len(distances)
    centring = torch.eye(num, dtype=torch.double) - 1 / num
    inner = -centring @ distances.double().square() @ centring / 2
    values, vectors = torch.linalg.eigh(inner)
    values = values.clamp(min=0).flip(0)
    vectors = vectors.flip(1)
    # The sign of an eigenvector is arbitrary; it is fixed so that equal distances give equal maps.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    places = (vectors * largest.sign() * values.sqrt())[:, :2]
    return places, float(values[:2].sum() / values.sum().clamp(min=torch.finfo(torch.double).tiny))
