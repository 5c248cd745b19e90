"""Compare names of files that look alike: macOS writes é as two characters (NFD), most other programs as one (NFC)."""

import unicodedata
from functools import lru_cache
from pathlib import Path


def same_name(name: str) -> str:
    """Return a key that is equal for names that look alike in either form."""
    return unicodedata.normalize("NFC", name)


def existing(path: Path) -> Path:
    """Return the file or folder of a path whose names may be written in another form; the path itself if none is."""
    if str(path).isascii() or path.exists():
        return path
    parent = existing(path.parent) if path.parent != path else path
    if not parent.is_dir():
        return path
    return parent / _names(parent, parent.stat().st_mtime_ns).get(same_name(path.name), path.name)


@lru_cache(maxsize=64)
def _names(folder: Path, _changed: int) -> dict[str, str]:
    return {same_name(path.name): path.name for path in sorted(folder.iterdir())}
