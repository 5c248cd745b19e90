"""Read LibriSpeech and Mini LibriSpeech: `PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac` with a `.trans.txt`.

Lhotse's recipe gives the same utterances, but opens every file, leaves out missing ones with a message in the log, and
requires the folder above the parts. This reads any part, also alone.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sori.core.walk import folders_below
from sori.data.sources.layouts.parts import Entry, is_official, sound_files, split_of, text_lines
from sori.data.sources.recordings import Excluded, Item

_PART = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")


def recognise(folder: Path) -> bool:
    """Return whether the folder is a part of LibriSpeech, or contains parts."""
    return any(True for _ in _parts(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the utterances of all parts; sound files without a line are untranscribed.

    The split is `train`, `dev` or `test`, or the name of the part if there are several of the same kind.
    """
    parts = list(_parts(folder))
    kinds = Counter(split_of([part.resolve().name]) for part in parts)
    for part in parts:
        kind = split_of([part.resolve().name])
        yield from _read_part(part, kind if kinds[kind] == 1 else part.resolve().name)


def _parts(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 3):
        if _PART.fullmatch(inner.resolve().name) and any(inner.glob("*/*/*.trans.txt")):
            yield inner


def _read_part(part: Path, split: str | None) -> Iterator[Entry]:
    files = sound_files(part)
    texts: dict[str, tuple[str, Path]] = {}
    for path in sorted(part.glob("*/*/*.trans.txt")):
        for _, line in text_lines(path):
            name, _, text = line.strip().partition(" ")
            texts[name] = (text, path)
    for name in sorted(files | texts):
        if name in files:
            speaker, found = name.partition("-")[0], texts[name][0] if name in texts else None
            yield Item(name, str(files[name]), 0.0, None, found, speaker, "eng", split, is_official=is_official(split))
        else:
            table = texts[name][1]
            detail = f"listed in {table.name}, but there is no such sound file"
            yield Excluded(name, str(table.parent / name), "missing", detail)
