"""Do two vectors of segments tell whether the same word was said? The same-different test.

Carlin, Thomas, Jansen, Hermansky (2011), *Rapid evaluation of speech representations for spoken term discovery*: all
pairs of segments are sorted by how near their vectors are, and the average precision says how far pairs of the same
word stand in front. Chance is the share of such pairs. What is to be learnt for words of unknown voices shows when only
pairs of different speakers count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


class SameDifferent(NamedTuple):
    """Result of the test."""

    average_precision: float
    """1: every pair of the same word is nearer than every pair of different ones."""
    chance: float
    """Average precision to be expected of vectors that say nothing: the share of pairs of the same word."""
    num_same: int
    """Pairs of the same word."""
    num_pairs: int


def same_different(
    vectors: Floats, words: Sequence[str], *, speakers: Sequence[str | None] | None = None
) -> SameDifferent:
    """Average precision of telling pairs of the same word from others by the cosine of their vectors.

    Args:
        vectors: `segment dim`.
        words: of each segment.
        speakers: of each segment; only pairs of two different, known speakers count then. None: all pairs do.

    Raises:
        ValueError: no pair of the same word, or none of different words, is left.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    number = np.unique(np.asarray(words, dtype=object).astype(str), return_inverse=True)[1]
    first, second = np.triu_indices(len(unit), 1)
    if speakers is not None:
        known = np.array([s is not None for s in speakers])
        voice = np.unique(np.array([s or "" for s in speakers]), return_inverse=True)[1]
        counted = (voice[first] != voice[second]) & known[first] & known[second]
        first, second = first[counted], second[counted]
    same = number[first] == number[second]
    if not same.any() or same.all():
        whom = "" if speakers is None else " of two different speakers"
        raise ValueError(
            f"expected pairs of the same word and of different words{whom}, got {int(same.sum())} of the same among "
            f"{len(same)}; likely too few segments, words that are said once only, or recordings of one speaker"
        )
    nearness = (unit @ unit.T)[first, second]
    return SameDifferent(average_precision(nearness, same), float(same.mean()), int(same.sum()), len(same))


def average_precision(nearness: Floats, same: Bools) -> float:
    """Mean, over pairs of the same word, of the share of such pairs among those at least as near.

    Ties count together: the order among equally near pairs cannot matter.

    Args:
        nearness: of each pair; larger is nearer.
        same: whether the pair is one of the same word; at least one is.
    """
    order = np.argsort(-nearness, kind="stable")
    sorted_nearness, hits = nearness[order], np.cumsum(same[order])
    last = np.append(sorted_nearness[1:] != sorted_nearness[:-1], True)  # last of each group of equals
    found, heard = hits[last], np.flatnonzero(last) + 1
    return float((np.diff(found, prepend=0) * found / heard).sum() / found[-1])
