"""Many dimensions in three: principal components, and UMAP where it is installed; and who is really near whom."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.counts import require_count

_NUMBERS_AT_ONCE = 1 << 24
"""Cosines computed at a time: 64 MB."""
_FEWEST_FOR_UMAP = 20


class Projected(NamedTuple):
    """Points in space."""

    places: NDArray[np.float32]
    """`point axis`, three axes."""
    kept: float | None
    """Share of the variance along these axes; None: the method has none."""


def pca(vectors: NDArray[np.floating[Any]]) -> Projected:
    """The three directions in which points differ most; each points to where its largest entry is positive.

    Args:
        vectors: `point dim`; with fewer than three dimensions, the others are zero.
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
    """UMAP (McInnes, Healy and Melville 2018, arXiv 1802.03426) to three dimensions, by cosine.

    Raises:
        ValueError: it is not installed, or there are too few points.
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
    """Who is near each point."""

    rows: NDArray[np.int64]
    """`point neighbour`, nearest first."""
    cosines: NDArray[np.float32]
    """Likewise."""


def neighbours(unit: NDArray[np.float32], *, number: int = 10) -> Neighbours:
    """The other points with the greatest cosines, all compared; of equal ones, the earlier first.

    Args:
        unit: `point dim`, each of length 1.
        number: for each point; fewer where there are fewer others.
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
