"""Find the text files that a user names, and read their paragraphs and documents."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from sori.core.text_files import COMPRESSED, lines

SUFFIXES = (".txt", *COMPRESSED)
"""Suffixes of the text files in a folder."""
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


def paragraphs(paths: Iterable[str | Path]) -> Iterator[str]:
    """Yield every line without surrounding white space, and "" at the end of each document.

    A document ends at an empty line, at a line that begins with `#DOC`, and at the end of its file; "" is never
    repeated.

    Args:
        paths: as for `text_files`.

    Raises:
        FileNotFoundError, ValueError: as in `text_files` and `core.text_files.lines`.
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
