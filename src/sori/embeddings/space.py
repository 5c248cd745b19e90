"""Word vectors, and nearest neighbours by cosine."""

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_SPELT_AMONG = 50_000
"""Number of most frequent words that are searched for a similar spelling."""
_ROWS_AT_ONCE = 1 << 16
"""Rows normalised at a time, which limits the memory for double precision."""


class NearestWord(NamedTuple):
    """A word near a query vector."""

    word: str
    cosine: float
    occurrences: int | None
    """Number of occurrences in the training data, where known."""


@final
class WordSpace:
    """A vector for each word.

    Args:
        words: distinct words, the most frequent first unless `counts` are given.
        vectors: `word dim`, float32, finite.
        counts: number of occurrences of each word.

    Raises:
        ValueError: numbers do not match, a word is empty or occurs twice, or a vector is not finite.
    """

    def __init__(self, words: Sequence[str], vectors: Vectors, counts: Sequence[int] | None = None) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words) or vectors.dtype != np.float32:
            raise ValueError(
                f"expected a float32 row for each of {len(words):,} words, got {vectors.dtype} of shape {vectors.shape}"
            )
        if counts is not None and len(counts) != len(words):
            raise ValueError(f"expected a count for each of {len(words):,} words, got {len(counts):,} counts")
        if not len(words) or not vectors.shape[1]:
            raise ValueError(f"expected words with vectors, got {len(words)} words of {vectors.shape[1]} dimensions")
        self.words, self.vectors = list(words), vectors
        self.counts = None if counts is None else [int(one) for one in counts]
        self.places = {word: row for row, word in enumerate(self.words)}
        """Row of each word."""
        if len(self.places) < len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self.places[word] != row)
            raise ValueError(f"the word {twice!r} occurs twice; expected one vector for each word")
        if "" in self.places:
            raise ValueError(f"word {self.places[''] + 1} is empty; expected at least one character")
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
            raise ValueError(
                f"the vector of {self.words[row]!r} contains NaN or infinity; likely the training diverged"
            )

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.places

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.vectors.shape[1])

    @cached_property
    def unit(self) -> Vectors:
        """Vectors normalised to length 1, `word dim`; zero vectors are kept."""
        return unit(self.vectors)

    @cached_property
    def by_frequency(self) -> NDArray[np.int64]:
        """Rows, the most frequent word first; without counts, in the given order."""
        rows: NDArray[np.int64] = np.arange(len(self.words))
        return rows if self.counts is None else np.argsort(-np.array(self.counts, dtype=np.int64), kind="stable")

    def row(self, word: str) -> int:
        """Return the row of a word.

        Raises:
            ValueError: there is no such word; the message names words with a similar spelling.
        """
        if word not in self.places:
            near = self.spelt_like(word)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{len(self.words):,} words have vectors"
            raise ValueError(f"there is no vector of the word {word!r}; {hint}")
        return self.places[word]

    def spelt_like(self, word: str, *, number: int = 3) -> list[str]:
        """Find words with a similar spelling: in other case, or among the most frequent words with other letters."""
        cased = [one for one in (word.lower(), word.upper(), word.title()) if one in self.places and one != word]
        frequent = (self.words[row] for row in self.by_frequency[:_SPELT_AMONG].tolist())
        alike = [one for one in frequent if abs(len(one) - len(word)) <= 3]
        near = [*cased, *difflib.get_close_matches(word, alike, n=number, cutoff=0.7)]
        return list(dict.fromkeys(near))[:number]

    def nearest(self, vector: NDArray[Any], *, number: int = 10, leave_out: Iterable[int] = ()) -> list[NearestWord]:
        """Find the words with the largest cosine to a vector, nearest first; ties in the order of rows.

        Args:
            vector: query vector, of any norm.
            number: number of words.
            leave_out: rows to exclude.
        """
        cosines = self.unit @ unit(np.asarray(vector, dtype=np.float32)[None])[0]
        cosines[list(leave_out)] = -np.inf
        number = min(number, len(cosines))
        reach = np.partition(cosines, len(cosines) - number)[len(cosines) - number] if number else np.inf
        rows = np.flatnonzero(cosines >= reach)
        order = rows[np.argsort(-cosines[rows], kind="stable")][:number]
        counts = self.counts
        return [
            NearestWord(self.words[row], float(cosines[row]), None if counts is None else counts[row])
            for row in order.tolist()
            if np.isfinite(cosines[row])
        ]

    def most_frequent(self, number: int) -> "WordSpace":
        """Return the space of the most frequent words, in the order of frequency."""
        rows = self.by_frequency[:number]
        counts = None if self.counts is None else [self.counts[row] for row in rows.tolist()]
        return WordSpace([self.words[row] for row in rows.tolist()], self.vectors[rows], counts)


def unit(vectors: Vectors) -> Vectors:
    """Normalise rows to length 1, in double precision; zero rows are kept.

    Args:
        vectors: `row dim`.
    """
    made = np.empty(vectors.shape, dtype=np.float32)
    for first in range(0, len(vectors), _ROWS_AT_ONCE):
        some = vectors[first : first + _ROWS_AT_ONCE].astype(np.float64)
        lengths = np.linalg.norm(some, axis=1, keepdims=True)
        made[first : first + _ROWS_AT_ONCE] = some / np.where(lengths > 0, lengths, 1)
    return made
