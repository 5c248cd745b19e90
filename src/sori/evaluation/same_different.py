"""Same-different task: average precision of deciding from two segment vectors whether they are the same word.

Carlin, Thomas, Jansen, Hermansky (2011), *Rapid evaluation of speech representations for spoken term discovery*: all
pairs of segments are ranked by the similarity of their vectors; same-word pairs are the positives. Chance level is the
fraction of same-word pairs. Restricting the pairs to different speakers measures generalisation across speakers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


class SameDifferent(NamedTuple):
    """Result of the same-different task."""

    average_precision: float
    """1 if every same-word pair is more similar than every pair of different words."""
    chance: float
    """Expected average precision of uninformative vectors: the fraction of same-word pairs."""
    num_same: int
    """Number of same-word pairs."""
    num_pairs: int


def same_different(
    vectors: Floats, words: Sequence[str], *, speakers: Sequence[str | None] | None = None
) -> SameDifferent:
    """Return the average precision of detecting same-word pairs by the cosine of their vectors.

    Args:
        vectors: `segment dim`.
        words: word of each segment.
        speakers: speaker of each segment: only pairs of two different, known speakers are used. None: all pairs.

    Raises:
        ValueError: there is no same-word pair, or no pair of different words.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    number = np.unique(np.asarray(words, dtype=object).astype(str), return_inverse=True)[1]
    first, second = np.triu_indices(len(unit), 1)
    if speakers is not None:
        known = np.array([s is not None for s in speakers])
        speaker_number = np.unique(np.array([s or "" for s in speakers]), return_inverse=True)[1]
        counted = (speaker_number[first] != speaker_number[second]) & known[first] & known[second]
        first, second = first[counted], second[counted]
    same = number[first] == number[second]
    if not same.any() or same.all():
        condition = "" if speakers is None else " of two different speakers"
        raise ValueError(
            f"expected same-word and different-word pairs{condition}, got {int(same.sum())} same-word pairs of "
            f"{len(same)}; likely too few segments, no repeated words, or a single speaker"
        )
    similarity = (unit @ unit.T)[first, second]
    return SameDifferent(average_precision(similarity, same), float(same.mean()), int(same.sum()), len(same))


def average_precision(similarity: Floats, same: Bools) -> float:
    """Return the mean, over same-word pairs, of the precision among all pairs at least as similar.

    Tied pairs are counted together, so their order does not matter.

    Args:
        similarity: similarity of each pair.
        same: whether each pair is a same-word pair; at least one is.
    """
    order = np.argsort(-similarity, kind="stable")
    sorted_similarity, hits = similarity[order], np.cumsum(same[order])
    last = np.append(sorted_similarity[1:] != sorted_similarity[:-1], True)  # last of each group of equals
    found, retrieved = hits[last], np.flatnonzero(last) + 1
    return float((np.diff(found, prepend=0) * found / retrieved).sum() / found[-1])
