"""Read TIMIT: `{TRAIN,TEST}/DR1/SPEAKER/SENTENCE.WAV` with `SENTENCE.TXT`, in capitals or not.

The usual division of `TEST` into the core test set (24 speakers), a development set (50) and the rest is Lhotse's.
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from sori.core.sound.sound_suffixes import is_sound_name
from sori.core.walk import entries, folders_below, listings
from sori.data.sources.layouts.parts import Entry, is_official
from sori.data.sources.recordings import Excluded, Item, read_transcript

_SPEAKER = re.compile(r"[fm][a-z]{3}\d", re.IGNORECASE)
_REGION = re.compile(r"dr[1-8]", re.IGNORECASE)
_SAMPLES = re.compile(r"^\s*\d+\s+\d+\s+")
"""First and last sample, at the beginning of each text."""


def recognise(folder: Path) -> bool:
    """Return whether there are folders TRAIN or TEST with dialect regions in the folder or below it."""
    return any(True for _ in _sets(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield all sentences; splits are `train`, `dev`, `test` (core), and `test-rest`."""
    dev, core = importlib.import_module("lhotse.recipes.timit").get_speakers()  # takes a second
    for part in _sets(folder):
        for listing in listings(part):
            speaker = listing.folder.name
            if not _SPEAKER.fullmatch(speaker):
                continue
            split = "train"
            if part.name.lower() == "test":
                split = "dev" if speaker.lower() in dev else "test" if speaker.lower() in core else "test-rest"
            for name in listing.names:
                # `SA1.WAV` is the original in NIST's format, `SA1.WAV.wav` a common conversion beside it
                if is_sound_name(name) and f"{name}.wav" not in listing.names:
                    yield _sentence(listing.folder / name, speaker, split)


def _sets(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 3):
        if inner.name.lower() in ("train", "test") and any(
            _REGION.fullmatch(region.name) for region in entries(inner) if region.is_dir()
        ):
            yield inner


def _sentence(path: Path, speaker: str, split: str) -> Entry:
    sentence = path.name.split(".")[0]
    name = f"{speaker}-{sentence}"
    text = read_transcript(path.with_name(f"{sentence}.txt"))
    if isinstance(text, Excluded):
        return text._replace(id=name, path=str(path))
    if text is not None:
        text = _SAMPLES.sub("", text)
    return Item(name, str(path), 0.0, None, text, speaker, "eng", split, is_official=is_official(split))
