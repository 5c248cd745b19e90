"""Read the `data.json` of ESPnet 1 where it refers to sound files; its usual archives of features are refused.

The data folders of ESPnet 2 are those of Kaldi (`kaldi.py`). Lhotse has no reader for `data.json`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sori.core.json_values import parsed_json
from sori.core.sound.sound_suffixes import is_sound_name
from sori.core.user_files import open_bytes, read_text
from sori.core.walk import folders_below
from sori.data.sources.layouts.parts import Entry, is_official, split_of
from sori.data.sources.recordings import Excluded, Item

_START = b'"utts"'


def recognise(folder: Path) -> bool:
    """Return whether there is a JSON file with `utts` in the folder or directly in one of its subfolders."""
    return any(True for _ in _files(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the utterances of all files."""
    for path in _files(folder):
        yield from read_json_file(path)


def is_data_json(path: Path) -> bool:
    """Return whether a file begins as ESPnet's data.json does."""
    with open_bytes(path) as file:
        return file.read(64).replace(b" ", b"").replace(b"\n", b"").startswith(b"{" + _START)


def read_json_file(path: Path) -> Iterator[Entry]:
    """Yield the utterances of one `data.json`."""
    split = split_of([path.resolve().parent.name])
    try:
        utterances: dict[str, Any] = parsed_json(read_text(path))["utts"]
        for name, about in utterances.items():
            yield _entry(path, name, about, split)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path}: expected {{"utts": {{NAME: {{"input": [{{"feat": FILE}}], "output": [{{"text": TEXT}}]}}}}}} as '
            f"ESPnet writes it ({type(error).__name__}: {error}); likely written by another program, or cut off"
        ) from None


def _entry(path: Path, name: str, about: dict[str, Any], split: str | None) -> Entry:
    source = str(about["input"][0]["feat"])
    if not is_sound_name(Path(source).name):
        detail = (
            f"{source[:60]} is an archive of features, not of sound; prepare the data folder with wav.scp from which "
            "ESPnet computed it"
        )
        return Excluded(name, source, "unsupported format", detail)
    outputs = about.get("output") or [{}]
    text, speaker = outputs[0].get("text"), about.get("utt2spk")
    return Item(
        name,
        str(path.parent / source),
        0.0,
        None,
        text,
        speaker,
        about.get("lang"),
        split,
        is_official=is_official(split),
    )


def _files(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 1):
        for path in sorted(inner.glob("*.json")):
            if path.is_file() and is_data_json(path):
                yield path
