"""Read Multilingual LibriSpeech: `mls_LANGUAGE/{train,dev,test}/transcripts.txt` and `audio/` beside it.

Lhotse's recipe requires `metainfo.txt` and opens every file; this reads the transcripts only.
"""

from collections.abc import Iterator
from pathlib import Path

from sori.core.walk import folders_below
from sori.data.sources.layouts.parts import Entry, is_official, sound_files, text_lines
from sori.data.sources.recordings import Excluded, Item

_SPLITS = ("train", "dev", "test")
_LANGUAGES = {
    "dutch": "nld",
    "english": "eng",
    "french": "fra",
    "german": "deu",
    "italian": "ita",
    "polish": "pol",
    "portuguese": "por",
    "spanish": "spa",
}


def recognise(folder: Path) -> bool:
    """Return whether the folder is a language of MLS, or contains languages."""
    return any(True for _ in _languages(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the utterances of all languages and splits."""
    for language in _languages(folder):
        words = language.resolve().name.split("_")
        code = next((_LANGUAGES[word] for word in words if word in _LANGUAGES), None)
        for split in _SPLITS:
            if (language / split / "audio").is_dir():
                yield from _read_split(language / split, split, code)


def _languages(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 1):
        if any(
            (inner / split / "transcripts.txt").is_file() and (inner / split / "audio").is_dir() for split in _SPLITS
        ):
            yield inner


def _read_split(folder: Path, split: str, language: str | None) -> Iterator[Entry]:
    files = sound_files(folder / "audio")
    table = folder / "transcripts.txt"
    texts = dict(line.partition("\t")[::2] for _, line in text_lines(table)) if table.is_file() else {}
    for name in sorted(files | texts):
        if name in files:
            speaker = name.partition("_")[0]
            path, text = str(files[name]), texts.get(name)
            yield Item(name, path, 0.0, None, text, speaker, language, split, is_official=is_official(split))
        else:
            yield Excluded(
                name, str(folder / "audio" / name), "missing", "listed in transcripts.txt, but not in audio/"
            )
