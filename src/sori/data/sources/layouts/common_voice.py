"""Read Common Voice as Mozilla distributes it: `clips/` and tables beside it, for one language or a folder of several.

`train.tsv`, `dev.tsv` and `test.tsv` are the official sets. What is only in `validated.tsv` repeats sentences of these
sets, possibly of `test`: it gets the split `validated`, which is held out of training by default. A language without
official tables (delta segments, extracts) has its validated clips as `train`. Clips whose sentence was found to be
wrong (`invalidated.tsv`) and clips in no table are untranscribed.

Lhotse's recipe reads 24 of the languages, only their official sets, and opens every clip; this reads the tables only.
"""

from collections.abc import Iterator
from pathlib import Path

from sori.core.user_files import open_bytes
from sori.core.walk import folders_below
from sori.data.sources.language_codes import iso639_3
from sori.data.sources.layouts.parts import Entry, Note, sound_files, text_lines
from sori.data.sources.recordings import Item

_OFFICIAL = ("train", "dev", "test")
_TABLES = (*_OFFICIAL, "validated", "other", "invalidated")
_DEPTH = 3
_SHOWN = 5


def recognise(folder: Path) -> bool:
    """Return whether there are clips with tables of Common Voice in the folder or one of its subfolders."""
    return any(True for _ in _languages(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the clips of all languages, those of the tables first."""
    without_sets, num_untabled = [], 0
    for language in _languages(folder):
        tables = [name for name in _TABLES if _is_table(language / f"{name}.tsv")]
        has_train = False
        for item in _read_language(language, tables):
            num_untabled += item.split is None
            has_train = has_train or item.split == "train"
            yield item
        if has_train and not any(name in _OFFICIAL for name in tables):
            without_sets.append(language.resolve().name)
    if without_sets:
        names = ", ".join(without_sets[:_SHOWN]) + (", ..." if len(without_sets) > _SHOWN else "")
        yield Note(f"no train.tsv, dev.tsv or test.tsv for {names}: validated clips are `train`")
    if num_untabled:
        yield Note(f"{num_untabled} clips are in no table of Common Voice and untranscribed")


def _languages(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, _DEPTH):
        if (inner / "clips").is_dir() and any(_is_table(inner / f"{name}.tsv") for name in _TABLES):
            yield inner


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    with open_bytes(path) as file:
        columns = file.readline(4096).removeprefix(b"\xef\xbb\xbf").rstrip().split(b"\t")
    return b"client_id" in columns and b"path" in columns


def _read_language(folder: Path, tables: list[str]) -> Iterator[Item]:
    has_sets = any(name in _OFFICIAL for name in tables)
    seen: set[str] = set()
    language = iso639_3(folder.name)
    for table in tables:
        for row in _rows(folder / f"{table}.tsv"):
            clip = row["path"] if Path(row["path"]).suffix else f"{row['path']}.mp3"  # the first releases had none
            if clip in seen:
                continue
            seen.add(clip)
            language = iso639_3(row.get("locale") or folder.name)
            yield Item(
                Path(clip).stem,
                str(folder / "clips" / clip),
                text=None if table == "invalidated" else row.get("sentence"),
                speaker=row["client_id"] or None,
                language=language,
                split="train" if table == "validated" and not has_sets else table,
                is_official=table in ("dev", "test"),
            )
    for path in sound_files(folder / "clips").values():
        if path.name not in seen:
            yield Item(path.stem, str(path), language=language)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table; quotation marks have no meaning in it."""
    lines = text_lines(path)
    header = next(lines)[1].split("\t")
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) < len(header):  # empty last columns that an editor cut off
            fields += [""] * (len(header) - len(fields))
        row = dict(zip(header, fields, strict=False))
        if len(fields) > len(header) or not row["path"]:
            raise ValueError(
                f"{path}, line {number}: expected {len(header)} columns with the name of a clip, got {len(fields)}: "
                f"{line[:60]!r}; likely the table was edited with another program: restore it"
            )
        yield row
