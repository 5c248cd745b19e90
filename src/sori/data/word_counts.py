"""Count the words of texts of any size, and write the text as word numbers to one file.

A line is a sentence. At most `max_words` different words are kept in memory: when the table is full, the rarest words
are removed, as in word2vec.c (ReduceVocab), so counts of words that are rare at the beginning can be too low.
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
from sori.core.json_values import parsed_json
from sori.core.user_files import read_text
from sori.data.sources.plain_text import paragraphs

END = "</s>"
"""Word 0: the end of a sentence."""
_PART_LENGTH = 1_000_000  # characters of a line processed at a time: some texts are one line
_LETTERS = r"[\p{L}\p{M}\u200c\u200d]"
_PLAIN = regex.compile(rf"{_LETTERS}+(?:['\u2019]{_LETTERS}+)*")
_SPACE = regex.compile(r"\s")

Sentence = list[str]
Rewrite = Callable[[Sentence], Sentence]


class TokenConfig(Config):
    """Settings that define what a word is."""

    tokens: Literal["words", "spaces"] = "words"
    """`words`: letters, with apostrophes between them; `spaces`: everything between white space (word2vec.c)."""
    case: Literal["lower", "keep"] = "lower"
    """word2vec.c keeps capitals; its demonstrations use lower-case text."""


class WordCounts(NamedTuple):
    """Words by number: `</s>` is 0, then the most frequent first."""

    words: tuple[str, ...]
    counts: NDArray[np.int64]

    def to_json(self) -> str:
        """Return the content of a file for `read_word_counts`."""
        return json.dumps({"words": self.words, "counts": self.counts.tolist()}, ensure_ascii=False) + "\n"


def read_word_counts(path: Path) -> WordCounts:
    """Read words and counts from a file.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        data = parsed_json(read_text(path))
        found = WordCounts(tuple(data["words"]), np.array(data["counts"], dtype=np.int64))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected words and their counts, got damaged data ({error}); copy it again"
        ) from None
    if len(found.words) != len(found.counts):
        raise ValueError(f"{path}: {len(found.words)} words, but {len(found.counts)} counts; copy it again")
    return found


def sentences(paths: Iterable[str | Path], rules: TokenConfig, rewrite: Rewrite | None = None) -> Iterator[Sentence]:
    """Yield the words of each line that has any; a very long line is divided into parts, followed by an empty one.

    Args:
        paths: text files, see `plain_text.text_files`.
        rules: what a word is.
        rewrite: applied to the words of each line.

    Raises:
        FileNotFoundError, ValueError: as in `plain_text.paragraphs`.
    """
    split = _PLAIN.findall if rules.tokens == "words" else str.split
    for line in paragraphs(paths):
        for part in _parts(line):
            words = split(part.lower() if rules.case == "lower" else part)
            if words:
                yield words if rewrite is None else rewrite(words)
        if len(line) > _PART_LENGTH:
            yield []


def count_words(found: Iterable[Sentence], *, min_count: int, max_words: int) -> WordCounts:
    """Count words; words of equal count are sorted by code points.

    Args:
        found: from `sentences`.
        min_count: rarer words are left out.
        max_words: different words kept in memory.

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
    table.pop(END, None)  # in a text, this is an ordinary string
    kept = sorted(((w, c) for w, c in table.items() if c >= min_count), key=lambda one: (-one[1], one[0]))
    if len(kept) < 2:
        raise ValueError(
            f"expected at least two words that occur {min_count} times or more, got {len(kept)} (of {len(table):,} "
            "different words). Probably there is little text, or none; use more text, or lower `--system.min-count`"
        )
    counts = np.array([ends, *(count for _, count in kept)], dtype=np.int64)
    return WordCounts((END, *(word for word, _ in kept)), counts)


def write_tokens(found: Iterable[Sentence], words: tuple[str, ...], into: Path) -> int:
    """Write the text as 32-bit numbers, with 0 after each sentence; words without a number are left out.

    The file is written under another name and then renamed, so it is never incomplete.

    Returns:
        Count of numbers written.
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
            if len(room) > _PART_LENGTH:
                total += len(room)
                np.array(room, dtype=np.int32).tofile(file)
                room = []
        total += len(room)
        np.array(room, dtype=np.int32).tofile(file)
    return total


def read_tokens(path: Path) -> NDArray[np.int32]:
    """Return the numbers of a file as a memory map."""
    return np.memmap(path, dtype=np.int32, mode="r")


def _parts(line: str) -> Iterator[str]:
    """Divide a line into parts that end with white space."""
    begin = 0
    while len(line) - begin > _PART_LENGTH:
        space = _SPACE.search(line, begin + _PART_LENGTH)
        if space is None:
            break
        yield line[begin : space.start()]
        begin = space.end()
    yield line[begin:]
