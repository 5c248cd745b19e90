"""Read text files of users line by line, in memory that does not depend on their size.

Files compressed with gzip, xz or bzip2 are recognised by their content and decompressed while reading. Lines have a
maximum length, and compressed files a maximum expansion, so that no file can fill the memory.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from sori.core.encodings import decoded, not_utf8
from sori.core.json_values import parsed_json
from sori.core.user_files import open_bytes

COMPRESSED = (".gz", ".xz", ".bz2")
"""Suffixes of compressed files."""
LONGEST_LINE = 1 << 27
"""Maximum number of bytes in a line; text8, the usual corpus of Word2Vec, is one line of 100 MB."""
LONGEST_JSON = 1 << 25
"""Maximum number of bytes in a line of JSON, which takes some 30 times as much memory as its text."""
MOST_EXPANSION = 250
"""Maximum expansion of a compressed file. Text expands up to 20 times, repetitive tables up to about 100 times."""

_UNCHECKED_BYTES = 1 << 26  # decompressed, before the expansion is looked at
_BUFFER_BYTES = 1 << 18
_DAMAGED = (EOFError, OSError, lzma.LZMAError, zlib.error)  # bz2 raises OSError for damaged data, gzip a subclass of it
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_HALF_PAIR_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file to read its bytes, decompressed.

    Args:
        path: regular file or a pipe that this process was given.

    Raises:
        OSError, ValueError: as `open_bytes`; and while reading, ValueError if the compressed data are damaged or expand
            too much.
    """
    with open_bytes(path) as file:
        if (kind := _compression(path, file.peek(10))) is None:
            yield file
            return
        with io.BufferedReader(_Unpacked(path, file, kind), _BUFFER_BYTES) as unpacked:
            yield cast("io.BufferedReader", unpacked)


def lines(path: Path, *, longest: int = LONGEST_LINE) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, each with its line feed; only a line feed ends a line.

    A byte order mark at the beginning is left out.

    Args:
        path: text file, plain or compressed.
        longest: maximum number of bytes in a line.

    Raises:
        ValueError: it is not UTF-8 text, is damaged, or has a longer line; names the line.
    """
    before = 0
    with open_unpacked(path) as file:
        for number, line in enumerate(iter(partial(file.readline, longest + 1), b""), 1):
            if len(line) > longest:
                raise ValueError(
                    f"{path}, line {number}: expected at most {longest:,} bytes in a line, got more; likely it is not "
                    "text, or was written without line feeds: put each sentence, or each row, on a line of its own"
                )
            try:
                text = decoded(line, is_first=not before)
            except UnicodeDecodeError as error:
                unpacked = isinstance(file.raw, _Unpacked)
                raise ValueError(not_utf8(path, error, line=number, before=before, unpacked=unpacked)) from None
            yield text
            before += len(line)


def json_lines(path: Path, *, longest: int = LONGEST_JSON, allow_half_pairs: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of a file with one JSON value a line; blank lines are skipped.

    Args:
        path: text file, plain or compressed.
        longest: maximum number of bytes in a line.
        allow_half_pairs: whether strings may have half of a surrogate pair, which is no character.

    Raises:
        ValueError: as `lines`; or a line is not JSON, or has half of a surrogate pair.
    """
    for number, line in enumerate(lines(path, longest=longest), 1):
        if not line.strip():
            continue
        try:
            value = parsed_json(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}; got {line.strip()[:60]!r}") from None
        is_checked = not allow_half_pairs and _HALF_PAIR_ESCAPED.search(line)
        if is_checked and (half := half_pair(json.dumps(value, ensure_ascii=False))):
            raise ValueError(f"{path}, line {number}: expected characters, got {half}")
        yield number, value


def half_pair(text: str) -> str | None:
    """Return a description of the first half of a surrogate pair in a text, with cause and cure, or None."""
    found = _HALF_PAIR.search(text)
    return found and (
        f"half of a surrogate pair (\\u{ord(found[0]):04x}); likely an emoji that was cut in two when a text was "
        "shortened: remove the half, or the row"
    )


class _Unpacked(io.RawIOBase):
    """Decompressed bytes of a file."""

    def __init__(self, path: Path, file: io.BufferedReader, kind: str) -> None:
        self._path, self._packed, self._produced = path, _Counted(file), 0
        packed = cast("IO[bytes]", self._packed)
        match kind:
            case ".gz":
                self._stream: io.BufferedIOBase = gzip.GzipFile(fileobj=packed, mode="rb")
            case ".xz":
                self._stream = lzma.LZMAFile(packed, "rb")  # noqa: SIM115
            case _:
                self._stream = bz2.BZ2File(packed, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._stream.readinto(buffer)
        except _DAMAGED as error:
            raise ValueError(
                f"expected compressed data in {self._path}, got damaged data after {self._produced} decompressed "
                f"bytes: {error}. Probably it was truncated while copying or downloading, or has the wrong suffix; "
                "copy it again or correct the suffix"
            ) from None
        self._produced += count
        if self._produced > max(_UNCHECKED_BYTES, MOST_EXPANSION * self._packed.count):
            raise ValueError(
                f"expected {self._path} to expand at most {MOST_EXPANSION} times, got {self._produced:,} bytes from "
                f"the first {self._packed.count:,}; likely it is damaged, or made to fill the memory. If it is right, "
                "decompress it and give the decompressed file"
            )
        return count


class _Counted(io.RawIOBase):
    """Bytes of a file, counted while they are read."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self.count = file, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self.count += count
        return count


def _compression(path: Path, head: bytes) -> str | None:
    """Return the suffix that belongs to a compressed file, from its first bytes or else from its name, or None."""
    if head.startswith(b"\x1f\x8b\x08"):
        return ".gz"
    if head.startswith(b"\xfd7zXZ\0"):
        return ".xz"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return ".bz2"
    return path.suffix if path.suffix in COMPRESSED and head else None
