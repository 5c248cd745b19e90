"""Read the Free ST Chinese Mandarin corpus: `NAME.wav`, `NAME.txt` and `NAME.metadata` in one folder.

Names contain the speaker: in `20170001P00001A0001`, P00001A. Lhotse's recipe gives the same speakers and texts, without
the spaces in the texts.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sori.core.walk import entries, folders_below
from sori.data.sources.layouts.parts import Entry, sound_files
from sori.data.sources.recordings import Excluded, Item, read_transcript

_NAME = re.compile(r"\d{8}(P\d{5}[A-Z])\d{4}")


def recognise(folder: Path) -> bool:
    """Return whether the folder, or one in it, contains files of that name with metadata."""
    return _root(folder) is not None


def read(folder: Path) -> Iterator[Entry]:
    """Yield all recordings."""
    root = _root(folder)
    assert root is not None  # noqa: S101 - recognised before
    for name, path in sorted(sound_files(root).items()):
        found = _NAME.fullmatch(name)
        text = read_transcript(path.with_suffix(".txt"))
        if isinstance(text, Excluded):
            yield text._replace(id=name, path=str(path))
        else:
            yield Item(name, str(path), text=text, speaker=found[1] if found else None, language="cmn")


def _root(folder: Path) -> Path | None:
    for inner in folders_below(folder, 1):
        metadata = next((path for path in entries(inner) if path.suffix == ".metadata"), None)
        if metadata is not None and _NAME.fullmatch(metadata.stem):
            return inner
    return None
