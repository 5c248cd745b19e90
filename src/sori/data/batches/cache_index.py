"""The list of a cache of decoded audio: which stretches of which files it has, and whether these are still the same.

A file is the same if it has the size and modification time of then at the same place, or, wherever it is now, the same
content. A prepared folder and its recordings can therefore be moved or copied together with the cache.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sori.core.files import read_json, write_json
from sori.core.log import logger
from sori.core.user_files import open_bytes

Key = tuple[str, float, int, int | None]
"""Path, start in seconds, length in samples and channel, which identify the audio of an utterance."""

Stamp = tuple[int, int, str | None]
"""Size and modification time of a file, and the digest of its content; None in caches that were written without it."""

_REMEMBERED = 1 << 20


class Index(NamedTuple):
    """What the JSON file of a cache lists."""

    keys: list[Key]
    exponents: list[int]
    """The samples of an utterance were multiplied by two to the power of this."""
    stamps: dict[str, Stamp]
    """Files by the paths of the keys."""


def write_index(path: Path, index: Index) -> None:
    """Write the list of a cache."""
    written = {"utterances": index.keys, "exponents": index.exponents, "files": index.stamps}
    write_json(path, written, indent=None)


def read_index(path: Path) -> Index:
    """Return the list of a cache; an empty one if it is damaged, so that the cache is built again."""
    try:
        held = read_json(path)
        keys: list[Key] = [
            (str(file), float(start), int(num_samples), channel[0] if channel else None)
            for file, start, num_samples, *channel in held["utterances"]  # without channels up to version 0.1
        ]
        exponents = [int(exponent) for exponent in held.get("exponents", [0] * len(keys))]
        stamps: dict[str, Stamp] = {
            file: (int(size), int(modified), str(digest[0]) if digest else None)
            for file, (size, modified, *digest) in held["files"].items()
        }
        return Index([key for key, _ in zip(keys, exponents, strict=True)], exponents, stamps)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s is damaged (%s): the recordings are decoded again", path, error)
        return Index([], [], {})


def stamps_of(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return size and modification time of each file that exists."""
    stamps = {}
    for path in set(paths):
        try:
            found = Path(path).stat()
        except FileNotFoundError:
            continue
        stamps[path] = (found.st_size, found.st_mtime_ns)
    return stamps


@lru_cache(_REMEMBERED)
def content_digest(path: str, _size: int, _modified: int) -> str:
    """Return a digest of the content of a file, which is remembered while its size and modification time stay."""
    with open_bytes(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def located(index: Index, now: Mapping[str, tuple[int, int]], paths: Iterable[str]) -> dict[str, str] | None:
    """Return under which path a cache lists each file; None: it does not list all of them as they are now.

    Files that were removed are the same: the cache is used without them.

    Args:
        index: the list of the cache.
        now: size and modification time of the files that exist.
        paths: the files.
    """
    moved = {(size, digest): path for path, (size, _, digest) in index.stamps.items() if digest is not None}
    sizes = {size for size, _ in moved}
    places: dict[str, str] = {}
    for path in set(paths):
        held, stamp = index.stamps.get(path), now.get(path)
        if held is not None and stamp in (None, held[:2]):
            places[path] = path
        elif stamp is not None and stamp[0] in sizes and (place := moved.get((stamp[0], content_digest(path, *stamp)))):
            places[path] = place
        else:
            return None
    return places


def note_new_places(path: Path, index: Index, places: Mapping[str, str], now: Mapping[str, tuple[int, int]]) -> None:
    """Write where the files of a cache are now, so that their content need not be compared again."""
    names = {place: file for file, place in places.items() if file in now}
    renamed = [index.stamps[place][:2] != now[file] or place != file for place, file in names.items()]
    if not any(renamed) or len(names) < len(places):
        return
    stamps: dict[str, Stamp] = {
        names.get(place, place): (*now[names[place]], digest) if place in names else (size, modified, digest)
        for place, (size, modified, digest) in index.stamps.items()
    }
    keys = [(names.get(file, file), start, num_samples, channel) for file, start, num_samples, channel in index.keys]
    if len(stamps) == len(index.stamps):
        with contextlib.suppress(OSError):  # a folder that is not writable: the comparison is made again
            write_index(path, Index(keys, index.exponents, stamps))
