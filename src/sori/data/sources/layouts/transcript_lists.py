"""Read folders with lists of transcripts at any depth (Zeroth, Free ST American English, AISHELL, AN4 and others).

A list is a text file of lines that begin with the name of a sound file below the same folder, followed by its text; at
least nine tenths of its lines must. Zeroth's `*.trans.txt` beside the sound files are the nearest case, one list at the
top of the corpus the farthest. The split is that of a folder's name (`train_data_01`); the speaker is the folder, or
the first number of a LibriSpeech name.
"""

from collections.abc import Iterator
from pathlib import Path

from sori.core.sound.sound_suffixes import is_sound_name
from sori.core.walk import listings
from sori.data.sources.layouts.parts import Entry, Note, is_official, sound_files, split_of
from sori.data.sources.recordings import Excluded, Item, read_transcript, speaker_in

_NAMES = ("trans", "text", "prompt", "sentence", "content", "label")
_SUFFIXES = ("", ".txt", ".tsv", ".lst", ".list", ".trn", ".transcription")
_LEAST_FRACTION = 0.9
_LARGEST_BYTES = 1 << 28


def recognise(folder: Path) -> bool:
    """Return whether there are lists with lines for about half of the sound files or more."""
    candidates = list(_candidates(folder))
    files = sound_files(folder) if candidates else {}
    num_lines = sum(len(_texts(path, files)) for path in candidates)
    return num_lines > 0 and num_lines >= _LEAST_FRACTION / 2 * len(files)


def read(folder: Path) -> Iterator[Entry]:
    """Yield all sound files, with the text of the lists."""
    files = sound_files(folder)
    texts: dict[str, str] = {}
    lists = []
    for path in _candidates(folder):
        if rows := _texts(path, files):
            texts |= rows
            lists.append(path.relative_to(folder).as_posix())
    more = f" and {len(lists) - 3} more" if len(lists) > 3 else ""
    yield Note(f"{len(texts)} transcripts were read from lists: {', '.join(lists[:3])}{more}")
    for name, path in sorted(files.items()):
        inner = path.parent.relative_to(folder).parts
        split = split_of((folder.resolve().name, *inner))
        speaker = speaker_in(name) or (inner[-1] if inner and split_of(inner[-1:]) is None else None)
        text = texts[name] if name in texts else read_transcript(path.with_suffix(".txt"))
        if isinstance(text, Excluded):
            yield text._replace(id=name, path=str(path))
        else:
            yield Item(name, str(path), 0.0, None, text, speaker, None, split, is_official=is_official(split))
    for name in sorted(texts.keys() - files.keys()):
        yield Excluded(name, str(folder / name), "missing", "in a list of transcripts, but there is no such sound file")


def _candidates(folder: Path) -> Iterator[Path]:
    for listing in listings(folder):
        for name in listing.names:
            path = listing.folder / name
            is_named_so = path.suffix.lower() in _SUFFIXES and any(word in name.lower() for word in _NAMES)
            if is_named_so and path.stat().st_size < _LARGEST_BYTES:
                yield path


def _texts(path: Path, files: dict[str, Path]) -> dict[str, str]:
    """Return the texts of a list by name; empty if it is not a list of these files."""
    content = read_transcript(path)
    lines = [line for line in content.split("\n") if line.strip()] if isinstance(content, str) else []
    rows = dict(_row(line) for line in lines)
    known = sum(name in files for name in rows)
    return rows if known and known >= _LEAST_FRACTION * len(rows) and len(rows) >= _LEAST_FRACTION * len(lines) else {}


def _row(line: str) -> tuple[str, str]:
    separator = next((one for one in ("\t", "|") if one in line), None)
    name, _, text = line.strip().partition(separator or " ")
    base = name.strip().rsplit("/", 1)[-1]
    return (Path(base).stem if is_sound_name(base) else base), text.strip()
