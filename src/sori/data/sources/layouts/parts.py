"""Small parts that several layouts share: entries, text files, names of splits."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sori.core.sound.sound_suffixes import is_sound_name
from sori.core.user_files import read_text
from sori.core.walk import listings
from sori.data.sources.recordings import Excluded, Item

_SPLIT = re.compile(r"(train|dev|test|valid|eval)(?:ing|elopment|idation|ation|uation)?(?![a-z])")


class Note(NamedTuple):
    """A remark for the report about how a layout was read."""

    text: str


Entry = Item | Excluded | Note
"""What the reader of a layout yields."""


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text file that are not blank, each with its number and without its line break.

    Raises:
        ValueError: the file is not UTF-8.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line


def split_of(names: Sequence[str]) -> str | None:
    """Return the split that one of some names begins with (`test-clean`, `train_data_01`), the last of them first."""
    for name in reversed(names):
        if found := _SPLIT.match(name.lower()):
            return {"valid": "dev", "eval": "test"}.get(found[1], found[1])
    return None


def is_official(split: str | None) -> bool:
    """Return whether a corpus reserves a split for evaluation, so that all of it must be kept."""
    return (split or "").startswith(("dev", "test"))


def sound_files(folder: Path) -> dict[str, Path]:
    """Return the sound files below a folder by their names without suffix; of equal names the first one counts."""
    found: dict[str, Path] = {}
    for listing in listings(folder):
        for name in listing.names:
            path = listing.folder / name
            if is_sound_name(name):
                found.setdefault(path.stem, path)
    return found
