"""Text files of any size, read line by line."""

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
"""Of the files that are looked for in a folder."""
_PACKED = SUFFIXES[1:]
_DOCUMENT = "#DOC"


def text_files(paths: Iterable[str | Path]) -> list[Path]:
    """The text files there are.

    Args:
        paths: files, of any name; of a folder, every .txt, .gz, .xz and .bz2 in it and below, in order of their names.

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
    """The lines of a UTF-8 file, each with its line feed; only a line feed ends one.

    Args:
        path: of a text; packed ones (.gz, .xz, .bz2) are unpacked on the fly.

    Raises:
        ValueError: it is no UTF-8 text, or damaged; says where.
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
                f"{before + error.start} (counted from 0{', unpacked' if path.suffix in _PACKED else ''}). Probably "
                f"{_encoding(error.object, before)}"
            ) from None
        # OSError is what bz2 says of damage, and the class of what gzip says
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            if path.suffix not in _PACKED:
                raise
            raise ValueError(
                f"expected packed text in {path}, got damage after {before} unpacked bytes: {error}. Probably it was "
                "cut short while copying, or its name ends wrongly; copy it again, or give it the right ending."
            ) from None


def paragraphs(paths: Iterable[str | Path]) -> Iterator[str]:
    """Every line of some texts without the space around it, and "" where a document ends.

    A document ends at an empty line, at a line that begins with `#DOC`, and with its file; never two "" in a row.

    Args:
        paths: as for `text_files`.

    Raises:
        FileNotFoundError, ValueError: as of `text_files` and `lines`.
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
            "it is no text at all, or packed; give text (.txt), or text packed with gzip, xz or bzip2 under its own "
            "ending."
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
