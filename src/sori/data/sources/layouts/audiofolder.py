"""Read folders of Hugging Face datasets: `metadata.csv|jsonl|parquet` beside the sound files, and embedded sound.

Parquet files (`data/train-00000-of-00002.parquet`) and what `Dataset.save_to_disk` writes (`*.arrow`) contain the sound
files as bytes. These are copied unchanged into the prepared folder, because utterances refer to files.
Lhotse reads such datasets only through the library `datasets`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sori.core.files import atomic_write
from sori.core.user_files import open_bytes
from sori.core.walk import entries, folders_below
from sori.data.sources.layouts.parts import Entry, Note, is_official, split_of
from sori.data.sources.recordings import Excluded, Item
from sori.data.sources.tables import COLUMNS, read_table

EMBEDDED = "sori-embedded-audio"
"""Folder in the prepared folder for sound files that were embedded in a dataset."""

_TABLES = ("metadata.csv", "metadata.jsonl")
_BINARY = (".parquet", ".arrow")
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"\xff\xf3": ".mp3"}
_ROWS_AT_ONCE = 64


def recognise(folder: Path) -> bool:
    """Return whether there are tables with a column `file_name`, or Parquet or Arrow files, in the folder."""
    return any(True for _ in _files(folder))


def read(folder: Path, extract_into: Path) -> Iterator[Entry]:
    """Yield the rows of all tables.

    Args:
        folder: the dataset.
        extract_into: folder for embedded sound files.

    Raises:
        ValueError: a file has no column of sound files.
    """
    for path in _files(folder):
        split = split_of([*path.resolve().relative_to(folder.resolve().parent).parts[:-1], path.stem])
        if path.suffix in _BINARY:
            yield from _read_binary(path, split, extract_into / (split or "all"))
            continue
        table = read_table(path)
        yield from (Note(note) for note in table.notes)
        for item in table.items:
            chosen = item.split or split
            yield item._replace(split=chosen, is_official=is_official(chosen))
        yield from table.excluded


def _files(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 2):
        for path in entries(inner):
            if (path.name in _TABLES and _has_file_name(path)) or (path.suffix in _BINARY and path.is_file()):
                yield path


def _has_file_name(path: Path) -> bool:
    with open_bytes(path) as file:
        return b"file_name" in file.readline(1 << 16)


def _read_binary(path: Path, split: str | None, extract_into: Path) -> Iterator[Entry]:
    columns: dict[str, str] = {}
    for number, row in enumerate(_rows(path)):
        columns = columns or _columns(path, row)
        known = {field: row[name] for field, name in columns.items()}
        audio = known.pop("audio")
        name, place = f"{path.stem}-{number:06d}", None
        if isinstance(audio, dict):
            name = Path(audio.get("path") or name).stem
            place = _extract(audio, path, extract_into, f"{path.stem}-{number:06d}")
        elif isinstance(audio, str):
            name, place = Path(audio).with_suffix("").as_posix(), path.parent / audio
        if place is None:
            yield Excluded(name, str(path), "missing", f"row {number} has neither the bytes of a sound file nor a path")
            continue
        texts = {field: None if value is None else str(value) for field, value in known.items()}
        chosen = texts.pop("split", None) or split
        name = texts.pop("id", None) or name
        item = Item(name, str(place), text=texts.get("text"), speaker=texts.get("speaker"))
        yield item._replace(language=texts.get("language"), split=chosen, is_official=is_official(chosen))


def _columns(path: Path, row: dict[str, Any]) -> dict[str, str]:
    """Return the column of each field."""
    fields = ("audio", "text", "speaker", "language", "split", "id")
    lowered = {name.lower(): name for name in row}
    found = {field: next((lowered[one] for one in COLUMNS[field] if one in lowered), None) for field in fields}
    if found["audio"] is None:
        raise ValueError(f"{path}: expected a column of sound files named audio or file_name, got {', '.join(row)}")
    return {field: name for field, name in found.items() if name is not None}


def _extract(audio: dict[str, Any], path: Path, into: Path, name: str) -> Path | None:
    """Write an embedded sound file and return its path; a file that exists with the same size is kept."""
    content: bytes | None = audio.get("bytes")
    if content is None:
        return path.parent / audio["path"] if audio.get("path") else None
    suffix = next((one for magic, one in _MAGIC.items() if content.startswith(magic)), None)
    target = into / f"{name}{suffix or Path(audio.get('path') or '').suffix or '.wav'}"
    if not target.exists() or target.stat().st_size != len(content):
        into.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as partial:
            partial.write_bytes(content)
    return target


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                    yield from batch.to_pylist()
            return
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as reader:
            for batch in reader:
                for first in range(0, len(batch), _ROWS_AT_ONCE):
                    yield from batch.slice(first, _ROWS_AT_ONCE).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} is damaged or not a dataset of Hugging Face ({error}); download it again") from None
