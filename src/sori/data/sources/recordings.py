"""Read a folder of recordings into a list of items; the types that all sources of recordings share."""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sori.core.file_names import existing, same_name
from sori.core.sound.sound_suffixes import SOUND_SUFFIXES, is_sound_name
from sori.core.user_files import read_text
from sori.core.walk import Listing, listings
from sori.data.sources.annotations.annotation_files import SAYMORE, SUFFIXES, read_annotation
from sori.data.sources.annotations.audacity import is_label_track
from sori.data.sources.annotations.stretches import NoTierError

_NO_SPEAKER = re.compile(
    r"(?i:(?:(?:audio|sound|speech|wav|flac|mp3|ogg|opus|m4a|clip|recording|utterance|file|folder|dataset|corpus)s?|data"
    r"|dev|test|eval|valid|train(?:ing)?|development|validation|evaluation)(?:[-_. ]?(?:files?|data|set|clean|other))*"
    r"[-_. ]?\d*)"
)
"""Names of folders that say what is in them, and not who speaks."""
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
    is_official: bool = False
    """Part of an official development or test set, which is never left out or cut because of its length."""
    channel: int | None = None
    """Channel, numbered from 0; None: all, averaged or separate, by the option of `prepare`."""


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


def read_folder(folder: Path, tiers: Sequence[str] = ()) -> Found:
    """Read all sound files below a folder, sorted by path.

    A transcript is `NAME.txt` beside `NAME.wav` (or another sound file), the line of `NAME` in a `*.trans.txt` of the
    same folder, as in LibriSpeech, or an annotation file of the same name (ELAN, Praat, Audacity and others), whose
    stretches become utterances. The speaker is that of the annotation, the first number of a LibriSpeech name
    (`1089-134686-0000`), or the name of the folder that contains the file (see `folder_speaker`); files directly in
    `folder` have none.

    Args:
        folder: the folder.
        tiers: names, types or speakers of the tiers with transcripts, in annotation formats with tiers; if given,
            annotations are preferred to text files.
    """
    reader = _FolderReader(folder, tiers)
    for listing in listings(folder):
        reader.add(listing)
    reader.finish()
    if (folder / "manifest.jsonl").is_file():
        note = f"{folder}/manifest.jsonl was not used; to use it, pass its path instead of the folder"
        reader.found.notes.append(note)
    return reader.found


class _FolderReader:
    """What is found in the folders so far."""

    def __init__(self, folder: Path, tiers: Sequence[str]) -> None:
        self.folder, self.tiers = folder, tiers
        self.found = Found([], [], Counter(), [])
        self.stray: list[Path] = []
        """Annotation files without a sound file of the same name beside them."""
        self.annotated: Counter[str] = Counter()
        self.tier_names: Counter[str] = Counter()
        self.num_texts_preferred = 0

    def add(self, listing: Listing) -> None:
        """Add the files of one folder."""
        here, found = listing.folder, self.found
        if listing.error is not None:
            found.excluded.append(Excluded(self.name(here), str(here), "unreadable", listing.error))
            return
        if here != self.folder and here.suffix.lower() in SOUND_SUFFIXES:
            detail = "a folder named like a sound file; the files in it were checked"
            found.excluded.append(Excluded(self.name(here), str(here), "wrongly named", detail))
        found.others.update({"hidden folders and trash": len(listing.skipped)} if listing.skipped else {})
        lines = _trans_lines(here, listing.names, found)
        annotations = _annotations_by_name(listing.names)
        stems = {same_name(Path(name).stem) for name in listing.names if is_sound_name(name)}
        used = set[str]()
        for name in listing.names:
            path, suffix = here / name, Path(name).suffix.lower()
            if name.startswith("."):
                found.others["hidden"] += 1
            elif is_sound_name(name):
                beside = annotations.get(name + SAYMORE) or annotations.get(same_name(path.stem))
                used |= {beside} if beside else set()
                self.add_file(path, lines, here / beside if beside else None)
            elif (
                suffix not in SUFFIXES
                and not name.endswith(".trans.txt")
                and (suffix != ".txt" or same_name(path.stem) not in stems)
            ):
                found.others[suffix or "no suffix"] += 1
        self.stray += [here / name for name in annotations.values() if name not in used]
        others = {name for name in listing.names if Path(name).suffix.lower() in SUFFIXES} - set(annotations.values())
        found.others.update(f"{Path(name).suffix}, beside another annotation" for name in others)
        for stem in sorted(lines.keys() - stems):
            detail = "listed in a .trans.txt, but there is no such sound file"
            found.excluded.append(Excluded(stem, str(here / stem), "missing", detail))

    def add_file(self, path: Path, lines: dict[str, str], annotation: Path | None) -> None:
        """Add a sound file with its transcript or annotation."""
        name = self.name(path)
        try:
            str(path).encode()
        except UnicodeEncodeError:
            detail = _unusable_name(path)
            self.found.excluded.append(Excluded(_printable(name), _printable(str(path)), "wrongly named", detail))
            return
        speaker = speaker_in(path.stem) or folder_speaker(path.parent.relative_to(self.folder).parts)
        item = Item(name, str(path), text=lines.get(same_name(path.stem)), speaker=speaker)
        text = read_transcript(path.with_suffix(".txt"))
        if isinstance(text, str) and is_label_track(text):
            annotation, text = annotation or path.with_suffix(".txt"), None
        if annotation is not None and (self.tiers or text is None):
            self.annotate(item, annotation)
        elif isinstance(text, Excluded):
            self.found.excluded.append(text._replace(id=name, path=str(path)))
        else:
            self.num_texts_preferred += annotation is not None
            self.found.items.append(item if text is None else item._replace(text=text))

    def annotate(self, item: Item, path: Path) -> None:
        """Add the stretches of an annotation file as utterances of a recording."""
        try:
            annotation = read_annotation(path, self.tiers)
        except NoTierError as error:
            self.found.excluded.append(Excluded(item.id, item.path, "no transcript tier", f"{path.name}: {error}"))
            return
        except (OSError, ValueError) as error:
            self.found.excluded.append(Excluded(item.id, item.path, "unreadable transcript", str(error)))
            return
        self.annotated[path.suffix.lower()] += 1
        self.tier_names.update(annotation.tiers)
        for number, one in enumerate(annotation.stretches, 1):
            name = f"{item.id}-{number:04d}"
            if one.end <= one.start:
                detail = f"{path.name}: a stretch from {one.start:g} s to {one.end:g} s"
                self.found.excluded.append(Excluded(name, item.path, "no duration", detail))
                continue
            row = item._replace(id=name, start=one.start, duration=one.end - one.start, text=one.text)
            self.found.items.append(row if one.speaker is None else row._replace(speaker=one.speaker))

    def finish(self) -> None:
        """Attach annotation files to sound files elsewhere, by their name or the name in them, and add notes."""
        if self.stray:
            self._attach()
        if self.annotated:
            formats = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(self.annotated.items()))
            tiers = ", ".join(f"{name} ({count})" for name, count in self.tier_names.most_common(10))
            note = f"{self.folder}: transcripts of recordings were read from annotations: {formats}"
            self.found.notes.append(note + (f"; tiers: {tiers}" if tiers else ""))
        if self.num_texts_preferred:
            self.found.notes.append(
                f"{self.num_texts_preferred} recordings have both NAME.txt and an annotation; the text was used: to "
                "use the annotations, remove the text files or name the tiers with --tier"
            )

    def _attach(self) -> None:
        files: dict[str, list[int]] = {}
        for index, item in enumerate(self.found.items):
            if item.text is None and item.duration is None:
                for name in {Path(item.path).stem, Path(item.path).name}:
                    files.setdefault(name, []).append(index)
        attached: set[int] = set()
        for path in self.stray:
            matching = files.get(path.stem) or next((files[m] for m in _media(path, self.tiers) if m in files), [])
            if len(matching) == 1 and matching[0] not in attached:
                attached.add(matching[0])
                self.annotate(self.found.items[matching[0]], path)
            else:
                self.found.others[f"{path.suffix} without a sound file"] += 1
        self.found.items[:] = [item for index, item in enumerate(self.found.items) if index not in attached]

    def name(self, path: Path) -> str:
        """Return the path relative to the folder, without its suffix."""
        return path.relative_to(self.folder).with_suffix("").as_posix() if path != self.folder else path.name


def _annotations_by_name(names: Sequence[str]) -> dict[str, str]:
    """Return annotation files by the name of their recording; of several, the first in the order of `SUFFIXES`."""
    found: dict[str, str] = {}
    for name in sorted((n for n in names if not n.startswith(".")), key=lambda n: (_order(n), n)):
        if name.endswith(SAYMORE):
            found[name] = name
        elif Path(name).suffix.lower() in SUFFIXES:
            found.setdefault(same_name(Path(name).stem), name)
    return found


def _order(name: str) -> int:
    suffix = Path(name).suffix.lower()
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)


def _media(path: Path, tiers: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the recording that an annotation file contains; none if it cannot be read."""
    try:
        return read_annotation(path, tiers).media
    except (OSError, ValueError):
        return ()


def folder_speaker(names: Sequence[str]) -> str | None:
    """Return the innermost of the folders that contain a file whose name can be that of a speaker, or None.

    Names of kinds of content (`wav`, `data`, `clips48`, `train-clean-5`) are not.
    """
    return next((name for name in reversed(names) if not _NO_SPEAKER.fullmatch(name)), None)


def speaker_in(name: str) -> str | None:
    """Return the first number of a LibriSpeech name (`1089-134686-0000`), or None for other names."""
    found = _LIBRISPEECH_NAME.fullmatch(name)
    return found[1] if found else None


def read_transcript(path: Path) -> str | Excluded | None:
    """Return the text of a UTF-8 file, None if there is none, or the reason why it cannot be read.

    The suffix may be in capitals (`.TXT`).
    """
    for place in (path, path.with_suffix(path.suffix.upper()), path.with_suffix(path.suffix.lower().capitalize())):
        try:
            file = existing(place)
            if file.exists() and not file.is_dir():
                return read_text(file)
        except (OSError, ValueError) as error:
            return Excluded(path.stem, str(path), "unreadable transcript", str(error))
    return None


def _trans_lines(directory: Path, names: list[str], found: Found) -> dict[str, str]:
    lines: dict[str, str] = {}
    for name in names:
        if name.endswith(".trans.txt"):
            text = read_transcript(directory / name)
            if isinstance(text, Excluded):
                found.excluded.append(text._replace(id=name))
                continue
            for line in (text or "").split("\n"):
                stem, _, transcript = line.strip().partition(" ")
                if stem:
                    lines[same_name(stem)] = transcript
    return lines


def _unusable_name(path: Path) -> str:
    """Return what is wrong with a name that is not UTF-8 as Python reads it, by the locale."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return "the file name is not UTF-8; rename it"
    locale = sys.getfilesystemencoding()
    return f"its name has characters that the locale ({locale}) lacks; repeat the command with LC_ALL=C.UTF-8"


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
