"""Read the manifests of NVIDIA NeMo: JSON lines with `audio_filepath`, `duration`, `text`, often named `.json`.

Lhotse's `LazyNeMoIterator` reads them for training, opening files as they are needed; here the rows become utterances.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sori.core.json_values import parsed_json
from sori.core.user_files import open_bytes
from sori.core.walk import entries, folders_below
from sori.data.sources.layouts.parts import Entry, is_official, split_of, text_lines
from sori.data.sources.recordings import Excluded, Item

_SUFFIXES = (".json", ".jsonl")


def recognise(folder: Path) -> bool:
    """Return whether there are manifests in the folder, or directly in one of its subfolders."""
    return any(True for _ in _manifests(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the rows of all manifests; the split is that of the file's name or folder."""
    for path in _manifests(folder):
        yield from read_manifest_file(path)


def is_manifest(path: Path) -> bool:
    """Return whether the first line of a file is a row of a NeMo manifest."""
    with open_bytes(path) as file:
        first = file.readline(1 << 20)
    try:
        row = parsed_json(first)
    except ValueError:  # UnicodeDecodeError as well
        return False
    return isinstance(row, dict) and "audio_filepath" in row


def read_manifest_file(path: Path) -> Iterator[Entry]:
    """Yield the rows of one manifest; paths are relative to its folder."""
    split = split_of([path.resolve().parent.name, path.stem]) or next(
        (name for word in path.stem.replace("-", "_").split("_") if (name := split_of([word]))), None
    )
    for number, line in text_lines(path):
        try:
            row: dict[str, Any] = parsed_json(line)
            yield _entry(path, row, split)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path}, line {number}: expected {{"audio_filepath": "a.wav", "duration": 1.5, "text": "..."}}, got '
                f"{line[:60]!r} ({type(error).__name__}: {error})"
            ) from None


def _manifests(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 1):
        for path in entries(inner):
            if path.suffix.lower() in _SUFFIXES and path.is_file() and is_manifest(path):
                yield path


def _entry(path: Path, row: dict[str, Any], split: str | None) -> Entry:
    audio = row["audio_filepath"]
    name = Path(str(audio)).with_suffix("").name
    if isinstance(audio, list):
        return Excluded(name, str(audio), "some channels of several", "several files in one row; name one of them")
    start = float(row.get("offset") or 0.0)
    duration = float(row["duration"]) if row.get("offset") is not None else None
    text, speaker, language = (row.get(key) for key in ("text", "speaker", "lang"))
    split = row.get("split") or split
    return Item(
        name,
        str(path.parent / audio),
        start,
        duration,
        None if text is None else str(text),
        None if speaker is None else str(speaker),
        language,
        split,
        is_official=is_official(split),
    )
