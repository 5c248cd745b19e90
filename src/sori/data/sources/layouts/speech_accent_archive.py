"""Read the Speech Accent Archive: a recording of each speaker, named by native language and number, and a table.

All speakers read the same English paragraph, whose text is not part of the table. The recordings may be in any folder;
the table, `speakers_all.csv`, is beside or above them. Lhotse has no recipe for it.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from sori.core.user_files import read_text
from sori.data.sources.layouts.parts import Entry, Note, sound_files
from sori.data.sources.recordings import Excluded, Item

_TABLE = "speakers_all.csv"
_MISSING = "file_missing?"


def recognise(folder: Path) -> bool:
    """Return whether the table of the speakers is in the folder."""
    path = folder / _TABLE
    return path.is_file() and {"filename", "speakerid", "native_language"} <= set(_rows(path)[0])


def read(folder: Path) -> Iterator[Entry]:
    """Yield all recordings; a row without a recording is left out, unless the table says that there is none."""
    files = sound_files(folder)
    rows = {row["filename"]: row for row in _rows(folder / _TABLE)[1]}
    for name, path in sorted(files.items()):
        speaker = rows[name]["speakerid"] if name in rows else ""
        yield Item(name, str(path), speaker=speaker or name, language="eng")
    gone = sorted(rows.keys() - files.keys())
    announced = [name for name in gone if (rows[name].get(_MISSING) or "").strip().upper() == "TRUE"]
    if announced:
        yield Note(f"{len(announced)} speakers of {_TABLE} have no recording, as the table says")
    for name in sorted(set(gone) - set(announced)):
        yield Excluded(name, str(folder / name), "missing", f"listed in {_TABLE}, but there is no such sound file")


def _rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the names of the columns, and the rows."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="")
    return list(reader.fieldnames or ()), list(reader)
