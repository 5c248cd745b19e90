"""Words and their vectors, searched by cosine."""

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_SPELT_AMONG = 50_000
"""Most frequent words that are looked through for one that is spelt nearly so."""
_ROWS_AT_ONCE = 1 << 16
"""Rows brought to length 1 at a time, so that double precision costs little memory."""


class Near(NamedTuple):
    """A word near what was asked for."""

    word: str
    cosine: float
    times: int | None
    """How often the word occurs in what was learnt from, where that is known."""


@final
class WordSpace:
    """A vector for each word.

    Args:
        words: all different; the most frequent first, unless `counts` say otherwise.
        vectors: `word dim`, float32, finite.
        counts: how often each word occurs.

    Raises:
        ValueError: numbers do not agree, a word stands twice or is empty, or a vector is not finite.
    """

    def __init__(self, words: Sequence[str], vectors: Vectors, counts: Sequence[int] | None = None) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words) or vectors.dtype != np.float32:
            raise ValueError(
                f"expected a float32 row for each of {len(words):,} words, got {vectors.dtype} of shape {vectors.shape}"
            )
        if counts is not None and len(counts) != len(words):
            raise ValueError(f"expected a count for each of {len(words):,} words, got {len(counts):,} counts")
        if not len(words) or not vectors.shape[1]:
            raise ValueError(f"expected words with numbers, got {len(words)} words of {vectors.shape[1]} dimensions")
        self.words, self.vectors = list(words), vectors
        self.counts = None if counts is None else [int(one) for one in counts]
        self.places = {word: row for row, word in enumerate(self.words)}
        """Row of each word."""
        if len(self.places) < len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self.places[word] != row)
            raise ValueError(f"the word {twice!r} stands twice; expected a vector for each of different words")
        if "" in self.places:
            raise ValueError(f"word {self.places[''] + 1} is empty; expected letters")
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
            raise ValueError(f"the vector of {self.words[row]!r} holds NaN or infinity; likely the training diverged")

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.places

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def unit(self) -> Vectors:
        """`word dim`: the vectors brought to length 1, a vector of zeros staying one."""
        return unit(self.vectors)

    @cached_property
    def by_frequency(self) -> NDArray[np.int64]:
        """Rows, the most frequent word first; without counts, as they stand."""
        rows: NDArray[np.int64] = np.arange(len(self.words))
        return rows if self.counts is None else np.argsort(-np.array(self.counts, dtype=np.int64), kind="stable")

    def row(self, word: str) -> int:
        """Where a word stands.

        Raises:
            ValueError: there is no such word; names those that are spelt nearly so.
        """
        if word not in self.places:
            near = self.spelt_like(word)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{len(self.words):,} words are known"
            raise ValueError(f"there is no vector of the word {word!r}; {hint}")
        return self.places[word]

    def spelt_like(self, word: str, *, number: int = 3) -> list[str]:
        """Known words that are spelt nearly like one: in other case, or with other letters among the frequent words."""
        cased = [one for one in (word.lower(), word.upper(), word.title()) if one in self.places and one != word]
        frequent = (self.words[row] for row in self.by_frequency[:_SPELT_AMONG].tolist())
        alike = [one for one in frequent if abs(len(one) - len(word)) <= 3]
        near = [*cased, *difflib.get_close_matches(word, alike, n=number, cutoff=0.7)]
        return list(dict.fromkeys(near))[:number]

    def nearest(self, vector: NDArray[Any], *, number: int = 10, leave_out: Iterable[int] = ()) -> list[Near]:
        """Words by the cosine of their vectors with one, nearest first; of equal ones, the word that stands first.

        Args:
            vector: of any length.
            number: how many.
            leave_out: rows that are no answer.
        """
        cosines = self.unit @ unit(np.asarray(vector, dtype=np.float32)[None])[0]
        cosines[list(leave_out)] = -np.inf
        number = min(number, len(cosines))
        reach = np.partition(cosines, len(cosines) - number)[len(cosines) - number] if number else np.inf
        rows = np.flatnonzero(cosines >= reach)
        order = rows[np.argsort(-cosines[rows], kind="stable")][:number]
        counts = self.counts
        return [
            Near(self.words[row], float(cosines[row]), None if counts is None else counts[row])
            for row in order.tolist()
            if np.isfinite(cosines[row])
        ]

    def most_frequent(self, number: int) -> "WordSpace":
        """The space of the most frequent words alone, in the order of frequency."""
        rows = self.by_frequency[:number]
        counts = None if self.counts is None else [self.counts[row] for row in rows.tolist()]
        return WordSpace([self.words[row] for row in rows.tolist()], self.vectors[rows], counts)


def unit(vectors: Vectors) -> Vectors:
    """Rows brought to length 1, measured in double precision; rows of zeros stay.

    Args:
        vectors: `row dim`.
    """
    made = np.empty(vectors.shape, dtype=np.float32)
    for first in range(0, len(vectors), _ROWS_AT_ONCE):
        some = vectors[first : first + _ROWS_AT_ONCE].astype(np.float64)
        lengths = np.linalg.norm(some, axis=1, keepdims=True)
        made[first : first + _ROWS_AT_ONCE] = some / np.where(lengths > 0, lengths, 1)
    return made
