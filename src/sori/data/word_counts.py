"""From texts of any size to numbered words: how often each occurs, and the text as numbers in one file.

A line is a sentence. What is kept of the whole text is never more than a table of `max_words` different words: when it
is full, the rarest leave it, as in word2vec.c (ReduceVocab), so that counts of words that were rare at first can come
out too low.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from sori.core.config import Config
from sori.core.files import atomic_write
from sori.core.user_files import read_text
from sori.data.sources.plain_text import paragraphs

END = "</s>"
"""Word 0: the end of a sentence."""
_STRETCH = 1_000_000  # characters of a line taken at a time: some texts are one line
_LETTERS = r"[\p{L}\p{M}\u200c\u200d]"
_PLAIN = regex.compile(rf"{_LETTERS}+(?:['\u2019]{_LETTERS}+)*")
_SPACE = regex.compile(r"\s")

Sentence = list[str]
Rewrite = Callable[[Sentence], Sentence]


class TokenConfig(Config):
    """What a word is."""

    tokens: Literal["words", "spaces"] = "words"
    """`words`: letters, with apostrophes between them; `spaces`: whatever stands between white space (word2vec.c)."""
    case: Literal["lower", "keep"] = "lower"
    """word2vec.c keeps capitals; its demonstrations are on lower-case text."""


class WordCounts(NamedTuple):
    """Words by number, the most frequent first, but for `</s>`, which is 0."""

    words: tuple[str, ...]
    counts: NDArray[np.int64]

    def to_json(self) -> str:
        """For a file."""
        return json.dumps({"words": self.words, "counts": self.counts.tolist()}, ensure_ascii=False) + "\n"


def read_word_counts(path: Path) -> WordCounts:
    """Words and counts from a file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        data = json.loads(read_text(path))
        found = WordCounts(tuple(data["words"]), np.array(data["counts"], dtype=np.int64))
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected words and their counts, got damage ({error}); copy it again") from None
    if len(found.words) != len(found.counts):
        raise ValueError(f"{path}: {len(found.words)} words, but {len(found.counts)} counts; copy it again")
    return found


def sentences(paths: Iterable[str | Path], rules: TokenConfig, rewrite: Rewrite | None = None) -> Iterator[Sentence]:
    """The words of each line that has any; a very long line comes in several stretches, the last of which is empty.

    Args:
        paths: of texts, see `texts.text_files`.
        rules: what a word is.
        rewrite: what becomes of the words of a line.

    Raises:
        FileNotFoundError, ValueError: as of `texts.paragraphs`.
    """
    split = _PLAIN.findall if rules.tokens == "words" else str.split
    for line in paragraphs(paths):
        for stretch in _stretches(line):
            words = split(stretch.lower() if rules.case == "lower" else stretch)
            if words:
                yield words if rewrite is None else rewrite(words)
        if len(line) > _STRETCH:
            yield []


def count_words(found: Iterable[Sentence], *, min_count: int, max_words: int) -> WordCounts:
    """Count words; those of equal count in the order of code points.

    Args:
        found: see `sentences`.
        min_count: rarer words are left out.
        max_words: different words remembered at a time.

    Raises:
        ValueError: fewer than two words are left.
    """
    table, ends, least = Counter[str](), 0, 1
    for words in found:
        table.update(words)
        ends += 1
        while len(table) > max_words:
            table = Counter({word: count for word, count in table.items() if count > least})
            least += 1
    table.pop(END, None)  # a text that spells it means nothing by it
    kept = sorted(((w, c) for w, c in table.items() if c >= min_count), key=lambda one: (-one[1], one[0]))
    if len(kept) < 2:
        raise ValueError(
            f"expected at least two words that occur {min_count} times or more, got {len(kept)} (of {len(table):,} "
            "different words). Probably there is little text, or none; take more, or lower `--system.min-count`"
        )
    counts = np.array([ends, *(count for _, count in kept)], dtype=np.int64)
    return WordCounts((END, *(word for word, _ in kept)), counts)


def write_tokens(found: Iterable[Sentence], words: tuple[str, ...], into: Path) -> int:
    """Write the text as 32-bit numbers, a 0 after each sentence; words without a number are left out.

    The file appears whole or not at all.

    Returns:
        Numbers written.
    """
    index = {word: number for number, word in enumerate(words) if number}
    number_of, total = index.get, 0
    with atomic_write(into) as partial, partial.open("wb") as file:
        room: list[int] = []
        for sentence in found:
            known = [number for number in map(number_of, sentence) if number is not None]
            room += known
            if room and room[-1]:
                room.append(0)
            if len(room) > _STRETCH:
                total += len(room)
                np.array(room, dtype=np.int32).tofile(file)
                room = []
        total += len(room)
        np.array(room, dtype=np.int32).tofile(file)
    return total


def read_tokens(path: Path) -> NDArray[np.int32]:
    """The numbers of a file, left on the disk until they are looked at."""
    return np.memmap(path, dtype=np.int32, mode="r")


def _stretches(line: str) -> Iterator[str]:
    """A line, in pieces that end with white space."""
    begin = 0
    while len(line) - begin > _STRETCH:
        space = _SPACE.search(line, begin + _STRETCH)
        if space is None:
            break
        yield line[begin : space.start()]
        begin = space.end()
    yield line[begin:]
