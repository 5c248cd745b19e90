"""Count the n-grams of text files, with one sort of 64-bit keys for each order.

Text is read line by line, normalised by the rules of a recogniser's vocabulary, and stored as one array of word
numbers, `<s> w1 ... wk </s>` for each line. An n-gram of order n is a row: the number of its prefix (its first n-1
words, a row of order n-1), its last word, and the number of its suffix (its last n-1 words). Rows are sorted by prefix
and word, and thus by their words from the left.

Adjusted counts are those of Kneser-Ney smoothing as in lmplz (Heafield et al. 2013, "Scalable Modified
Kneser-Ney Language Model Estimation", section 3.1): the highest order and every n-gram that begins with <s> keep true
counts; the count of any other n-gram is the number of different words that precede it.

Memory: about 110 bytes for each word of the text at order 4, and 0.3 GiB for the libraries (benchmarks/lm_build.py).
"""

import dataclasses
import itertools
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import regex
from numpy.typing import NDArray

from sori.core.text_files import lines
from sori.text.vocabulary import WORD_BOUNDARY, Vocabulary, describe

UNK, BOS, EOS = 0, 1, 2
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")
"""Words 0, 1 and 2 of every model: unknown word, beginning and end of a sentence."""

_MAX_TOKENS = 2**31 - 1  # rows are numbered in 32 bits
_MAX_CACHED = 2_000_000  # pieces of raw text, about 200 bytes each
_LONG_PIECE = 64
_GLUED = r"\p{Grapheme_Cluster_Break=Extend}\p{Grapheme_Cluster_Break=SpacingMark}--[\p{M}\u200c\u200d]"
_GLUES_A_SPACE = regex.compile(rf"\p{{Grapheme_Cluster_Break=Prepend}}|[{_GLUED}]", regex.VERSION1)

Unit = Literal["word", "character"]


@dataclass(frozen=True)
class Tokens:
    """A text as word numbers."""

    numbers: NDArray[np.int32]
    """`<s> w1 ... wk </s>` of each line, one after another."""
    words: tuple[str, ...]
    """Words by number: `SPECIAL_WORDS`, then all others in code point order."""
    counts: NDArray[np.int64]
    """Number of occurrences of each word; for <s> and </s>, the number of lines."""


@dataclass(frozen=True)
class Unsupported:
    """A word or symbol of the text that the recogniser cannot output."""

    text: str
    count: int
    """Number of occurrences in the text, after normalisation."""
    repair: str
    """How to change the text."""


@dataclass(frozen=True)
class Ngrams:
    """All n-grams of one order; each array has one entry for each n-gram."""

    prefix: NDArray[np.int32]
    """Row of all words but the last in the next lower order, sorted in ascending order; 0 for order 1."""
    word: NDArray[np.int32]
    """The last word."""
    suffix: NDArray[np.int32]
    """Row of all words but the first in the next lower order; 0 for order 1."""
    count: NDArray[np.int64]
    """Number of occurrences."""
    adjusted: NDArray[np.int64]
    """Adjusted counts of Kneser-Ney smoothing; 0 for the 1-gram <s>, which is never predicted."""


def read(texts: Iterable[Path], *, rules: Vocabulary, unit: Unit) -> Tokens:
    """Read every line of some files as a sentence; lines without words are left out.

    Args:
        texts: UTF-8 files, one sentence or paragraph a line; .gz, .xz and .bz2 are decompressed while reading.
        rules: vocabulary with the rules of normalisation.
        unit: `word`: separated by spaces. `character`: the symbols of `Vocabulary.split`.

    Raises:
        ValueError: a file is not UTF-8 text or damaged, or there are no words or more than 2147 million.
    """
    index: dict[str, int] = {word: number for number, word in enumerate(SPECIAL_WORDS)}
    known = _Pieces(rules, unit, index)
    numbers = array("i")
    for path in texts:
        for line in lines(path):
            whole = not line.isascii() and _GLUES_A_SPACE.search(line)
            before = len(numbers)
            pieces = (line,) if whole else line.split()
            numbers.append(BOS)
            numbers.extend(itertools.chain.from_iterable(map(known.__getitem__, pieces)))
            if len(numbers) == before + 1:
                numbers.pop()
                continue
            if unit == "character":
                del numbers[
                    before + 1
                ]  # every piece begins with a word boundary, which a line does not need at its beginning
            numbers.append(EOS)
            if len(known) > _MAX_CACHED:
                known.clear()
            if len(numbers) > _MAX_TOKENS:
                raise ValueError(
                    f"expected at most {_MAX_TOKENS:,} words and sentence ends; got more, up to {path}: use less text"
                )
    if not numbers:
        raise ValueError(
            "expected text files with words, got none after normalisation. Probably the files are empty or hold only "
            "punctuation; check the files and their order on the command line."
        )
    return _in_code_point_order(np.frombuffer(numbers, dtype=np.intc), tuple(index))


def replace_unsupported(
    tokens: Tokens, vocabulary: Vocabulary, unit: Unit
) -> tuple[Tokens, list[Unsupported], list[Unsupported]]:
    """Replace every word with symbols that the recogniser lacks by <unk>; return the text, those words and symbols.

    Words are replaced rather than removed, so that the words before and after do not form false n-grams.

    Returns:
        The text, the words (none for unit `character`, where words are symbols) and the symbols, the most frequent
        first.

    Raises:
        ValueError: the recogniser cannot output any word of the text.
    """
    known = set(vocabulary.symbols)
    replaced = np.zeros(len(tokens.words), dtype=np.bool_)
    words, counts = list[Unsupported](), Counter[str]()
    for number in range(len(SPECIAL_WORDS), len(tokens.words)):
        word, times = tokens.words[number], int(tokens.counts[number])
        missing = [s for s in ([word] if unit == "character" else vocabulary.split(word)) if s not in known]
        if missing:
            replaced[number] = True
            counts.update({symbol: times * missing.count(symbol) for symbol in missing})
            if unit == "word":
                words.append(Unsupported(word, times, _repair(missing[0], known)))
    if np.count_nonzero(replaced) == len(replaced) - len(SPECIAL_WORDS):
        raise ValueError(
            f"expected text that the recogniser can output, got none: {', '.join(map(describe, list(counts)[:5]))} and "
            "others are not among its symbols. Probably text and recogniser are of different languages or alphabets."
        )
    symbols = [Unsupported(describe(symbol), times, _repair(symbol, known)) for symbol, times in counts.items()]
    for found in (words, symbols):
        found.sort(key=lambda one: (-one.count, one.text))
    return (_replace(tokens, replaced) if symbols else tokens), words, symbols


def count(tokens: Tokens, *, order: int) -> list[Ngrams]:
    """Count the n-grams of order 1 to `order`, or fewer orders if no sentence is long enough.

    No n-gram crosses the end of a sentence; <s> occurs only at the beginning of one.
    """
    num_words = len(tokens.words)
    none = np.zeros(num_words, dtype=np.int32)
    levels = [Ngrams(none, np.arange(num_words, dtype=np.int32), none, tokens.counts, tokens.counts)]
    rows = tokens.numbers.copy()  # the row of the n-gram that ends at each position
    ends = np.arange(len(rows))  # the positions where one ends
    for _ in range(order - 1):
        ends = ends[:-1] + 1  # the last position of a text is </s>, which ends all n-grams
        ends = ends[tokens.numbers[ends] != BOS]
        if not len(ends):
            break
        keys, row_of_key, occurrences = _unique(rows[ends - 1].astype(np.int64) * num_words + tokens.numbers[ends])
        suffix = np.empty(len(keys), dtype=np.int32)
        suffix[row_of_key] = rows[ends]
        rows[ends] = row_of_key
        prefix, word = (part.astype(np.int32) for part in np.divmod(keys, num_words))
        levels.append(Ngrams(prefix, word, suffix, occurrences, occurrences))
    return _adjust(levels)


def _replace(tokens: Tokens, replaced: NDArray[np.bool_]) -> Tokens:
    target = np.where(replaced, UNK, np.cumsum(~replaced) - 1).astype(np.int32)
    words = tuple(word for word, out in zip(tokens.words, replaced.tolist(), strict=True) if not out)
    numbers = target[tokens.numbers]
    return Tokens(numbers, words, np.bincount(numbers, minlength=len(words)))


def _repair(symbol: str, known: set[str]) -> str:
    base = unicodedata.normalize("NFD", symbol)[0]
    category = unicodedata.category(symbol[0])
    if base != symbol and base in known:
        return f"write {base} instead, if it is spelled like this in the transcripts"
    if category.startswith("N"):
        return "digit: write numbers as they are spoken"
    if category.startswith(("P", "S")):
        return "replace it by a space, remove it, or write what is spoken"
    script = unicodedata.name(symbol[0], "unnamed").split()[0].capitalize()
    return f"{script} letter not in the vocabulary: spell the word with letters that are, or remove the line"


def _adjust(levels: list[Ngrams]) -> list[Ngrams]:
    begins = levels[0].word == BOS  # of each row: whether it begins with <s>
    adjusted = []
    for number, level in enumerate(levels):
        if number:
            begins = begins[level.prefix]
        kept = level.count
        if number + 1 < len(levels):
            kept = np.where(begins, kept, np.bincount(levels[number + 1].suffix, minlength=len(kept)))
        if not number:
            kept = np.where(begins, 0, kept)
        adjusted.append(dataclasses.replace(level, adjusted=kept))
    return adjusted


def _unique(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Return sorted unique keys, the index of each key and its count, with half the memory of `numpy.unique`."""
    order = np.argsort(keys)
    keys = keys[order]
    first = np.empty(len(keys), dtype=np.bool_)
    first[0] = True
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    place = np.empty(len(keys), dtype=np.int32)
    place[order] = np.cumsum(first, dtype=np.int32) - 1
    del order
    starts = np.flatnonzero(first)
    return keys[starts], place, np.diff(starts, append=len(keys))


class _Pieces(dict[str, tuple[int, ...]]):
    """Cache of the word numbers of each piece of raw text between spaces.

    No rule of `Vocabulary.normalise` depends on text beyond a space, except for the few letters that form a grapheme
    cluster with the next or previous character, even a space (such as Thai sara am); lines with those are one piece.
    """

    def __init__(self, rules: Vocabulary, unit: Unit, index: dict[str, int]) -> None:
        super().__init__()
        self.rules, self.unit, self.index = rules, unit, index

    def __missing__(self, piece: str) -> tuple[int, ...]:
        if self.unit == "word":
            found = self.rules.normalise(piece).split()
        else:
            found = self.rules.split(piece)
            found = [WORD_BOUNDARY, *found] if found else []
        numbers = tuple(self._number(word) for word in found)
        if len(piece) <= _LONG_PIECE:  # whole lines are rarely repeated
            self[piece] = numbers
        return numbers

    def _number(self, word: str) -> int:
        # <s> in a text must not begin a sentence; KenLM also reads <UNK> as <unk>
        return UNK if word.lower() in SPECIAL_WORDS else self.index.setdefault(word, len(self.index))


def _in_code_point_order(numbers: NDArray[np.intc], words: tuple[str, ...]) -> Tokens:
    # the numbers do not depend on the order of the files
    head = len(SPECIAL_WORDS)
    order = [*range(head), *sorted(range(head, len(words)), key=words.__getitem__)]
    rank = np.empty(len(words), dtype=np.int32)
    rank[order] = np.arange(len(words), dtype=np.int32)
    sorted_numbers = rank[numbers]
    counts = np.bincount(sorted_numbers, minlength=len(words))
    return Tokens(sorted_numbers, tuple(words[number] for number in order), counts)
