"""Project vectors to three dimensions by PCA or UMAP, and find nearest neighbours in all dimensions."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.counts import require_count

_NUMBERS_AT_ONCE = 1 << 24
"""Cosines computed at a time: 64 MB."""
_FEWEST_FOR_UMAP = 20


class Projected(NamedTuple):
    """Points in three dimensions."""

    places: NDArray[np.float32]
    """`point axis`, with three axes."""
    kept: float | None
    """Fraction of the variance along these axes; None for UMAP."""


def pca(vectors: NDArray[np.floating[Any]]) -> Projected:
    """Project points to their first three principal components; the largest entry of each axis is positive.

    Args:
        vectors: `point dim`; with fewer than three dimensions, the remaining coordinates are zero.
    """
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(-values)[:3]
    chosen = axes[:, order]
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(0), np.arange(len(order))])
    places = np.zeros((len(vectors), 3), dtype=np.float32)
    places[:, : len(order)] = centred @ chosen
    total = float(values.clip(0).sum())
    return Projected(places, float(values[order].clip(0).sum()) / total if total else 1.0)


def umap(vectors: NDArray[np.floating[Any]], *, seed: int = 0) -> Projected:
    """Project points to three dimensions by UMAP with cosine distance (McInnes et al. 2018, arXiv 1802.03426).

    Raises:
        ValueError: UMAP is not installed, or there are too few points.
    """
    try:
        from umap import UMAP
    except ImportError:
        raise ValueError("UMAP is not installed: `pip install 'sori[umap]'`, or leave out --umap") from None
    if len(vectors) < _FEWEST_FOR_UMAP:
        raise ValueError(f"UMAP needs {_FEWEST_FOR_UMAP} points or more, got {len(vectors)}; leave out --umap")
    made = UMAP(n_components=3, metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors)
    return Projected(np.asarray(made, dtype=np.float32), None)


class Neighbours(NamedTuple):
    """Nearest neighbours of each point."""

    rows: NDArray[np.int64]
    """`point neighbour`: row numbers, nearest first."""
    cosines: NDArray[np.float32]
    """`point neighbour`: their cosines."""


def neighbours(unit: NDArray[np.float32], *, number: int = 10) -> Neighbours:
    """Find the other points with the highest cosines by exhaustive search; ties are in row order.

    Args:
        unit: `point dim`, of unit length.
        number: neighbours of each point; limited by the number of other points.
    """
    require_count("number of neighbours", number)
    number = min(number, len(unit) - 1)
    rows = np.zeros((len(unit), number), dtype=np.int64)
    cosines = np.zeros((len(unit), number), dtype=np.float32)
    at_once = max(1, _NUMBERS_AT_ONCE // len(unit))
    for first in range(0, len(unit) if number else 0, at_once):
        some = unit[first : first + at_once] @ unit.T
        own = np.arange(len(some))
        some[own, first + own] = -np.inf
        near = np.argpartition(-some, number - 1, axis=1)[:, :number]
        near.sort(axis=1)
        values = np.take_along_axis(some, near, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[first : first + at_once] = np.take_along_axis(near, order, 1)
        cosines[first : first + at_once] = np.take_along_axis(values, order, 1)
    return Neighbours(rows, cosines)
