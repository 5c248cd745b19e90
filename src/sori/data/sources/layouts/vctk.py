"""Read VCTK: `txt/SPEAKER/*.txt` and `wav48/` (to 0.80) or `wav48_silence_trimmed/` (0.92, two microphones).

Lhotse's recipe uses the second microphone, which lacks speaker p280, and stops if `speaker-info.txt` is missing; this
uses the first microphone, which is complete, and keeps speaker p315, who has no texts, as untranscribed.
"""

from collections.abc import Iterator
from pathlib import Path

from sori.core.walk import folders_below
from sori.data.sources.layouts.parts import Entry, Note, sound_files
from sori.data.sources.recordings import Excluded, Item, read_transcript

_AUDIO = ("wav48_silence_trimmed", "wav48", "wav16")
_FIRST, _SECOND = "_mic1", "_mic2"


def recognise(folder: Path) -> bool:
    """Return whether the folder, or one in it, has the texts and one of the folders of sound files of VCTK."""
    return _root(folder) is not None


def read(folder: Path) -> Iterator[Entry]:
    """Yield one recording of each sentence."""
    root = _root(folder)
    assert root is not None  # noqa: S101 - recognised before
    files = sound_files(next(root / name for name in _AUDIO if (root / name).is_dir()))
    second = [name for name in files if name.endswith(_SECOND) and name.removesuffix(_SECOND) + _FIRST in files]
    for name in second:
        del files[name]
    if second:
        yield Note(f"VCTK: of {len(second)} sentences with two microphones the first one is used")
    for name, path in sorted(files.items()):
        sentence = name.removesuffix(_FIRST).removesuffix(_SECOND)
        speaker = path.parent.name
        text = read_transcript(root / "txt" / speaker / f"{sentence}.txt")
        if isinstance(text, str | None):
            yield Item(sentence, str(path), text=text, speaker=speaker, language="eng")
        else:
            yield Excluded(sentence, str(path), "unreadable transcript", text.detail)


def _root(folder: Path) -> Path | None:
    for inner in folders_below(folder, 1):
        if (inner / "txt").is_dir() and any((inner / name).is_dir() for name in _AUDIO):
            return inner
    return None
