"""Read FLEURS: `LANGUAGE/{train,dev,test}.tsv` without header, and `LANGUAGE/audio/{train,dev,test}/`.

The folders that `lhotse download fleurs` writes (`metadata/LANGUAGE/*.tsv`, `LANGUAGE/{train,dev,test}/`) are read as
well. FLEURS names no speakers. Lhotse's recipe reads its own folders only, and invents a speaker for each recording.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sori.core.user_files import open_bytes
from sori.core.walk import folders_below
from sori.data.sources.language_codes import iso639_3
from sori.data.sources.layouts.parts import Entry, is_official, sound_files, text_lines
from sori.data.sources.recordings import Item

_SPLITS = ("train", "dev", "test")


class _Part(NamedTuple):
    table: Path
    audio: Path
    language: str
    split: str


def recognise(folder: Path) -> bool:
    """Return whether the folder is a language of FLEURS, or contains languages."""
    return any(True for _ in _parts(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the rows of all tables, and the sound files that are in none as untranscribed."""
    for part in _parts(folder):
        files = sound_files(part.audio)
        language = iso639_3(part.language)
        for number, line in text_lines(part.table):
            fields = line.split("\t")
            if len(fields) < 4:
                raise ValueError(f"{part.table}, line {number}: expected at least 4 columns, got {len(fields)}")
            name = Path(fields[1]).stem
            path = files.pop(name, part.audio / fields[1])
            text = fields[3].strip() or fields[2].strip()
            yield Item(
                name, str(path), 0.0, None, text, None, language, part.split, is_official=is_official(part.split)
            )
        for name, path in sorted(files.items()):
            yield Item(name, str(path), language=language, split=part.split, is_official=is_official(part.split))


def _parts(folder: Path) -> Iterator[_Part]:
    for inner in folders_below(folder, 2):
        for split in _SPLITS:
            places = (
                (inner / f"{split}.tsv", inner / "audio" / split),
                (inner.parent / "metadata" / inner.name / f"{split}.tsv", inner / split),
            )
            for table, audio in places:
                if table.is_file() and audio.is_dir() and _is_table(table):
                    yield _Part(table, audio, inner.resolve().name, split)


def _is_table(path: Path) -> bool:
    with open_bytes(path) as file:
        fields = file.readline(1 << 16).rstrip().split(b"\t")
    return len(fields) >= 4 and fields[0].isdigit() and fields[1].endswith((b".wav", b".flac"))
