"""Word similarity: Spearman's correlation of cosines with human ratings on published lists."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.user_files import read_text

Floats = NDArray[np.floating[Any]]


class RatedPair(NamedTuple):
    """Two words and their similarity as rated by people."""

    first: str
    second: str
    score: float


class Similarity(NamedTuple):
    """Correlation of word vectors with human ratings."""

    correlation: float
    """Spearman's rho of cosines and ratings; NaN for fewer than three known pairs."""
    num_known: int
    """Number of pairs whose words both have a vector; only these count."""
    num_pairs: int
    """Number of pairs in the list."""
    low: float
    """Ends of the 95 % interval, treating the list as a sample of pairs (Bonett and Wright 2000)."""
    high: float

    def __str__(self) -> str:
        limits = f" ({self.low:.3f} to {self.high:.3f})" if math.isfinite(self.low) else ""
        return f"rho {self.correlation:.3f}{limits} on {self.num_known} of {self.num_pairs} pairs"


def by_folded(words: Sequence[str], vectors: NDArray[np.floating[Any]]) -> dict[str, Floats]:
    """Return vectors by lower-case word; for words that differ only in case, the first one's vector is used.

    Args:
        words: words, the most frequent first.
        vectors: `word dim`.
    """
    found: dict[str, Floats] = {}
    for word, row in zip(words, vectors, strict=True):
        found.setdefault(word.lower(), row)
    return found


def read_rated_pairs(path: Path) -> list[RatedPair]:
    """Read a list with two words and a score in each line, separated by white space.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line has another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a list of two words and a score in each line")
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            first, second, score = line.split()
            found.append(RatedPair(first.lower(), second.lower(), float(score)))
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: expected two words and a score, got {line[:80]!r}; likely a header line, or a "
                "list with more columns"
            ) from None
    return found


def similarity(vectors: Mapping[str, Floats], rated: Iterable[RatedPair]) -> Similarity:
    """Return Spearman's rho between cosines of word vectors and human ratings; pairs with unknown words are left out.

    Args:
        vectors: vectors by lower-case word.
        rated: pairs with human ratings.
    """
    pairs = list(rated)
    known = [one for one in pairs if one.first in vectors and one.second in vectors]
    cosines = [_cosine(vectors[one.first], vectors[one.second]) for one in known]
    rho = spearman(np.array(cosines), np.array([one.score for one in known])) if len(known) > 2 else math.nan
    return Similarity(rho, len(known), len(pairs), *_interval(rho, len(known)))


def _interval(rho: float, number: int) -> tuple[float, float]:
    """Return the interval by Fisher's transform, with the standard error for ranks of Bonett and Wright."""
    if number < 5 or not abs(rho) < 1:
        return math.nan, math.nan
    reach = 1.959964 * math.sqrt((1 + rho * rho / 2) / (number - 3))
    return math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)


def spearman(x: Floats, y: Floats) -> float:
    """Return the rank correlation, with mean ranks for ties; NaN if either argument is constant."""
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def ranks(values: Floats) -> NDArray[np.float64]:
    """Return the rank of each value, 1 for the smallest; ties get their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: NDArray[np.float64] = np.cumsum(counts).astype(np.float64)
    mean: NDArray[np.float64] = last - (counts - 1) / 2
    return mean[inverse]


def _cosine(a: Floats, b: Floats) -> float:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale else 0.0
