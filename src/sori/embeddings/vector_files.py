"""Read and write files of word vectors: word2vec's text and binary formats, and GloVe's text format.

Text: a line with the number of words and of dimensions, then a line for each word: the word and its numbers, separated
by spaces. GloVe's format has no first line. Binary: the same first line, then for each word its characters, a space,
float32 numbers (little-endian), and a line break, which some programs leave out. The extension selects the format:
`.bin` is binary; `.vec`, `.txt` and `.glove` are text; `.gz` may follow. Numbers are written with enough digits to be
read back bit for bit.
"""

import gzip
from collections.abc import Iterator
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sori.core.files import atomic_write
from sori.core.text_files import MOST_EXPANSION, open_unpacked
from sori.embeddings.space import Vectors, WordSpace

TEXT, BINARY = (".vec", ".txt", ".glove"), (".bin",)
"""File name extensions."""
_BLOCK_BYTES = 1 << 20
_LONGEST_LINE = 1 << 24
_LONGEST_WORD = 10_000
"""Maximum length of a word in bytes; without a space in that range, the file is not a file of words."""
_FEWEST_BYTES = {False: 2, True: 4}
"""Minimum number of bytes per number, by whether the file is binary."""


class Header(NamedTuple):
    """First line of a file."""

    num_words: int
    dim: int


def is_word_file(path: str | Path) -> bool:
    """Return whether a name has the extension of a file of word vectors."""
    return Path(path).name.removesuffix(".gz").endswith(TEXT + BINARY)


def read(path: Path, *, limit: int | None = None) -> WordSpace:
    """Read the words of a file and their vectors.

    The file is read in blocks of a megabyte: memory holds the words, the vectors that are kept (up to twice that for
    files that are compressed or have no first line) and one block.

    Args:
        path: `.vec`, `.txt`, `.glove` or `.bin`, with or without `.gz`.
        limit: maximum number of words, from the beginning; files usually begin with the most frequent words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the format is another one, the file is damaged or truncated, a word is not UTF-8 or occurs twice,
            or a number is not finite; the message names the line or word.
    """
    binary = _is_binary(path)
    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of 1 word or more, got {limit}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected word vectors in a format of word2vec or GloVe")
    with (
        np.errstate(over="ignore"),  # what is beyond float32 becomes infinite, and is refused
        open_unpacked(path) as file,
    ):
        words, vectors = _of_binary(path, file, limit) if binary else _of_text(path, file, limit)
    try:
        return WordSpace(words, vectors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write(space: WordSpace, path: Path) -> None:
    """Write all words in their order, in the format of the extension (see `read`), atomically.

    Raises:
        ValueError: the extension is unknown, or a word contains white space, which the formats do not allow.
    """
    binary = _is_binary(path)
    if spaced := next((word for word in space.words if any(sign in word for sign in " \n\r\t")), None):
        raise ValueError(
            f"the word {spaced!r} contains a space, which the formats of word2vec cannot represent; write it with _ "
            "instead"
        )
    with (
        atomic_write(path) as partial,
        gzip.open(partial, "wb") if path.name.endswith(".gz") else partial.open("wb") as file,
    ):
        file.write(f"{len(space)} {space.dim}\n".encode())
        for word, row in zip(space.words, space.vectors, strict=True):
            # `str` gives the shortest digits that identify a float32.
            numbers = row.astype("<f4").tobytes() if binary else " ".join(map(str, row)).encode()
            file.write(word.encode() + b" " + numbers + b"\n")


def _is_binary(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    if not name.endswith(TEXT + BINARY):
        raise ValueError(
            f"{path}: expected a name that ends in {', '.join((*TEXT, *BINARY))} (.gz may follow), which selects the "
            "format"
        )
    return name.endswith(BINARY)


class _Rows:
    """Words and vectors read so far: up to the announced number, or as many as the file has."""

    def __init__(self, path: Path, dim: int, announced: int | None, limit: int | None) -> None:
        self.path, self.words = path, list[str]()
        self.most = min(x for x in (announced, limit, 1 << 62) if x is not None)
        believed = announced is not None and not path.name.endswith(".gz")  # `_check` has only the packed size
        self.vectors: Vectors = np.empty((self.most if believed else min(self.most, 1 << 12), dim), np.float32)
        self.places = dict[bytes, int]()

    @property
    def full(self) -> bool:
        return len(self.words) >= self.most

    def add(self, word: bytes, numbers: Vectors | list[float], place: str) -> None:
        """Add a word; `place` is its position in the file, for error messages."""
        if word in self.places:
            raise ValueError(
                f"{self.path}, {place}: the word {_shown(word)} occurs a second time, first as word "
                f"{self.places[word] + 1}; expected each word once: likely two files were joined"
            )
        try:
            text = word.decode()
        except UnicodeDecodeError:
            raise ValueError(
                f"{self.path}, {place}: the word {_shown(word)} is not UTF-8; likely the training text was in another "
                "encoding, or in several, or a long word was cut within a character: convert the file to UTF-8, or "
                f"read only the {len(self.words):,} words before it (--limit {len(self.words)})"
            ) from None
        row = len(self.words)
        if row == len(self.vectors):
            self.vectors = np.concatenate([self.vectors, np.empty_like(self.vectors)])
        self.vectors[row] = numbers
        if not np.isfinite(self.vectors[row]).all():
            raise ValueError(
                f"{self.path}, {place}: the vector of {_shown(word)} contains NaN, infinity or a number beyond "
                "float32; likely the training diverged, or the file is damaged"
            )
        self.places[word] = row
        self.words.append(text)

    def finish(self, announced: int | None) -> tuple[list[str], Vectors]:
        """Return all words and vectors, after checking that there are as many as announced."""
        if announced is not None and not self.full:
            raise ValueError(
                f"{self.path}: its first line announces {announced:,} words, but it ends after {len(self.words):,}; "
                "the file is truncated: copy it again"
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
                f"separated by spaces, got {_shown(first[:60])}; likely not a file of word vectors, or a binary one, "
                "whose name must end in .bin"
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
                "files were joined, or the first line was not updated"
            )
        _add_line(rows, line, number, dim, spaces=announced is None)
    return rows.finish(announced)


def _add_line(rows: _Rows, line: bytes, number: int, dim: int, *, spaces: bool) -> None:
    """Add the word of a line; `spaces`: whether words may contain spaces, as in some GloVe files."""
    word, *fields = line.rsplit(b" ", dim)
    numbers = _numbers(fields)
    parts = word.split(b" ")
    if len(fields) != dim or numbers is None or (len(parts) > 1 and (not spaces or _numbers(parts[-1:]))):
        raise ValueError(
            f"{rows.path}, line {number}: expected a word and {dim} numbers separated by spaces, got "
            f"{len(line.split(b' ')) - 1} fields after {_shown(line.split(b' ')[0])}; likely the file is damaged or "
            "truncated, or a word contains a space"
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
    for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), 1):
        if b"\0" in line:
            raise ValueError(f"{path}: expected text, got zero bytes; the name of a binary file must end in .bin")
        if len(line) > _LONGEST_LINE:
            raise ValueError(
                f"{path}, line {number}: expected at most {_LONGEST_LINE:,} bytes in a line, got more; likely the file "
                "is damaged, or not a file of word vectors"
            )
        yield line.rstrip(b" \r\n")


def _header(line: bytes) -> Header | None:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return Header(int(fields[0]), int(fields[1]))


def _check(path: Path, header: Header, *, binary: bool) -> None:
    """Refuse a header that does not match the file size, before memory is allocated."""
    size = path.stat().st_size * (MOST_EXPANSION if path.name.endswith(".gz") else 1)
    needed = header.num_words * header.dim * _FEWEST_BYTES[binary]
    if not header.num_words or not header.dim or needed > size:
        raise ValueError(
            f"{path}: its first line announces {header.num_words:,} words of {header.dim:,} dimensions, which takes at "
            f"least {needed:,} bytes, but the file has {path.stat().st_size:,}; it is truncated or damaged, or its "
            "extension does not match its format"
        )


def _of_binary(path: Path, file: BufferedIOBase, limit: int | None) -> tuple[list[str], Vectors]:
    first = file.readline(100)
    header = _header(first)
    if header is None or not first.endswith(b"\n"):
        raise ValueError(
            f"{path}: expected a first line with the numbers of words and of dimensions, got {_shown(first[:40])}; "
            "likely not word2vec's binary format (fastText's .bin differs), or text, whose name must end in .vec"
        )
    _check(path, header, binary=True)
    rows = _Rows(path, header.dim, header.num_words, limit)
    size, buffer, at = 4 * header.dim, b"", 0
    while not rows.full:
        end = buffer.find(b" ", at)
        if end < 0 or len(buffer) < end + 1 + size:
            buffer = buffer[at:]
            at, more = 0, file.read(max(_BLOCK_BYTES, size))
            buffer += more
            if end < 0 and len(buffer) > _LONGEST_WORD and b" " not in buffer:
                raise ValueError(
                    f"{path}: no space within {_LONGEST_WORD:,} bytes after word {len(rows.words):,}; the file is "
                    "damaged"
                )
            if not more:
                break
            continue
        word = buffer[at:end].lstrip(b"\n")
        numbers = np.frombuffer(buffer, dtype="<f4", count=header.dim, offset=end + 1)
        rows.add(word, numbers, f"word {len(rows.words) + 1:,}")
        at = end + 1 + size
    if limit is None and rows.full and (buffer[at:] + file.read(16)).strip(b"\n"):
        raise ValueError(
            f"{path}: its first line announces {header.num_words:,} words, but more data follows; likely the number "
            "of dimensions is wrong, or two files were joined"
        )
    return rows.finish(header.num_words)


def _shown(word: bytes) -> str:
    text = word.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 40 else text[:40] + "...")
