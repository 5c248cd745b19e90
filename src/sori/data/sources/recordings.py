"""Read a folder of recordings into a list of items; the types that all sources of recordings share."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sori.core.file_names import same_name
from sori.core.text_files import read_unicode

AUDIO = frozenset(
    ".wav .wave .flac .mp3 .ogg .oga .opus .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .nist".split()  # noqa: SIM905
)
"""Suffixes of sound files that are checked."""
FOREIGN_AUDIO = frozenset(".m4a .mp4 .aac .wma .webm .mkv .mov .amr .3gp .m4b .ra .ape .wv .shn .spx".split())  # noqa: SIM905
"""Suffixes of sound files that libsndfile cannot decode."""

_LIBRISPEECH_NAME = re.compile(r"(\d+)-\d+-\d+")


class Item(NamedTuple):
    """A file or a segment of a file as its source describes it, not yet checked."""

    id: str
    path: str
    start: float = 0.0
    duration: float | None = None
    """Seconds; None: to the end of the file."""
    text: str | None = None
    """None: untranscribed."""
    speaker: str | None = None
    language: str | None = None
    split: str | None = None


class Excluded(NamedTuple):
    """A file or row that is left out."""

    id: str
    path: str
    reason: str
    detail: str


class Found(NamedTuple):
    """Everything in a source."""

    items: list[Item]
    excluded: list[Excluded]
    """What is unusable without decoding it."""
    others: Counter[str]
    """Number of files that are neither sound nor transcripts, by suffix."""
    notes: list[str]
    """Notes for the user about how the source was read."""


def read_folder(folder: Path) -> Found:
    """Read all sound files below a folder, sorted by path.

    A transcript is `NAME.txt` beside `NAME.wav` (or another sound file), or the line of `NAME` in a `*.trans.txt` of
    the same folder, as in LibriSpeech. The speaker is the first number of a LibriSpeech name (`1089-134686-0000`),
    otherwise the name of the folder that contains the file; files directly in `folder` have no speaker.
    """
    found = Found([], [], Counter(), [])
    for directory in _folders(folder, found):
        names = sorted(entry.name for entry in os.scandir(directory) if not entry.is_dir())
        _add_directory(directory, names, folder, found)
    if (folder / "manifest.jsonl").is_file():
        found.notes.append(f"{folder}/manifest.jsonl was not used; to use it, pass its path instead of the folder")
    return found


def _folders(folder: Path, found: Found) -> Iterator[Path]:
    """Yield the folder and all folders below it; links are followed once."""
    waiting, seen = [folder], set()
    while waiting:
        directory = waiting.pop()
        try:
            inner = sorted((entry.name for entry in os.scandir(directory) if entry.is_dir()), reverse=True)
        except OSError as error:
            found.excluded.append(Excluded(_name(directory, folder), str(directory), "unreadable", str(error)))
            continue
        if directory.resolve() in seen:
            continue
        seen.add(directory.resolve())
        if directory != folder and directory.suffix.lower() in AUDIO:
            detail = "a folder named like a sound file; the files in it were checked"
            found.excluded.append(Excluded(_name(directory, folder), str(directory), "wrongly named", detail))
        yield directory
        waiting += [directory / name for name in inner]


def _add_directory(directory: Path, names: list[str], folder: Path, found: Found) -> None:
    lines = _trans_lines(directory, names, found)
    texts = {same_name(Path(name).stem): directory / name for name in names if Path(name).suffix.lower() == ".txt"}
    sounds = (name for name in names if Path(name).suffix.lower() in AUDIO and not name.startswith("."))
    stems = {same_name(Path(name).stem) for name in sounds}
    for name in names:
        path, suffix = directory / name, Path(name).suffix.lower()
        if name.startswith("."):
            found.others["hidden"] += 1
        elif suffix in AUDIO:
            _add_file(path, folder, lines, texts.get(same_name(path.stem)), found)
        elif suffix in FOREIGN_AUDIO:
            detail = f"this format cannot be decoded; convert it: ffmpeg -i {name} {path.stem}.flac"
            found.excluded.append(Excluded(_name(path, folder), str(path), "unsupported format", detail))
        elif not name.endswith(".trans.txt") and not (suffix == ".txt" and same_name(path.stem) in stems):
            found.others[suffix or "no suffix"] += 1
    for stem in sorted(lines.keys() - stems):
        detail = "listed in a .trans.txt, but there is no such sound file"
        found.excluded.append(Excluded(stem, str(directory / stem), "missing", detail))


def _add_file(path: Path, folder: Path, lines: dict[str, str], beside: Path | None, found: Found) -> None:
    name = _name(path, folder)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        detail = "the file name is not UTF-8; rename it"
        found.excluded.append(Excluded(_printable(name), _printable(str(path)), "wrongly named", detail))
        return
    text = lines.get(same_name(path.stem))
    try:
        if beside is not None:
            text = read_unicode(beside)
    except (OSError, ValueError) as error:
        detail = str(error)
        found.excluded.append(Excluded(name, str(path), "unreadable transcript", detail))
        return
    numbers = _LIBRISPEECH_NAME.fullmatch(path.stem)
    speaker = numbers[1] if numbers else path.parent.name if path.parent != folder else None
    found.items.append(Item(name, str(path), text=text, speaker=speaker))


def _trans_lines(directory: Path, names: list[str], found: Found) -> dict[str, str]:
    lines: dict[str, str] = {}
    for name in names:
        if name.endswith(".trans.txt"):
            try:
                text = read_unicode(directory / name)
            except (OSError, ValueError) as error:
                detail = str(error)
                found.excluded.append(Excluded(name, str(directory / name), "unreadable transcript", detail))
                continue
            for line in text.splitlines():
                stem, _, transcript = line.strip().partition(" ")
                if stem:
                    lines[same_name(stem)] = transcript
    return lines


def _name(path: Path, folder: Path) -> str:
    """Return the path relative to the folder, without its suffix."""
    return path.relative_to(folder).with_suffix("").as_posix() if path != folder else path.name


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
