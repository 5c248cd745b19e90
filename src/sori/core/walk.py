"""Walk through the folders of a user: each folder once, without hidden folders and trash."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SKIPPED = frozenset(("$recycle.bin", "system volume information", "lost+found", "__macosx", "recycler", "trash"))
"""Folders, in lower case, in which operating systems keep what was deleted or what belongs to them."""


class Listing(NamedTuple):
    """The content of one folder."""

    folder: Path
    names: list[str]
    """Names of everything in the folder that is not a folder, sorted."""
    skipped: list[str]
    """Names of the folders in it that are not searched."""
    error: str | None = None
    """Reason why the folder cannot be read."""


def is_skipped(name: str) -> bool:
    """Return whether a folder of this name is not searched: hidden folders, trash and folders of the system."""
    return name.startswith(".") or name.lower() in _SKIPPED


def listings(folder: Path) -> Iterator[Listing]:
    """Yield the folder and all folders below it, sorted; a folder that several links lead to is yielded once."""
    waiting, seen = [folder], set[tuple[int, int]]()
    while waiting:
        here = waiting.pop()
        names, inner, skipped = list[str](), list[str](), list[str]()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as found:
                for entry in found:
                    kept = names if not entry.is_dir() else skipped if is_skipped(entry.name) else inner
                    kept.append(entry.name)
        except OSError as error:
            yield Listing(here, [], [], str(error))
            continue
        yield Listing(here, sorted(names), sorted(skipped))
        waiting += [here / name for name in sorted(inner, reverse=True)]


def entries(folder: Path) -> list[Path]:
    """Return everything in a folder, sorted; nothing if it cannot be read, which `listings` reports."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def folders_below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folder and the folders below it down to a depth (0: only the folder), nearest first, sorted."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [inner for outer in level for inner in _inner(outer)]


def _inner(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found if entry.is_dir() and not is_skipped(entry.name))
    except OSError:  # `listings` reports it
        return []
    return [folder / name for name in names]
