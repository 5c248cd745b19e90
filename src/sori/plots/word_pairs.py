"""Plot pairs of words in two dimensions, such as countries and capitals (Mikolov et al. 2013b, figure 2)."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sori.plots.projection import pca
from sori.plots.style import BLUE, GREY, ORANGE, STYLE, figure


@rc_context(STYLE)
def word_pairs(pairs: Sequence[tuple[str, str]], vectors: NDArray[np.float32]) -> Figure:
    """Plot the first two principal components of word vectors, with a line between the words of each pair.

    Args:
        pairs: pairs of words.
        vectors: `pair word dim`, two words per pair, of unit length.

    Raises:
        ValueError: there are fewer than two pairs.
    """
    if len(pairs) < 2:
        raise ValueError(
            f"expected two pairs of words or more, got {len(pairs)}: directions can only be compared between pairs"
        )
    projected = pca(vectors.reshape(-1, vectors.shape[-1]))
    places = projected.places[:, :2].reshape(len(pairs), 2, 2)
    made, (axes,) = figure([5.0], width=7.0)
    for pair, ends in zip(pairs, places, strict=True):
        axes.plot(*ends.T, color=GREY, linewidth=1, linestyle="--", zorder=1)
        for word, place, colour in zip(pair, ends, (BLUE, ORANGE), strict=True):
            axes.plot(*place, "o", color=colour, markersize=5, zorder=2)
            axes.annotate(word, place, xytext=(5, 4), textcoords="offset points")
    parallel = parallelism(vectors)
    axes.set(
        xlabel="first principal component",
        ylabel="second principal component",
        title=f"mean cosine of the pair differences: {parallel:.2f} in all {vectors.shape[-1]} dimensions",
    )
    axes.margins(x=0.15, y=0.1)
    return made


def parallelism(vectors: NDArray[np.float32]) -> float:
    """Return the mean cosine between the difference vectors of all pairs, in all dimensions.

    It complements the plot, whose two dimensions favour large differences. For unrelated words it is 0 on average.

    Args:
        vectors: `pair word dim`, two words per pair.
    """
    apart = vectors[:, 1].astype(np.float64) - vectors[:, 0]
    apart /= np.linalg.norm(apart, axis=1, keepdims=True).clip(1e-12)
    num = len(apart)
    return float((np.square(apart.sum(0)).sum() - num) / (num * (num - 1)))
