"""Read ARPA files of any size: header and words in Python, longer n-grams by compiled code.

KenLM, SRILM and IRSTLM differ in white space and in the fields that they omit; all their files are accepted.
"""

import gzip
import math
import mmap
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit
from sori.core.user_files import open_bytes, read_bytes

_ZERO_LOG10 = -99.0  # the base-10 logarithm of 0 in files of SRILM
_LN10 = math.log(10)
_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)")
_POWERS = 10.0 ** np.arange(23)  # the exact powers
_ERRORS = (
    "",
    "a base-10 logarithm of a probability (a number not above 0) first in the line",
    "as many words in the line as the order of the section",
    "at most one number, the back-off weight, after the words",
    "only words that are listed as 1-grams",
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
    """Read words and n-grams from a file, plain or gzipped.

    Raises:
        ValueError: the file is not ARPA, is truncated, or has an invalid line, which the message names.
        FileNotFoundError: there is no such file.
    """
    return _Reader(_open(path), path).levels()


def _open(path: Path) -> Any:
    """The bytes of a file, unpacked if need be; anything with `find` and slices."""
    with open_bytes(path) as file:
        head = file.read(16)
        if head.startswith(b"mmap lm"):
            raise ValueError(
                f"expected an ARPA file, got {path}, which is a KenLM binary file; its layout depends on the machine: "
                "use the ARPA file from which build_binary made it"
            )
        if not head.startswith(b"\x1f\x8b"):
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if head else b""
    try:
        return gzip.decompress(read_bytes(path))
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be decompressed ({error}); likely an incomplete download: download it again"
        ) from None


class _Reader:
    """Reader of the content of an ARPA file: header and 1-grams in Python, longer n-grams by compiled code."""

    def __init__(self, data: Any, path: Path) -> None:
        self.data, self.path = data, path
        self.position = self.last = 0  # end and start of the line that was read last

    def levels(self) -> tuple[list[str], list[Level]]:
        """Return all words, and the n-grams of each order; raise ValueError that names an invalid line."""
        counts = self._counts()
        words, first = self._words(counts[0])
        blob, ends = np.frombuffer(b"".join(words), np.uint8), np.cumsum([len(word) for word in words])
        table = np.full(1 << (2 * len(words)).bit_length(), -1, np.int32)
        if (twice := _fill_table(table, blob, ends)) >= 0:
            raise ValueError(f"{self.path}: expected each word once among the 1-grams, got {words[twice]!r} twice")
        levels = [first]
        text = np.frombuffer(self.data, np.uint8)
        for order, count in enumerate(counts[1:], 2):
            if self._text() != b"\\%d-grams:" % order:
                raise self._error(f"`\\{order}-grams:` after as many {order - 1}-grams as the header states")
            level = Level(np.zeros((count, order), np.int32), np.zeros(count, np.float32), np.zeros(count, np.float32))
            self.position, row, status = _parse(text, self.position, table, blob, ends, level)
            if status:
                self._line()
                raise self._error(f"{_ERRORS[status]}, in {order}-gram number {row + 1} of {count}")
            levels.append(level)
        if self._text() != b"\\end\\":
            raise self._error(f"\\end\\ after the {counts[-1]} {len(counts)}-grams that the header states")
        return [word.decode("utf-8", errors="replace") for word in words], levels

    def _line(self) -> bytes | None:
        self.last = self.position
        if self.position >= len(self.data):
            return None
        end = self.data.find(b"\n", self.position)
        self.position = (end if end >= 0 else len(self.data)) + 1
        return bytes(self.data[self.last : self.position]).strip()

    def _text(self) -> bytes:
        """Return the next line that is not blank; empty at the end of the file."""
        while (line := self._line()) == b"":
            pass
        return line or b""

    def _error(self, expected: str) -> ValueError:
        """Return an error about the line that was read last."""
        number = bytes(self.data[: self.last]).count(b"\n") + 1
        line = bytes(self.data[self.last : self.position]).strip()[:80].decode("utf-8", errors="replace")
        got = repr(line) if self.last < len(self.data) else "the end of the file"
        return ValueError(
            f"{self.path}, line {number}: expected {expected}, got {got}; likely it was truncated or edited by hand"
        )

    def _counts(self) -> list[int]:
        while (line := self._line()) != b"\\data\\":
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
        if not counts or not counts[0] or line != b"\\1-grams:":
            raise self._error("`ngram 1=COUNT`, optionally further orders, then `\\1-grams:`")
        return counts

    def _words(self, count: int) -> tuple[list[bytes], Level]:
        words: list[bytes] = []
        numbers = np.zeros((count, 2))
        for row in range(count):
            parts = (self._line() or b"").split()
            if len(parts) not in (2, 3):
                raise self._error(
                    f"1-gram number {row + 1} of {count}: log10 probability, word, optional back-off weight"
                )
            words.append(parts[1])
            try:
                numbers[row, : len(parts) - 1] = [float(part) for part in parts[::2]]
            except ValueError:
                raise self._error("numbers before and after the word") from None
            if not numbers[row, 0] <= 0 or np.isnan(numbers[row, 1]):
                raise self._error(_ERRORS[1])
        natural = (np.maximum(numbers, _ZERO_LOG10) * _LN10).astype(np.float32)
        ids = np.arange(count, dtype=np.int32)[:, None]
        return words, Level(ids, natural[:, 0].copy(), natural[:, 1].copy())


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
    if end - position == 3 and text[position] == 105 and text[position + 1] == 110:  # inf
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
        exponent = _number(text, position + 1, end)
        if exponent != np.floor(exponent) or abs(exponent) > 400:
            return np.nan
        scale, position = scale + int(exponent), end
    if num == 0 or position != end:
        return np.nan
    if abs(scale) >= len(_POWERS):
        return sign * digits * 10.0**scale
    return sign * (digits / _POWERS[-scale] if scale < 0 else digits * _POWERS[scale])


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
def _parse(text, position: int, table, blob, ends, level: Level) -> tuple[int, int, int]:  # noqa: ANN001
    """Fill a level; return its end or the start of the invalid line, the number of valid lines, and the error code."""
    for row in range(len(level.ids)):
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
            word = table[_slot(table, blob, ends, text, start, stop)]
            if word < 0:
                return begin, row, 4
            level.ids[row, place] = word
        start, stop = _token(text, stop)
        if start < stop:
            value = _number(text, start, stop)
            start, stop = _token(text, stop)
            if np.isnan(value) or start < stop:
                return begin, row, 3
            level.backoff[row] = max(value, -99.0) * 2.302585092994046
        position = stop + 1
    return position, len(level.ids), 0
