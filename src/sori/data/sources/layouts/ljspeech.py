"""Read LJSpeech and the many corpora in its form: `metadata.csv` with bars and no header, and `wavs/`.

The third column has numbers and abbreviations written out as they are spoken; it is used where it is not empty.
Lhotse's recipe uses the second column, with the digits, and accepts lines of exactly three columns only.
"""

from collections.abc import Iterator
from pathlib import Path

from sori.core.user_files import open_bytes
from sori.data.sources.layouts.parts import Entry, sound_files, text_lines
from sori.data.sources.recordings import Excluded, Item

_HEADERS = ("id", "file", "file_name", "filename", "audio", "wav", "path")


def recognise(folder: Path) -> bool:
    """Return whether there are `wavs/` and a `metadata.csv` whose first line has bars and names a file in it."""
    table = folder / "metadata.csv"
    if not (table.is_file() and (folder / "wavs").is_dir()):
        return False
    with open_bytes(table) as file:
        return b"|" in file.readline(1 << 16)


def read(folder: Path) -> Iterator[Entry]:
    """Yield the lines of `metadata.csv`; sound files without a line are untranscribed."""
    files = sound_files(folder / "wavs")
    seen: set[str] = set()
    for number, line in text_lines(folder / "metadata.csv"):
        first, *columns = line.split("|")
        name = Path(first.strip()).stem if Path(first.strip()).suffix.lower() == ".wav" else first.strip()
        if number == 1 and name.lower() in _HEADERS and name not in files:
            continue
        if not columns:
            raise ValueError(
                f"{folder / 'metadata.csv'}, line {number}: expected NAME|TEXT or NAME|TEXT|SPOKEN TEXT, got "
                f"{line[:60]!r}; likely a line break inside a text: remove it"
            )
        seen.add(name)
        if name in files:
            spoken = columns[1] if len(columns) > 1 and columns[1].strip() else columns[0]
            yield _item(name, files[name], spoken)
        else:
            detail = "listed in metadata.csv, but not in wavs/"
            yield Excluded(name, str(folder / "wavs" / f"{name}.wav"), "missing", detail)
    for name in sorted(files.keys() - seen):
        yield _item(name, files[name], None)


def _item(name: str, path: Path, text: str | None) -> Item:
    is_lj = name.startswith("LJ0")
    return Item(name, str(path), text=text, speaker="LJ" if is_lj else None, language="eng" if is_lj else None)
