"""From text files to counts of n-grams, one sort of 64-bit keys for each order.

Text is read line by line, normalised as a recogniser's vocabulary demands, and kept as one array of word numbers,
`<s> w1 ... wk </s>` for each line. An n-gram of order n is a row: the number of its prefix (its first n-1 words, a row
of order n-1), its last word, the number of its suffix (its last n-1 words). Rows are sorted by prefix and word, hence
by their words from the left.

Adjusted counts are those of Kneser-Ney smoothing as lmplz has them (Heafield et al. 2013, "Scalable Modified
Kneser-Ney Language Model Estimation", section 3.1): the highest order and every n-gram that begins with <s> keep true
counts; any other n-gram is counted once for each different word that stood before it.

Memory: about 110 bytes for each word of the text at order 4, beside 0.3 GiB for the libraries (benchmarks/lm_build.py).
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

from sori.data.sources.plain_text import lines
from sori.text.vocabulary import WORD_BOUNDARY, Vocabulary, describe

UNK, BOS, EOS = 0, 1, 2
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")
"""Words 0, 1 and 2 of every model: any word not listed, beginning and end of a sentence."""

_MAX_TOKENS = 2**31 - 1  # rows are numbered in 32 bits
_MAX_REMEMBERED = 2_000_000  # pieces of raw text, about 200 bytes each
_LONG_PIECE = 64
_GLUED = r"\p{Grapheme_Cluster_Break=Extend}\p{Grapheme_Cluster_Break=SpacingMark}--[\p{M}\u200c\u200d]"
_GLUES_A_SPACE = regex.compile(rf"\p{{Grapheme_Cluster_Break=Prepend}}|[{_GLUED}]", regex.VERSION1)

Unit = Literal["word", "character"]


@dataclass(frozen=True)
class Tokens:
    """A text as numbers."""

    numbers: NDArray[np.int32]
    """`<s> w1 ... wk </s>` of one line after another."""
    words: tuple[str, ...]
    """By number: `SPECIAL_WORDS`, then all others in code point order."""
    counts: NDArray[np.int64]
    """By number: occurrences. Those of <s> and of </s> are the number of lines."""


@dataclass(frozen=True)
class Unwritable:
    """A word or a symbol of the text that the recogniser cannot write."""

    text: str
    count: int
    """Occurrences in the text, after normalisation."""
    repair: str
    """What to do about it."""


@dataclass(frozen=True)
class Ngrams:
    """All n-grams of one order; arrays have one entry for each."""

    prefix: NDArray[np.int32]
    """Row of the order below: all words but the last. Never falls from row to row. 0 for order 1."""
    word: NDArray[np.int32]
    """The last word."""
    suffix: NDArray[np.int32]
    """Row of the order below: all words but the first. 0 for order 1."""
    count: NDArray[np.int64]
    """True occurrences."""
    adjusted: NDArray[np.int64]
    """What Kneser-Ney smoothing counts; 0 for <s> alone, which nothing predicts."""


def read(texts: Iterable[Path], *, rules: Vocabulary, unit: Unit) -> Tokens:
    """Every line of some files as a sentence; lines without words are left out.

    Args:
        texts: UTF-8 files, one sentence or paragraph a line; names in .gz, .xz and .bz2 are unpacked on the fly.
        rules: how to normalise; its symbols are not looked at.
        unit: `word`: what stands between spaces. `character`: the symbols of `Vocabulary.split`.

    Raises:
        ValueError: a file is not UTF-8 text or damaged, no words were found, or more than 2147 million of them.
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
                del numbers[before + 1]  # every piece begins with a boundary, the first of a line has none
            numbers.append(EOS)
            if len(known) > _MAX_REMEMBERED:
                known.clear()
            if len(numbers) > _MAX_TOKENS:
                raise ValueError(
                    f"expected at most {_MAX_TOKENS:,} words and sentence ends; got more in {path}: take less"
                )
    if not numbers:
        raise ValueError(
            "expected text files with words, got none after normalisation. Probably the files are empty or hold only "
            "punctuation; check the files and their order on the command line."
        )
    return _in_code_point_order(np.frombuffer(numbers, dtype=np.intc), tuple(index))


def without_unwritable(
    tokens: Tokens, vocabulary: Vocabulary, unit: Unit
) -> tuple[Tokens, list[Unwritable], list[Unwritable]]:
    """The text with every word that a recogniser cannot spell as <unk>; those words and the symbols it lacks.

    A word is refused rather than left out: what stands around it must not become neighbours.

    Returns:
        The text, the words (none for unit `character`, where words are symbols) and the symbols, the most frequent
        first.

    Raises:
        ValueError: the recogniser can write no word of the text.
    """
    known = set(vocabulary.symbols)
    refused = np.zeros(len(tokens.words), dtype=np.bool_)
    words, counts = list[Unwritable](), Counter[str]()
    for number in range(len(SPECIAL_WORDS), len(tokens.words)):
        word, times = tokens.words[number], int(tokens.counts[number])
        missing = [s for s in ([word] if unit == "character" else vocabulary.split(word)) if s not in known]
        if missing:
            refused[number] = True
            counts.update({symbol: times * missing.count(symbol) for symbol in missing})
            if unit == "word":
                words.append(Unwritable(word, times, _repair(missing[0], known)))
    if np.count_nonzero(refused) == len(refused) - len(SPECIAL_WORDS):
        raise ValueError(
            f"expected text that the recogniser can write, got none: {', '.join(map(describe, list(counts)[:5]))} and "
            "others are not among its symbols. Probably text and recogniser are of different languages or alphabets."
        )
    symbols = [Unwritable(describe(symbol), times, _repair(symbol, known)) for symbol, times in counts.items()]
    for found in (words, symbols):
        found.sort(key=lambda one: (-one.count, one.text))
    return (_refuse(tokens, refused) if symbols else tokens), words, symbols


def count(tokens: Tokens, *, order: int) -> list[Ngrams]:
    """The n-grams of order 1 up to `order`; fewer, if no sentence is long enough.

    No n-gram goes over the border of a sentence; <s> stands only at the beginning of one.
    """
    num_words = len(tokens.words)
    none = np.zeros(num_words, dtype=np.int32)
    levels = [Ngrams(none, np.arange(num_words, dtype=np.int32), none, tokens.counts, tokens.counts)]
    rows = tokens.numbers.copy()  # the row of the n-gram that ends at each place
    ends = np.arange(len(rows))  # the places where one ends
    for _ in range(order - 1):
        ends = ends[:-1] + 1  # the last place of a text is </s>: nothing follows
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


def _refuse(tokens: Tokens, refused: NDArray[np.bool_]) -> Tokens:
    target = np.where(refused, UNK, np.cumsum(~refused) - 1).astype(np.int32)
    words = tuple(word for word, out in zip(tokens.words, refused.tolist(), strict=True) if not out)
    numbers = target[tokens.numbers]
    return Tokens(numbers, words, np.bincount(numbers, minlength=len(words)))


def _repair(symbol: str, known: set[str]) -> str:
    base = unicodedata.normalize("NFD", symbol)[0]
    category = unicodedata.category(symbol[0])
    if base != symbol and base in known:
        return f"write {base} instead, if that is how it is spelled in the transcripts"
    if category.startswith("N"):
        return "figures: write numbers as they are spoken"
    if category.startswith(("P", "S")):
        return "write a space in its place, leave it out, or write what is spoken"
    script = unicodedata.name(symbol[0], "unnamed").split()[0].capitalize()
    return f"{script} letter it never learnt: spell the word in letters it knows, or leave the line out"


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
    """Like `numpy.unique`, whose inverse takes twice the memory: sorted keys, the place of each, how often each."""
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
    """What a piece of raw text between spaces stands for, worked out once for each that occurs.

    No rule of `Vocabulary.normalise` looks over a space, save for the few letters that make one grapheme cluster with
    what follows or goes before, spaces included (Thai sara am is one); lines with those are taken whole.
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
        if len(piece) <= _LONG_PIECE:  # a whole line hardly comes again
            self[piece] = numbers
        return numbers

    def _number(self, word: str) -> int:
        # a text that says <s> must not begin a sentence; KenLM takes <UNK> for <unk> too
        return UNK if word.lower() in SPECIAL_WORDS else self.index.setdefault(word, len(self.index))


def _in_code_point_order(numbers: NDArray[np.intc], words: tuple[str, ...]) -> Tokens:
    # whatever the order of the files, the same numbers
    head = len(SPECIAL_WORDS)
    order = [*range(head), *sorted(range(head, len(words)), key=words.__getitem__)]
    rank = np.empty(len(words), dtype=np.int32)
    rank[order] = np.arange(len(words), dtype=np.int32)
    sorted_numbers = rank[numbers]
    counts = np.bincount(sorted_numbers, minlength=len(words))
    return Tokens(sorted_numbers, tuple(words[number] for number in order), counts)
