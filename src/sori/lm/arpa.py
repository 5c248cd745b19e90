"""Read ARPA files of any size in blocks: header and words in Python, longer n-grams by compiled code.

KenLM, SRILM and IRSTLM differ in white space and in the fields that they omit; all their files are accepted.
"""

import codecs
import io
import math
import re
from array import array
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit
from sori.core.text_files import open_unpacked

_ZERO_LOG10 = -99.0  # the base-10 logarithm of 0 in files of SRILM
_LN10 = math.log(10)
_COUNT = re.compile(rb"ngram\s+(\d{1,18})\s*=\s*(\d{1,18})")
_MOST_NGRAMS = 2**31 - 2
_BLOCK_BYTES, _LONGEST_LINE = 1 << 24, 1 << 20
_ROWS = 1 << 20  # in the part of a level that is read from one block
_POWERS = 10.0 ** np.arange(23)  # the exact powers
_ERRORS = (
    "",
    "a base-10 logarithm of a probability (a number not above 0) first in the line",
    "as many words in the line as the order of the section",
    "at most one number, the back-off weight, after the words",
    "only words that are listed as 1-grams",
    "no back-off weight other than 0 in the highest order, whose n-grams are no contexts",
)
"""What the compiled parser expects, by its error code; 0: no error."""


class Level(NamedTuple):
    """The n-grams of one order, rows in any order."""

    ids: NDArray[np.int32]
    """Word numbers, `ngram position`."""
    log_prob: NDArray[np.float32]
    """Nats."""
    backoff: NDArray[np.float32]
    """Nats."""


def read(path: Path) -> tuple[list[str], list[Level]]:
    """Read words and n-grams from a file, plain or compressed.

    Memory is taken for the n-grams that are in the file, whatever its header states.

    Raises:
        ValueError: the file is not ARPA, is truncated, or has an invalid line, which the message names.
        FileNotFoundError: there is no such file.
    """
    with open_unpacked(path) as file:
        if file.peek(16).startswith(b"mmap lm"):
            raise ValueError(
                f"expected an ARPA file, got {path}, which is a KenLM binary file; its layout depends on the machine: "
                "use the ARPA file from which build_binary made it"
            )
        with ThreadPoolExecutor(1, thread_name_prefix="arpa") as pool:
            return _Reader(file, path, pool).levels()


class _Reader:
    """Reader of an ARPA file in blocks of whole lines: longer n-grams by compiled code, the rest in Python.

    A thread reads and decompresses the next block while this one is parsed.
    """

    def __init__(self, file: io.BufferedIOBase, path: Path, pool: ThreadPoolExecutor) -> None:
        self.file, self.path, self.pool = file, path, pool
        self.data, self.lines_before = b"", 0  # block, and number of lines before it
        self.position = self.last = 0  # end and start of the line that was read last
        self.following: Future[tuple[bytes, bytes]] = pool.submit(self._block)

    def levels(self) -> tuple[list[str], list[Level]]:
        """Return all words, and the n-grams of each order; raise ValueError that names an invalid line."""
        counts = self._counts()
        words, first = self._words(counts[0])
        blob, ends = np.frombuffer(b"".join(words), np.uint8), np.cumsum([len(word) for word in words])
        table = np.full(1 << (2 * len(words)).bit_length(), -1, np.int32)
        if (twice := _fill_table(table, blob, ends)) >= 0:
            raise ValueError(f"{self.path}: expected each word once among the 1-grams, got {words[twice]!r} twice")
        levels = [first]
        for order, count in enumerate(counts[1:], 2):
            if self._text() != b"\\%d-grams:" % order:
                raise self._error(f"`\\{order}-grams:` after as many {order - 1}-grams as the header states")
            levels.append(self._level(_Words(table, blob, ends), order, count, is_highest=order == len(counts)))
        if self._text() != b"\\end\\":
            raise self._error(f"\\end\\ after the {counts[-1]} {len(counts)}-grams that the header states")
        return [word.decode("utf-8", errors="replace") for word in words], levels

    def _level(self, words: "_Words", order: int, count: int, *, is_highest: bool) -> Level:
        blocks, missing = list[Level](), count
        while missing and self._fill():
            block = _empty_level(min(missing, _ROWS), order)
            text = np.frombuffer(self.data, np.uint8)
            self.position, rows, status = _parse(text, self.position, words, block, is_highest)
            missing -= rows
            if status:
                blank = self._line() == b""
                number = f"{order}-gram number {count - missing + 1} of {count}"
                if blank or self.data.startswith(b"\\", self.last):
                    raise self._error(f"{number}, as the header counts them")
                raise self._error(f"{_ERRORS[status]}, in {number}")
            blocks.append(Level(block.ids[:rows], block.log_prob[:rows], block.backoff[:rows]))
        if missing:
            self._line()
            raise self._error(f"{order}-gram number {count - missing + 1} of {count}, as the header counts them")
        return _joined(blocks, order, count)

    def _fill(self) -> bool:
        """Read the next block if all lines of the last one were read; return whether there are more lines."""
        if self.position < len(self.data):
            return True
        self.lines_before += self.data.count(b"\n")
        self.position = self.last = 0
        start, end = self.following.result()
        self.following = self.pool.submit(self._block)
        self.data = start + end
        if len(end) == _LONGEST_LINE and not end.endswith(b"\n"):
            self.last = self.data.rfind(b"\n") + 1
            raise self._error(f"at most {_LONGEST_LINE:,} bytes in a line")
        return bool(self.data)

    def _block(self) -> tuple[bytes, bytes]:
        """Return the next bytes of the file, and the rest of their last line."""
        return self.file.read(_BLOCK_BYTES), self.file.readline(_LONGEST_LINE)

    def _line(self) -> bytes | None:
        if not self._fill():
            return None
        self.last = self.position
        end = self.data.find(b"\n", self.position)
        self.position = (end if end >= 0 else len(self.data)) + 1
        return self.data[self.last : self.position].strip()

    def _text(self) -> bytes:
        """Return the next line that is not blank; empty at the end of the file."""
        while (line := self._line()) == b"":
            pass
        return line or b""

    def _error(self, expected: str) -> ValueError:
        """Return an error about the line that was read last."""
        number = self.lines_before + self.data.count(b"\n", 0, self.last) + 1
        line = self.data[self.last : self.last + 1000].partition(b"\n")[0].strip()[:80]
        got = repr(line.decode("utf-8", errors="replace")) if self.data else "the end of the file"
        return ValueError(
            f"{self.path}, line {number}: expected {expected}, got {got}; likely it was truncated or edited by hand"
        )

    def _counts(self) -> list[int]:
        while (line := self._line()) not in (b"\\data\\", codecs.BOM_UTF8 + b"\\data\\"):
            if line is None:
                raise ValueError(
                    f"{self.path}: expected an ARPA file, got a file without the line \\data\\; likely text or "
                    "another format: export the model as ARPA"
                )
        counts: list[int] = []
        while found := _COUNT.fullmatch(line := self._text()):
            if int(found[1]) != len(counts) + 1:
                raise self._error(f"`ngram {len(counts) + 1}=COUNT`")
            counts.append(int(found[2]))
            if sum(counts) > _MOST_NGRAMS:
                raise self._error(f"at most {_MOST_NGRAMS:,} n-grams in all, which are numbered in 32 bits")
        if not counts or not counts[0] or line != b"\\1-grams:":
            raise self._error("`ngram 1=COUNT`, optionally further orders, then `\\1-grams:`")
        return counts

    def _words(self, count: int) -> tuple[list[bytes], Level]:
        words, log10 = list[bytes](), array("d")
        for row in range(count):
            line = self._line() or b""
            parts = line.split()
            if len(parts) not in (2, 3):
                number = f"1-gram number {row + 1} of {count}"
                if not parts or line.startswith(b"\\"):
                    raise self._error(f"{number}, as the header counts them")
                raise self._error(f"{number}: log10 probability, word, optional back-off weight")
            words.append(parts[1])
            try:
                log_prob, backoff = float(parts[0]), float(parts[2]) if len(parts) == 3 else 0.0
            except ValueError:
                raise self._error("numbers before and after the word") from None
            if not log_prob <= 0:
                raise self._error(_ERRORS[1])
            if not backoff < math.inf:
                raise self._error(_ERRORS[3])
            log10.extend((log_prob, backoff))
        natural = (np.maximum(np.frombuffer(log10).reshape(-1, 2), _ZERO_LOG10) * _LN10).astype(np.float32)
        ids = np.arange(count, dtype=np.int32)[:, None]
        return words, Level(ids, natural[:, 0].copy(), natural[:, 1].copy())


class _Words(NamedTuple):
    """The words as a hash table, for compiled code."""

    table: NDArray[np.int32]
    """Word number of each slot, -1: empty."""
    blob: NDArray[np.uint8]
    """All words, one after another."""
    ends: NDArray[np.int64]
    """End of each word in `blob`."""


def _empty_level(count: int, order: int) -> Level:
    return Level(np.zeros((count, order), np.int32), np.zeros(count, np.float32), np.zeros(count, np.float32))


def _joined(blocks: list[Level], order: int, count: int) -> Level:
    """Return blocks as one level; they are removed from the list while they are copied, to save memory."""
    whole, first = _empty_level(count, order), 0
    while blocks:
        block = blocks.pop(0)
        end = first + len(block.ids)
        for to, source in zip(whole, block, strict=True):
            to[first:end] = source
        first = end
    return whole


@jit()
@no_type_check
def _slot(table: NDArray[np.int32], blob, ends, text, start: int, end: int) -> int:  # noqa: ANN001 - arrays of numbers
    """Return the slot of a word in the hash table, or the empty slot for it."""
    hashed = np.uint64(14695981039346656037)  # FNV-1a
    for position in range(start, end):
        hashed = (hashed ^ np.uint64(text[position])) * np.uint64(1099511628211)
    hashed ^= hashed >> np.uint64(29)
    mask = len(table) - 1
    slot = np.int64(hashed & np.uint64(mask))
    while table[slot] >= 0:
        word = table[slot]
        first = ends[word - 1] if word > 0 else 0
        size = min(ends[word] - first, end - start)
        same = 0
        while same < size and blob[first + same] == text[start + same]:
            same += 1
        if same == ends[word] - first == end - start:
            return slot
        slot = (slot + 1) & mask
    return slot


@jit()
@no_type_check
def _fill_table(table: NDArray[np.int32], blob: NDArray[np.uint8], ends: NDArray[np.int64]) -> int:
    """Insert every word; return the number of a word that occurs twice, or -1."""
    start = 0
    for word in range(len(ends)):
        slot = _slot(table, blob, ends, blob, start, ends[word])
        if table[slot] >= 0:
            return word
        table[slot] = word
        start = ends[word]
    return -1


@jit()
@no_type_check
def _number(text: NDArray[np.uint8], start: int, end: int) -> float:
    """Parse a decimal number; NaN if it is invalid. SRILM also writes the logarithm of 0 as -inf."""
    position, sign = start, 1.0
    if position < end and text[position] in (43, 45):  # + -
        sign = 44.0 - text[position]
        position += 1
    if end - position == 3 and text[position] == 105 and text[position + 1] == 110 and text[position + 2] == 102:  # inf
        return sign * np.inf
    digits, scale, num, dotted = 0.0, 0, 0, False
    while position < end and (48 <= text[position] <= 57 or (text[position] == 46 and not dotted)):
        if text[position] == 46:
            dotted = True
        else:
            digits = digits * 10 + (text[position] - 48)
            num += 1
            scale -= dotted
        position += 1
    if position < end and num and text[position] in (69, 101):  # E e
        exponent, position = _exponent(text, position, end)
        scale += exponent
    if num == 0 or position != end:
        return np.nan
    if abs(scale) >= len(_POWERS):
        return sign * digits * 10.0**scale
    return sign * (digits / _POWERS[-scale] if scale < 0 else digits * _POWERS[scale])


@jit()
@no_type_check
def _exponent(text: NDArray[np.uint8], start: int, end: int) -> tuple[int, int]:
    """Return the value of `e-12`, of at most three digits, and its end; the end is the start if it is invalid."""
    position, sign, exponent = start + 1, 1, 0
    if position < end and text[position] in (43, 45):
        sign = 44 - np.int64(text[position])
        position += 1
    first = position
    while position < end and position < first + 3 and 48 <= text[position] <= 57:
        exponent = exponent * 10 + np.int64(text[position]) - 48
        position += 1
    return (sign * exponent, position) if position > first else (0, start)


@jit()
@no_type_check
def _token(text: NDArray[np.uint8], position: int) -> tuple[int, int]:
    """Return start and end of the next token of the line; they are equal at the end of the line."""
    while position < len(text) and text[position] != 10 and (text[position] == 32 or 9 <= text[position] <= 13):
        position += 1
    start = position
    while position < len(text) and text[position] != 32 and not 9 <= text[position] <= 13:
        position += 1
    return start, position


@jit()
@no_type_check
def _parse(text, position: int, words: _Words, level: Level, is_highest) -> tuple[int, int, int]:  # noqa: ANN001
    """Fill a level from the lines of a block.

    Return the end of the last line or the start of the invalid one, the number of valid lines, and the error code.
    """
    for row in range(len(level.ids)):
        if position >= len(text):
            return position, row, 0
        begin = position
        start, stop = _token(text, position)
        value = _number(text, start, stop)
        if not value <= 0:
            return begin, row, 1
        level.log_prob[row] = max(value, -99.0) * 2.302585092994046
        for place in range(level.ids.shape[1]):
            start, stop = _token(text, stop)
            if start == stop:
                return begin, row, 2
            word = words.table[_slot(words.table, words.blob, words.ends, text, start, stop)]
            if word < 0:
                return begin, row, 4
            level.ids[row, place] = word
        start, stop = _token(text, stop)
        if start < stop:
            value = _number(text, start, stop)
            start, stop = _token(text, stop)
            if not value < np.inf or start < stop or (is_highest and value != 0):
                return begin, row, 3 if not value < np.inf or start < stop else 5
            level.backoff[row] = max(value, -99.0) * 2.302585092994046
        position = stop + 1
    return position, len(level.ids), 0
