"""Read data folders of Kaldi and ESPnet 2: `wav.scp`, and `segments`, `text`, `utt2spk`, `utt2lang` where they exist.

Relative paths in `wav.scp` start at the folder in which the recipe was run: it is searched among the folders above the
data folder. Commands (lines that end in `|`) and archives (`file.ark:123`) are refused with the reason, because it is
not safe to run commands that come with data. Lhotse's `load_kaldi_data_dir` opens every recording, runs such commands,
needs the sampling rate, and stops with an `AssertionError` if the lists differ in length.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sori.core.walk import folders_below
from sori.data.sources.language_codes import iso639_3
from sori.data.sources.layouts.parts import Entry, is_official, split_of, text_lines
from sori.data.sources.recordings import Excluded, Item

_ARCHIVE = re.compile(r".*\.ark:\d+")


def recognise(folder: Path) -> bool:
    """Return whether the folder is a data folder, or contains data folders (`data/train`, `data/test`)."""
    return any(True for _ in _data_folders(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the utterances of all data folders; the split is the name of the folder if it names one."""
    for inner in _data_folders(folder):
        yield from _read_data_folder(inner)


def _data_folders(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 2):
        if (inner / "wav.scp").is_file():
            yield inner


def _read_data_folder(folder: Path) -> Iterator[Entry]:
    sources = _mapping(folder / "wav.scp")
    base = _base(folder, sources)
    texts, speakers, languages = (_mapping(folder / name) for name in ("text", "utt2spk", "utt2lang"))
    split = split_of([folder.resolve().name])
    for name, recording, start, duration in _segments(folder, sources):
        source = sources.get(recording)
        if source is None:
            yield Excluded(name, str(folder / recording), "missing", f"recording {recording} is not in wav.scp")
        elif problem := _problem(source):
            yield Excluded(name, source, "unsupported format", problem)
        else:
            yield Item(
                name,
                str(base / source),
                start,
                duration,
                texts.get(name),
                speakers.get(name),
                iso639_3(languages.get(name, "")),
                split,
                is_official=is_official(split),
            )


def _segments(folder: Path, sources: dict[str, str]) -> Iterator[tuple[str, str, float, float | None]]:
    """Yield utterance, recording, start and duration; without `segments`, each recording is an utterance."""
    path = folder / "segments"
    if not path.is_file():
        yield from ((name, name, 0.0, None) for name in sources)
        return
    for number, line in text_lines(path):
        try:
            name, recording, start, end = line.split()[:4]
            first, last = float(start), float(end)
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: expected UTTERANCE RECORDING START END with times in seconds, got {line!r}"
            ) from None
        if not 0 <= first < float("inf") or (last != -1 and not first < last < float("inf")):
            raise ValueError(f"{path}, line {number}: expected 0 <= START < END, or END = -1, got {line!r}")
        yield name, recording, first, None if last == -1 else last - first


def _mapping(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    rows = (line.strip().split(maxsplit=1) for _, line in text_lines(path))
    return {row[0]: row[1] if len(row) > 1 else "" for row in rows}


def _problem(source: str) -> str | None:
    if source.endswith("|"):
        return (
            f"wav.scp has a command here ({source[:60]}), and sori runs no commands that come with data; write the "
            "sound to files (in Kaldi: wav-copy scp:wav.scp scp,t:...) and name these in wav.scp"
        )
    if _ARCHIVE.fullmatch(source):
        return "an archive of Kaldi; copy its content to sound files (wav-copy) and name these in wav.scp"
    return None


def _base(folder: Path, sources: dict[str, str]) -> Path:
    """Return the folder at which relative paths start: the nearest one below which the first file exists."""
    first = next((Path(one) for one in sources.values() if _problem(one) is None), None)
    if first is None or first.is_absolute():
        return folder
    here = folder.resolve()
    return next((base for base in (here, *here.parents) if (base / first).exists()), folder)
