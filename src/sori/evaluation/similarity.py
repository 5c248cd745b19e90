"""Do vectors of words agree with people on which words are alike? Spearman's correlation on published lists."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.user_files import read_text

Floats = NDArray[np.floating[Any]]


class Judged(NamedTuple):
    """Two words and how alike people find them."""

    first: str
    second: str
    score: float


class Similarity(NamedTuple):
    """Agreement of vectors with people."""

    correlation: float
    """Spearman's rho of cosines and scores; NaN where fewer than three pairs are known."""
    num_known: int
    """Pairs of which both words have a vector; only these count."""
    num_pairs: int
    """In the list."""
    low: float
    """Ends of the 95 % interval, as if the list were drawn from many pairs (Bonett and Wright 2000)."""
    high: float

    def __str__(self) -> str:
        limits = f" ({self.low:.3f} to {self.high:.3f})" if math.isfinite(self.low) else ""
        return f"rho {self.correlation:.3f}{limits} on {self.num_known} of {self.num_pairs} pairs"


def by_folded(words: Sequence[str], vectors: NDArray[np.floating[Any]]) -> dict[str, Floats]:
    """Vectors by words in lower case; of words that differ in case alone, that of the first.

    Args:
        words: the most frequent first.
        vectors: `word dim`.
    """
    found: dict[str, Floats] = {}
    for word, row in zip(words, vectors, strict=True):
        found.setdefault(word.lower(), row)
    return found


def read_judged(path: Path) -> list[Judged]:
    """A list with a pair of words and a score in each line, separated by white space.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a list of two words and a score in each line")
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            first, second, score = line.split()
            found.append(Judged(first.lower(), second.lower(), float(score)))
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: expected two words and a score, got {line[:80]!r}; likely a heading, or a "
                "list with more columns"
            ) from None
    return found


def similarity(vectors: Mapping[str, Floats], judged: Iterable[Judged]) -> Similarity:
    """Spearman's rho between the cosines of word vectors and the judgements of people; unknown words are left out.

    Args:
        vectors: by word, in lower case.
        judged: what people say.
    """
    pairs = list(judged)
    known = [one for one in pairs if one.first in vectors and one.second in vectors]
    cosines = [_cosine(vectors[one.first], vectors[one.second]) for one in known]
    rho = spearman(np.array(cosines), np.array([one.score for one in known])) if len(known) > 2 else math.nan
    return Similarity(rho, len(known), len(pairs), *_interval(rho, len(known)))


def _interval(rho: float, number: int) -> tuple[float, float]:
    """Fisher's transform with the standard error that Bonett and Wright give for ranks."""
    if number < 5 or not abs(rho) < 1:
        return math.nan, math.nan
    reach = 1.959964 * math.sqrt((1 + rho * rho / 2) / (number - 3))
    return math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)


def spearman(x: Floats, y: Floats) -> float:
    """Correlation of ranks, equal values sharing their mean rank; NaN where either is constant."""
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def ranks(values: Floats) -> NDArray[np.float64]:
    """1 for the smallest; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: NDArray[np.float64] = np.cumsum(counts).astype(np.float64)
    mean: NDArray[np.float64] = last - (counts - 1) / 2
    return mean[inverse]


def _cosine(a: Floats, b: Floats) -> float:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale else 0.0
