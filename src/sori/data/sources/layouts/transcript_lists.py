"""Read folders with lists of transcripts at any depth (Zeroth, Free ST American English, AISHELL, AN4 and others).

A list is a text file of lines that begin with the name of a sound file below the same folder, followed by its text; at
least nine tenths of its lines must. Zeroth's `*.trans.txt` beside the sound files are the nearest case, one list at the
top of the corpus the farthest. In the lists of SphinxTrain (AN4) and in `.trn` files, the name follows the text, in
parentheses. The split is that of a folder's name (`train_data_01`), else that of the name of the list
(`an4_test.transcription`); the speaker is the folder, or the first number of a LibriSpeech name.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sori.core.sound.sound_suffixes import is_sound_name
from sori.core.walk import listings
from sori.data.sources.layouts.parts import Entry, Note, is_official, sound_files, split_of
from sori.data.sources.recordings import Excluded, Item, folder_speaker, read_transcript, speaker_in

_NAMES = ("trans", "text", "prompt", "sentence", "content", "label")
_SUFFIXES = ("", ".txt", ".tsv", ".lst", ".list", ".trn", ".transcription")
_WORDS = re.compile(r"[^a-zA-Z]+")
_NAME_LAST = re.compile(r"(?:<s>\s+)?(?P<text>.*?)\s*(?:</s>\s+)?\((?P<name>[^\s()]+)\)")
"""A line of SphinxTrain or of a `.trn` file; `<s>` and `</s>` are the borders of the sentence."""
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
    splits: dict[str, str | None] = {}
    lists = []
    for path in _candidates(folder):
        if rows := _texts(path, files):
            texts |= rows
            splits |= dict.fromkeys(rows, split_of(_WORDS.split(path.name)))
            lists.append(path.relative_to(folder).as_posix())
    more = f" and {len(lists) - 3} more" if len(lists) > 3 else ""
    yield Note(f"{len(texts)} transcripts were read from lists: {', '.join(lists[:3])}{more}")
    for name, path in sorted(files.items()):
        inner = path.parent.relative_to(folder).parts
        split = split_of(inner) or splits.get(name) or split_of([folder.resolve().name])
        speaker = speaker_in(name) or folder_speaker(inner)
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
            suffix = path.suffix.lower()
            is_named_so = suffix == ".trn" or (suffix in _SUFFIXES and any(word in name.lower() for word in _NAMES))
            if is_named_so and path.stat().st_size < _LARGEST_BYTES:
                yield path


def _texts(path: Path, files: dict[str, Path]) -> dict[str, str]:
    """Return the texts of a list by name; empty if it is not a list of these files."""
    content = read_transcript(path)
    lines = [line for line in content.split("\n") if line.strip()] if isinstance(content, str) else []
    rows = dict(_row(line, files) for line in lines)
    known = sum(name in files for name in rows)
    return rows if known and known >= _LEAST_FRACTION * len(rows) and len(rows) >= _LEAST_FRACTION * len(lines) else {}


def _row(line: str, files: dict[str, Path]) -> tuple[str, str]:
    separator = next((one for one in ("\t", "|") if one in line), None)
    name, _, text = line.strip().partition(separator or " ")
    base = name.strip().rsplit("/", 1)[-1]
    base = Path(base).stem if is_sound_name(base) else base
    if base not in files and (found := _NAME_LAST.fullmatch(line.strip())) and found["name"] in files:
        return found["name"], found["text"]
    return base, text.strip()
