"""Files of word vectors: word2vec's text and binary formats, and GloVe's, which is the text without its first line.

Text: a line with the number of words and of dimensions, then a line for each word: the word and its numbers, separated
by spaces. Binary: the same first line, then for each word its letters, a space, float32 numbers (little-endian), and a
line break, which some programs leave out. Which of the two a file is, its name says: `.bin`, or `.vec`, `.txt` and
`.glove`; `.gz` may follow. Numbers are written so that reading gives the same bits.
"""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sori.core.files import atomic_write
from sori.core.user_files import open_bytes
from sori.embeddings.space import Vectors, WordSpace

TEXT, BINARY = (".vec", ".txt", ".glove"), (".bin",)
"""Endings of names."""
_BLOCK_BYTES = 1 << 20
_LONGEST_LINE = 1 << 24
_LONGEST_WORD = 10_000
"""Bytes; where no space comes for so long, there are no words."""
_FEWEST_BYTES = {False: 2, True: 4}
"""That a number takes, by whether the file is binary."""
_MOST_PACKED = 1032
"""Bytes that gzip can pack into one."""


class Header(NamedTuple):
    """What the first line says."""

    num_words: int
    dim: int


def is_word_file(path: str | Path) -> bool:
    """Whether a name is that of a file of word vectors."""
    return Path(path).name.removesuffix(".gz").endswith(TEXT + BINARY)


def read(path: Path, *, limit: int | None = None) -> WordSpace:
    """The words of a file and their vectors.

    The file is read piece by piece: in memory are the vectors that are kept (`.vec` without a first line: at most twice
    that), the words, and a piece of a megabyte.

    Args:
        path: `.vec`, `.txt`, `.glove` or `.bin`, with `.gz` or without.
        limit: only so many words from the beginning: the most frequent ones in the files that programs write.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another format, a file that is damaged or cut off, letters that are not UTF-8, a word that stands
            twice, or numbers that are not finite; names the place.
    """
    binary = _is_binary(path)
    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of 1 word or more, got {limit}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected word vectors in a format of word2vec or GloVe")
    try:
        with (
            np.errstate(over="ignore"),  # what is beyond float32 becomes infinite, and is refused
            open_bytes(path) as stored,
            gzip.open(stored, "rb") if path.name.endswith(".gz") else stored as file,
        ):
            found = _of_binary(path, file, limit) if binary else _of_text(path, file, limit)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged or cut off ({error}); copy it again") from None
    words, vectors = found
    try:
        return WordSpace(words, vectors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write(space: WordSpace, path: Path) -> None:
    """Write all words in their order; the name says how, as in `read`. The file appears whole or not at all.

    Raises:
        ValueError: an unknown ending, or a word holds a space or a line break, which the formats cannot.
    """
    binary = _is_binary(path)
    if spaced := next((word for word in space.words if any(sign in word for sign in " \n\r\t")), None):
        raise ValueError(f"the word {spaced!r} holds a space, which word2vec's formats cannot; write it with _ instead")
    with (
        atomic_write(path) as partial,
        gzip.open(partial, "wb") if path.name.endswith(".gz") else partial.open("wb") as file,
    ):
        file.write(f"{len(space)} {space.dim}\n".encode())
        for word, row in zip(space.words, space.vectors, strict=True):
            # The shortest digits that mean no other float32.
            numbers = row.astype("<f4").tobytes() if binary else " ".join(map(str, row)).encode()
            file.write(word.encode() + b" " + numbers + b"\n")


def _is_binary(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    if not name.endswith(TEXT + BINARY):
        raise ValueError(
            f"{path}: expected a name that ends in {', '.join((*TEXT, *BINARY))} (.gz may follow), which says how the "
            "vectors are written"
        )
    return name.endswith(BINARY)


class _Rows:
    """Words and their numbers, as many as were announced or as come."""

    def __init__(self, path: Path, dim: int, announced: int | None, limit: int | None) -> None:
        self.path, self.words = path, list[str]()
        self.most = min(x for x in (announced, limit, 1 << 62) if x is not None)
        self.vectors: Vectors = np.empty((min(self.most, 1 << 12) if announced is None else self.most, dim), np.float32)
        self.places = dict[bytes, int]()

    @property
    def full(self) -> bool:
        return len(self.words) >= self.most

    def add(self, word: bytes, numbers: Vectors | list[float], place: str) -> None:
        """One word more; `place` says where it stands, for the message if it cannot be taken."""
        if word in self.places:
            raise ValueError(
                f"{self.path}, {place}: the word {_shown(word)} stands there for the second time, first as word "
                f"{self.places[word] + 1}; expected different words: likely two files were joined"
            )
        try:
            text = word.decode()
        except UnicodeDecodeError:
            raise ValueError(
                f"{self.path}, {place}: the word {_shown(word)} is not UTF-8; likely the text it was learnt from was "
                "in another encoding, or in several, or a long word was cut within a letter: write the file anew in "
                f"UTF-8, or read only the {len(self.words):,} words before it (--limit {len(self.words)})"
            ) from None
        row = len(self.words)
        if row == len(self.vectors):
            self.vectors = np.concatenate([self.vectors, np.empty_like(self.vectors)])
        self.vectors[row] = numbers
        if not np.isfinite(self.vectors[row]).all():
            raise ValueError(
                f"{self.path}, {place}: the vector of {_shown(word)} holds NaN, infinity or a number beyond float32; "
                "likely the training diverged, or the file is damaged"
            )
        self.places[word] = row
        self.words.append(text)

    def finish(self, announced: int | None) -> tuple[list[str], Vectors]:
        """All words and vectors, where there are as many as announced."""
        if announced is not None and not self.full:
            raise ValueError(
                f"{self.path}: its first line announces {announced:,} words, but it ends after {len(self.words):,}; "
                "the file is cut off: copy it again"
            )
        return self.words, self.vectors[: len(self.words)]


def _of_text(path: Path, file: BufferedIOBase, limit: int | None) -> tuple[list[str], Vectors]:
    lines = _lines(path, file)
    first = next(lines, b"")
    header = _header(first)
    if header is None:
        fields = first.split(b" ")
        if len(fields) < 2 or not _numbers(fields[1:]):
            raise ValueError(
                f"{path}, line 1: expected the numbers of words and of dimensions, or a word and its numbers, "
                f"separated by spaces, got {_shown(first[:60])}; likely no word vectors, or binary ones, whose name "
                "ends in .bin"
            )
        dim, announced = len(fields) - 1, None
        rows = _Rows(path, dim, None, limit)
        _add_line(rows, first, 1, dim, spaces=True)
    else:
        _check(path, header, binary=False)
        dim, announced = header.dim, header.num_words
        rows = _Rows(path, dim, announced, limit)
    for number, line in enumerate(lines, 2):
        if limit is not None and len(rows.words) >= limit:
            break
        if not line:
            continue
        if rows.full:
            raise ValueError(
                f"{path}, line {number}: its first line announces {announced:,} words, but there are more; likely two "
                "files were joined, or the first line was not brought up to date"
            )
        _add_line(rows, line, number, dim, spaces=announced is None)
    return rows.finish(announced)


def _add_line(rows: _Rows, line: bytes, number: int, dim: int, *, spaces: bool) -> None:
    """Add the word of a line; `spaces`: words may hold some, as in some files of GloVe."""
    word, *fields = line.rsplit(b" ", dim)
    numbers = _numbers(fields)
    parts = word.split(b" ")
    if len(fields) != dim or numbers is None or (len(parts) > 1 and (not spaces or _numbers(parts[-1:]))):
        raise ValueError(
            f"{rows.path}, line {number}: expected a word and {dim} numbers separated by spaces, got "
            f"{len(line.split(b' ')) - 1} fields after {_shown(line.split(b' ')[0])}; likely the file is damaged or "
            "cut off, or a word holds a space"
        )
    if not word:
        raise ValueError(f"{rows.path}, line {number}: expected a word before the numbers, got none")
    rows.add(word, numbers, f"line {number}")


def _numbers(fields: list[bytes]) -> list[float] | None:
    try:
        return list(map(float, fields))
    except ValueError:
        return None


def _lines(path: Path, file: BufferedIOBase) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        if b"\0" in line:
            raise ValueError(f"{path}: expected text, got zero bytes; binary vectors have names that end in .bin")
        yield line.rstrip(b" \r\n")


def _header(line: bytes) -> Header | None:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return Header(int(fields[0]), int(fields[1]))


def _check(path: Path, header: Header, *, binary: bool) -> None:
    """Refuse what cannot be, before memory is taken for it."""
    size = path.stat().st_size * (_MOST_PACKED if path.name.endswith(".gz") else 1)
    needed = header.num_words * header.dim * _FEWEST_BYTES[binary]
    if not header.num_words or not header.dim or needed > size:
        raise ValueError(
            f"{path}: its first line announces {header.num_words:,} words of {header.dim:,} dimensions, which takes at "
            f"least {needed:,} bytes, but the file has {path.stat().st_size:,}; it is cut off or damaged, or its name "
            "says another format than it has"
        )


def _of_binary(path: Path, file: BufferedIOBase, limit: int | None) -> tuple[list[str], Vectors]:
    first = file.readline(100)
    header = _header(first)
    if header is None or not first.endswith(b"\n"):
        raise ValueError(
            f"{path}: expected a first line with the numbers of words and of dimensions, got {_shown(first[:40])}; "
            "likely not word2vec's binary format (a .bin of fastText is another), or text, whose name ends in .vec"
        )
    _check(path, header, binary=True)
    rows = _Rows(path, header.dim, header.num_words, limit)
    size, held, at = 4 * header.dim, b"", 0
    while not rows.full:
        end = held.find(b" ", at)
        if end < 0 or len(held) < end + 1 + size:
            held = held[at:]
            at, more = 0, file.read(max(_BLOCK_BYTES, size))
            held += more
            if end < 0 and len(held) > _LONGEST_WORD and b" " not in held:
                raise ValueError(f"{path}: after word {len(rows.words):,}, no word ends; the file is damaged")
            if not more:
                break
            continue
        word = held[at:end].lstrip(b"\n")
        numbers = np.frombuffer(held, dtype="<f4", count=header.dim, offset=end + 1)
        rows.add(word, numbers, f"word {len(rows.words) + 1:,}")
        at = end + 1 + size
    if limit is None and rows.full and (held[at:] + file.read(16)).strip(b"\n"):
        raise ValueError(
            f"{path}: its first line announces {header.num_words:,} words, but there is more after them; the number "
            "of dimensions may be wrong, or two files were joined"
        )
    return rows.finish(header.num_words)


def _shown(word: bytes) -> str:
    text = word.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 40 else text[:40] + "...")
