"""Read tables of recordings (`.tsv`, `.csv`, `.jsonl`): one row for each file or segment of a file."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sori.core.user_files import read_text
from sori.data.sources.recordings import Found, Item

SUFFIXES = (".tsv", ".csv", ".jsonl")

COLUMNS: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "path", "file", "filename", "file_name", "wav", "audio_path", "audio_filepath", "audio_file"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "language": ("language", "lang", "locale"),
    "split": ("split", "subset", "partition"),
    "id": ("id", "utt_id", "utterance_id", "key"),
    "start": ("start", "start_seconds", "start_time", "offset"),
    "end": ("end", "end_seconds", "end_time"),
    "duration": ("duration", "duration_seconds"),
}
"""Accepted column names of each field, ignoring case; if several are present, the first one is used."""


def read_table(path: Path) -> Found:
    """Read the rows of a table, in order.

    Only the column of the sound file is required; its paths are relative to the folder of the table. `duration` is
    used only together with `start`: a row without a start is the whole file.

    Raises:
        ValueError: the column of the sound file is missing, a row cannot be read, or none of the files exists.
    """
    rows = list(_json_rows(path) if path.suffix.lower() == ".jsonl" else _text_rows(path))
    if not rows:
        raise ValueError(f"{path} has no rows")
    present = list(dict.fromkeys(name for _, row in rows for name in row))
    lowered = {name.lower(): name for name in reversed(present)}
    chosen = {
        field: next((lowered[name] for name in names if name in lowered), None) for field, names in COLUMNS.items()
    }
    if chosen["audio"] is None:
        raise ValueError(
            f"{path} has no column for the sound file: expected one named {', '.join(COLUMNS['audio'])}; got the "
            f"columns {', '.join(present)}. The first line of a .tsv or .csv must contain the column names"
        )
    items = [_item(path, number, {f: row.get(n) for f, n in chosen.items() if n}) for number, row in rows]
    if not any(Path(item.path).exists() for item in items):
        raise ValueError(
            f"none of the {len(items)} files in {path} exists; the first one was expected at {items[0].path}. Paths "
            "are relative to the folder of the table; likely the table was moved without its recordings"
        )
    used = {name for name in chosen.values() if name}
    unused = [name for name in present if name not in used]
    notes = [f"{path.name}: these columns were ignored: {', '.join(unused)}"] if unused else []
    return Found(items, [], Counter(), notes)


def _item(table: Path, number: int, row: dict[str, Any]) -> Item:
    audio = _string(row, "audio", table, number)
    if not audio:
        raise ValueError(f"{table}, line {number}: expected a sound file, got an empty field")
    start = _seconds(row, "start", table, number)
    duration = _seconds(row, "duration", table, number) if start is not None else None
    end = _seconds(row, "end", table, number)
    if end is not None:
        duration = end - (start or 0.0)
    if duration is not None and duration <= 0:
        raise ValueError(
            f"{table}, line {number}: expected start before end, in seconds, got a duration of {duration:g} s"
        )
    text = row.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{table}, line {number}: expected text or null, got {text!r}")
    path = Path(audio) if Path(audio).is_absolute() else table.parent / audio
    name = _string(row, "id", table, number) or Path(audio).with_suffix("").as_posix()
    known = {field: _string(row, field, table, number) for field in ("speaker", "language", "split")}
    return Item(name, str(path), start or 0.0, duration, text, **known)


def _string(row: dict[str, Any], field: str, table: Path, number: int) -> str | None:
    value = row.get(field)
    if isinstance(value, dict | list | bool | float):
        raise ValueError(f"{table}, line {number}: expected a name as {field}, got {value!r}")  # noqa: TRY004 - user's
    return str(value) if value not in (None, "") else None


def _seconds(row: dict[str, Any], field: str, table: Path, number: int) -> float | None:
    value = row.get(field)
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{table}, line {number}: expected {field} in seconds, got {value!r}")
    return seconds


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(  # noqa: TRY004 - user's
                f'{path}, line {number}: expected an object such as {{"audio": "a.wav"}}, got {line[:40]!r}'
            )
        yield number, row


def _text_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _text(path)
    first = text.partition("\n")[0]
    if path.suffix.lower() == ".tsv":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        delimiter = ";" if first.count(";") > first.count(",") else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    for values in reader:
        if not any(values):
            continue
        if len(values) != len(header):
            raise ValueError(
                f"{path}, line {reader.line_num}: expected {len(header)} columns as in the first line, got "
                f"{len(values)}; is the separator (tab in .tsv, comma or semicolon in .csv) inside an unquoted text?"
            )
        yield reader.line_num, dict(zip(header, values, strict=True))


def _text(path: Path) -> str:
    try:
        return read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); convert it: iconv -f OLD -t UTF-8") from None
