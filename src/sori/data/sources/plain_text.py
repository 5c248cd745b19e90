"""Read text files of any size line by line."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from sori.core.user_files import open_bytes

SUFFIXES = (".txt", ".gz", ".xz", ".bz2")
"""Suffixes of the text files in a folder."""
_COMPRESSED = SUFFIXES[1:]
_DOCUMENT = "#DOC"


def text_files(paths: Iterable[str | Path]) -> list[Path]:
    """List text files.

    Args:
        paths: files of any name, or folders, which stand for every .txt, .gz, .xz and .bz2 below them, sorted by path.

    Raises:
        FileNotFoundError: there is no such file or folder, or no text in a folder.
    """
    found = list[Path]()
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"expected a text file or a folder of text files, got {path}, which does not exist")
        below = [path]
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not below:
            raise FileNotFoundError(f"expected text files ({', '.join(SUFFIXES)}) in {path}, got none")
        found += below
    return found


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, each with its line feed; only a line feed ends a line.

    Args:
        path: text file; compressed files (.gz, .xz, .bz2) are decompressed while reading.

    Raises:
        ValueError: it is not UTF-8 text, or damaged; the message says where.
    """
    before = 0
    with ExitStack() as stack:
        file = _opened(path, stack)
        try:
            for line in file:
                yield line.decode("utf-8")
                before += len(line)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"expected UTF-8 text in {path}, got byte {error.object[error.start]:#04x} at position "
                f"{before + error.start} (counted from 0{', decompressed' if path.suffix in _COMPRESSED else ''}). "
                f"Probably {_encoding(error.object, before)}"
            ) from None
        # bz2 raises OSError for damaged data, gzip a subclass of it
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            if path.suffix not in _COMPRESSED:
                raise
            raise ValueError(
                f"expected compressed text in {path}, got damaged data after {before} decompressed bytes: {error}. "
                "Probably it was truncated while copying, or has the wrong suffix; copy it again or correct the suffix."
            ) from None


def paragraphs(paths: Iterable[str | Path]) -> Iterator[str]:
    """Yield every line without surrounding white space, and "" at the end of each document.

    A document ends at an empty line, at a line that begins with `#DOC`, and at the end of its file; "" is never
    repeated.

    Args:
        paths: as for `text_files`.

    Raises:
        FileNotFoundError, ValueError: as in `text_files` and `lines`.
    """
    inside = False
    for path in text_files(paths):
        for line in lines(path):
            text = line.strip().removeprefix("\ufeff")
            marker = not text or text.startswith(_DOCUMENT)
            if inside or not marker:
                yield "" if marker else text
            inside = not marker
        if inside:
            yield ""
        inside = False


def _encoding(line: bytes, before: int) -> str:
    if not before and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "it was saved as UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)."
    if not before and b"\0" in line:
        return (
            "it is not text, or compressed; give a text file (.txt), or one compressed with gzip, xz or bzip2 and with "
            "the suffix .gz, .xz or .bz2."
        )
    return "it was saved in an older encoding such as Windows-1252; save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)."


def _opened(path: Path, stack: ExitStack) -> io.BufferedIOBase:
    file = stack.enter_context(open_bytes(path))
    match path.suffix:
        case ".gz":
            return stack.enter_context(gzip.open(file, "rb"))
        case ".xz":
            return stack.enter_context(lzma.open(file, "rb"))
        case ".bz2":
            return stack.enter_context(bz2.open(file, "rb"))
        case _:
            return file
