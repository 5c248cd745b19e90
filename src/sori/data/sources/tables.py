"""Read tables of recordings (`.tsv`, `.csv`, `.jsonl`): one row for each file or segment of a file."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sori.core.audio import LONGEST_SECONDS
from sori.core.foreign_values import shown
from sori.core.log import printable
from sori.core.text_files import half_pair, json_lines
from sori.data.sources.audio_paths import AudioPaths
from sori.data.sources.delimited import delimited_rows
from sori.data.sources.recordings import Excluded, Found, Item

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
    "channel": ("channel_index",),  # not "channel", which may be numbered from 1, or the name of a programme
}
"""Accepted column names of each field, ignoring case; if several are present, the first one is used."""
_DIGITS = 4
"""Most digits of the number of a channel."""
_NAMES = frozenset(name for names in COLUMNS.values() for name in names)


def read_table(path: Path, *, audio_root: Path | None = None) -> Found:
    """Read the rows of a table, in order.

    Only the column of the sound file is required. Its paths are relative to the folder of the table or to `audio_root`,
    or are names of files below it; see `audio_paths.py`. If none of the files exists and no `audio_root` is given, they
    are looked for by name below the folder of the table. `duration` is used only together with `start`: a row without a
    start is the whole file.

    Rows with half of a surrogate pair are excluded.

    Args:
        path: the table.
        audio_root: folder of the recordings, if it is not that of the table.

    Raises:
        ValueError: the column of the sound file is missing, a row cannot be read, or none of the files exists.
    """
    is_json = path.suffix.lower() == ".jsonl"
    rows = list(_json_rows(path) if is_json else delimited_rows(path, _NAMES))
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
    every = [(number, {f: row.get(n) for f, n in chosen.items() if n}) for number, row in rows]
    excluded = [one for number, row in every if (one := _broken(path, number, row))]
    known = [(number, row) for number, row in every if not _broken(path, number, row)] if excluded else every
    items, notes = _items(path, known, audio_root) if known else ([], [])
    used = {name for name in chosen.values() if name}
    if unused := [name for name in present if name not in used]:
        notes.append(f"{path.name}: these columns were ignored: {', '.join(unused)}")
    if not is_json and (several := [number for number, row in known if "\n" in (row.get("text") or "").strip()]):
        notes.append(
            f"{path.name}: {len(several)} texts contain line ends, the first one in line {several[0]}; if that is not "
            "meant, a quotation mark is not closed there"
        )
    return Found(items, excluded, Counter(), notes)


def _broken(table: Path, number: int, row: dict[str, Any]) -> Excluded | None:
    """Return the row as excluded if one of its texts or names is no text."""
    half = next((half for value in row.values() if isinstance(value, str) and (half := half_pair(value))), None)
    if half is None:
        return None
    name, audio = (printable(str(row.get(field) or "")) for field in ("id", "audio"))
    return Excluded(name or audio, str(table.parent / audio), "broken text", f"{table.name}, line {number}: {half}")


def _items(
    table: Path, rows: list[tuple[int, dict[str, Any]]], audio_root: Path | None
) -> tuple[list[Item], list[str]]:
    """Return the items of the rows, and notes on where the files were found."""
    paths = AudioPaths(table, audio_root)
    items = [_item(table, number, row, paths) for number, row in rows]
    if paths.any_exists():
        return items, []
    if audio_root is None:
        paths = AudioPaths(table, table.parent)
        by_name = [_item(table, number, row, paths) for number, row in rows]
        if paths.any_exists():
            return by_name, [f"{table.name}: its files were found by their names below {table.parent}"]
    raise ValueError(
        f"none of the {len(items)} files in {table} exists; the first one was expected at {items[0].path}. Paths are "
        "relative to the folder of the table or to the audio root, or are names of files below it; likely the table "
        "was moved without its recordings: name their folder with --audio-root"
    )


def _item(table: Path, number: int, row: dict[str, Any], paths: AudioPaths) -> Item:
    audio = _string(row, "audio", table, number)
    if not audio or not Path(audio).name:
        got = repr(audio) if audio else "an empty field"
        raise ValueError(f"{table}, line {number}: expected a sound file, got {got}")
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
    path = paths.find(audio, f"{table}, line {number}")
    name = _string(row, "id", table, number) or Path(audio).with_suffix("").as_posix()
    speaker, language, split = (_string(row, field, table, number) for field in ("speaker", "language", "split"))
    channel = _channel(row, table, number)
    return Item(name, str(path), start or 0.0, duration, text, speaker, language, split, channel=channel)


def _channel(row: dict[str, Any], table: Path, number: int) -> int | None:
    value = row.get("channel")
    if value in (None, ""):
        return None
    written = str(value)
    if isinstance(value, bool) or not (written.isascii() and written.isdigit() and len(written) <= _DIGITS):
        raise ValueError(
            f"{table}, line {number}: expected channel_index, a channel numbered from 0, got {shown(value)}; leave it "
            "empty for the average of all channels"
        )
    return int(written)


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
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"{table}, line {number}: expected {field} in seconds, got {shown(value)}")
    return seconds


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in json_lines(path, allow_half_pairs=True):
        if not isinstance(row, dict):
            raise ValueError(  # noqa: TRY004 - user's
                f'{path}, line {number}: expected an object such as {{"audio": "a.wav"}}, got {str(row)[:40]!r}'
            )
        yield number, row
