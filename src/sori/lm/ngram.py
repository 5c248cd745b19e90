r"""Back-off n-gram language models in arrays for compiled code; read and written as ARPA files.

Source: Katz (1987) for the back-off; SRILM's manual page ngram-format for the format. KenLM, SRILM and IRSTLM write the
same format, except for white space. Logarithms are natural in memory, base 10 in files.

    \data\
    ngram 1=3
    ...
    \2-grams:
    log10(p)    word1 word2    log10(back-off weight), omitted if it is 1
    ...
    \end\
"""

import gzip
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, final, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit
from sori.core.files import atomic_write
from sori.lm import arpa
from sori.lm.arpa import Level

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
UNKNOWN_LOG10 = -7.0
"""Base-10 log-probability of unknown words if the model has no <unk>: one in ten million."""

_UNKNOWN_NAMES = (UNKNOWN, "<UNK>")
_LN10 = math.log(10)


class Ngrams(NamedTuple):
    """A trie: node 0 is the empty context, node w + 1 the word w; the parent of a longer n-gram is its first words.

    The nodes of one order are contiguous, sorted by parent and word, and so are the children of a node.
    """

    child_start: NDArray[np.int32]
    """First child of each node; one more entry than nodes, so that child_start[node + 1] is the end of the children."""
    child_word: NDArray[np.int32]
    """Last word of each node (root: -1)."""
    log_prob: NDArray[np.float32]
    """Log-probability of each node's last word given the words before, in nats."""
    backoff: NDArray[np.float32]
    """Back-off weight of each node, for words that do not follow it in the model, in nats."""
    suffix: NDArray[np.int32]
    """Node of the longest proper suffix of each n-gram that is in the model."""


@final
class NgramModel:
    """A word (or symbol) n-gram model.

    States are nodes of the trie: the longest suffix of the previous words that is a context in the model.

    Args:
        words: words by number; one of them is <unk>.
        ngrams: the trie.
        counts: number of n-grams of each order.
        own_unknown: whether the file has <unk>; otherwise its probability is `UNKNOWN_LOG10`.
    """

    def __init__(
        self, words: Sequence[str], ngrams: Ngrams, counts: Sequence[int], *, own_unknown: bool = True
    ) -> None:
        self.words = tuple(words)
        self.ngrams = ngrams
        self.counts = tuple(counts)
        self.own_unknown = own_unknown
        self._ids = {word: number for number, word in enumerate(self.words)}
        self.unknown = next(self._ids[name] for name in _UNKNOWN_NAMES if name in self._ids)
        self.end = self._ids.get(END, -1)
        """Word number of </s>, -1 if the model has none."""
        self.start = int(_context(ngrams, self._ids[START] + 1)) if START in self._ids else 0
        """State at the beginning of a sentence."""

    @property
    def order(self) -> int:
        """Number of words of the longest n-grams."""
        return len(self.counts)

    @classmethod
    def from_levels(cls, words: Sequence[str], levels: Sequence[Level]) -> "NgramModel":
        """Make a model from its n-grams.

        Args:
            words: words by number.
            levels: n-grams by order; the rows of order 1 must be the words in their order.

        Raises:
            ValueError: an n-gram occurs twice, or its first words are missing one order below.
        """
        words, first = list(words), levels[0]
        if not np.array_equal(first.ids[:, 0], np.arange(len(words))):
            raise ValueError(f"expected the {len(words)} words in their order as 1-grams, got {len(first.ids)} others")
        if not (own_unknown := any(name in words for name in _UNKNOWN_NAMES)):
            ids = np.arange(len(words) + 1, dtype=np.int32)[:, None]
            words.append(UNKNOWN)
            low = np.float32(UNKNOWN_LOG10 * _LN10)
            first = Level(ids, np.append(first.log_prob, low), np.append(first.backoff, np.float32(0)))
        ngrams, counts = _build(words, [first, *levels[1:]])
        return cls(words, ngrams, counts, own_unknown=own_unknown)

    @classmethod
    def read(cls, path: str | Path) -> "NgramModel":
        """Read an ARPA file, plain or gzipped; more than a million n-grams a second.

        Raises:
            ValueError: the file is not ARPA, is truncated, or has an invalid line, which the message names.
            FileNotFoundError: there is no such file.
        """
        path = Path(path)
        words, levels = arpa.read(path)
        try:
            return cls.from_levels(words, levels)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def write(self, path: str | Path) -> None:
        """Write an ARPA file, gzipped if the name ends in .gz; numbers have seven digits."""
        path, ngrams = Path(path), self.ngrams
        counts = [self.counts[0] - (not self.own_unknown), *self.counts[1:]]
        parent = np.repeat(np.arange(len(ngrams.suffix)), np.diff(ngrams.child_start))
        parent = np.concatenate([[0], parent])  # of the root
        words = np.array(self.words, dtype=object)
        first = 1
        with (
            atomic_write(path) as partial,
            gzip.open(partial, "wb") if path.suffix == ".gz" else partial.open("wb") as file,
        ):
            header = "".join(f"ngram {order}={count}\n" for order, count in enumerate(counts, 1))
            file.write(f"\\data\\\n{header}".encode())
            for order, count in enumerate(counts, 1):
                file.write(f"\n\\{order}-grams:\n".encode())
                for low in range(first, first + count, 1 << 17):
                    nodes = np.arange(low, min(low + (1 << 17), first + count))
                    file.write(_lines(ngrams, words, parent, nodes, order, has_backoff=order < len(counts)))
                first += self.counts[order - 1]
            file.write(b"\n\\end\\\n")

    def word_id(self, word: str) -> int:
        """Return the number of a word, or that of <unk>."""
        return self._ids.get(word, self.unknown)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def score(self, state: int, word: int) -> tuple[float, int]:
        """Return the log-probability in nats of a word number after a state, and the next state."""
        log_prob, following = score(self.ngrams, state, word)
        return float(log_prob), int(following)

    def log_prob(self, sentence: str | Sequence[str]) -> float:
        """Return the log-probability of a sentence in nats, including its end.

        Args:
            sentence: words, or a string of words separated by spaces.
        """
        return self._score(sentence)[0]

    def perplexity(self, sentences: Iterable[str | Sequence[str]]) -> float:
        """Return the perplexity over words and sentence ends; unknown words count with the probability of <unk>.

        Raises:
            ValueError: there is no sentence.
        """
        scores = [self._score(sentence) for sentence in sentences]
        if not (count := sum(num for _, num in scores)):
            raise ValueError("expected sentences, got none; likely the text is empty, or the iterator is exhausted")
        return math.exp(-sum(total for total, _ in scores) / count)

    def _score(self, sentence: str | Sequence[str]) -> tuple[float, int]:
        words = sentence.split() if isinstance(sentence, str) else sentence
        ids = [self.word_id(word) for word in words] + ([self.end] if self.end >= 0 else [])
        total, state = 0.0, self.start
        for number in ids:
            log_prob, state = self.score(state, number)
            total += log_prob
        return total, len(ids)


@jit()
@no_type_check
def _find(ngrams: Ngrams, node: int, word: int) -> int:
    """Return the child of a node for a word, or -1."""
    if node == 0:
        return word + 1
    low, high = ngrams.child_start[node], ngrams.child_start[node + 1]
    while low < high:
        middle = (low + high) // 2
        if ngrams.child_word[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < ngrams.child_start[node + 1] and ngrams.child_word[low] == word else -1


@jit()
@no_type_check
def _context(ngrams: Ngrams, node: int) -> int:
    """Return the longest suffix of an n-gram that affects the probability of the next words."""
    while node > 0 and ngrams.child_start[node] == ngrams.child_start[node + 1] and ngrams.backoff[node] == 0:
        node = ngrams.suffix[node]
    return node


@jit()
@no_type_check
def score(ngrams: Ngrams, state: int, word: int) -> tuple[float, int]:
    """Return the log-probability in nats of a word number after a state, and the next state, for compiled callers."""
    total = 0.0
    child = _find(ngrams, state, word)
    while child < 0:
        total += ngrams.backoff[state]
        state = ngrams.suffix[state]
        child = _find(ngrams, state, word)
    return total + ngrams.log_prob[child], _context(ngrams, child)


def empty() -> Ngrams:
    """Return a trie without words, for compiled code that runs without a model."""
    none, zero = np.zeros(1, np.int32), np.zeros(1, np.float32)
    return Ngrams(np.ones(2, np.int32), none - 1, zero, zero, none)


def _build(words: Sequence[str], levels: Sequence[Level]) -> tuple[Ngrams, list[int]]:
    """Build the trie, order by order: find the parents from the root, then sort."""
    counts = [len(level.ids) for level in levels]
    num = 1 + sum(counts)
    ngrams = Ngrams(
        child_start=np.full(num + 1, num, np.int32),
        child_word=np.full(num, -1, np.int32),
        log_prob=np.zeros(num, np.float32),
        backoff=np.zeros(num, np.float32),
        suffix=np.zeros(num, np.int32),
    )
    first, before = 1, 0
    for level in levels:
        parent = _parents(ngrams, level.ids)
        if (missing := np.flatnonzero(parent < 0)).size:
            row = level.ids[missing[0]]
            raise ValueError(
                f"expected {_quote(words, row[:-1])} among the {len(row) - 1}-grams, because {_quote(words, row)} "
                "begins with it; likely the model was pruned without its contexts: prune with SRILM or KenLM"
            )
        key = parent * np.int64(len(words)) + level.ids[:, -1]
        if not np.all(key[1:] > key[:-1]):  # files of `write` are sorted
            order = np.argsort(key)
            if (twice := np.flatnonzero(np.diff(key[order]) == 0)).size:
                raise ValueError(f"expected each n-gram once, got {_quote(words, level.ids[order[twice[0]]])} twice")
            parent = parent[order]
            level = Level(level.ids[order], level.log_prob[order], level.backoff[order])  # noqa: PLW2901 - sorted
        end = first + len(parent)
        ngrams.child_word[first:end] = level.ids[:, -1]
        ngrams.log_prob[first:end] = level.log_prob
        ngrams.backoff[first:end] = level.backoff
        children = np.bincount(parent - before, minlength=first - before)
        ngrams.child_start[before : first + 1] = first + np.concatenate([[0], np.cumsum(children)])
        _link(ngrams, parent, first)
        before, first = first, end
    ngrams.child_start[before:] = num  # the longest n-grams have no children
    return ngrams, counts


def _quote(words: Sequence[str], ids: NDArray[np.int32]) -> str:
    return f'"{" ".join(words[number] for number in ids)}"'


@jit()
@no_type_check
def _parents(ngrams: Ngrams, ids: NDArray[np.int32]) -> NDArray[np.int64]:
    parent = np.zeros(len(ids), np.int64)
    for row in range(len(ids)):
        node = 0
        for position in range(ids.shape[1] - 1):
            node = _find(ngrams, node, ids[row, position])
            if node < 0:
                break
        parent[row] = node
    return parent


@jit()
@no_type_check
def _link(ngrams: Ngrams, parent: NDArray[np.int64], first: int) -> None:
    for row in range(len(parent)):
        if parent[row] == 0:
            continue  # the suffix of a single word is the empty context
        word = ngrams.child_word[first + row]
        state = ngrams.suffix[parent[row]]
        child = _find(ngrams, state, word)
        while child < 0:
            state = ngrams.suffix[state]
            child = _find(ngrams, state, word)
        ngrams.suffix[first + row] = child


def _lines(
    ngrams: Ngrams,
    words: NDArray[np.object_],
    parent: NDArray[np.int64],
    nodes: NDArray[np.int64],
    order: int,
    *,
    has_backoff: bool,
) -> bytes:
    columns, node = [], nodes
    for _ in range(order):
        columns.append(words[ngrams.child_word[node]].tolist())
        node = parent[node]
    texts = [" ".join(row) for row in zip(*columns[::-1], strict=True)]
    probs = (ngrams.log_prob[nodes].astype(np.float64) / _LN10).tolist()
    weights = (ngrams.backoff[nodes].astype(np.float64) / _LN10).tolist()
    ends = [f"\t{weight:.7g}" for weight in weights] if has_backoff else [""] * len(nodes)
    return "".join([f"{p:.7g}\t{text}{end}\n" for p, text, end in zip(probs, texts, ends, strict=True)]).encode()
