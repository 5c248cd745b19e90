"""Find the sound files that a table names: beside the table, below a folder, or by their names."""

import itertools
import os
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePath

from sori.core.file_names import existing
from sori.core.sound.sound_suffixes import SOUND_SUFFIXES

_MOST_FILES = 5_000_000


class AudioPaths:
    """The sound files of a table.

    A path is tried relative to the folder of the table, then to `root`; then a file of that name is looked for below
    `root`. Names match in any Unicode normal form; a name without the suffix of a sound file matches any.

    Args:
        table: table that names the files.
        root: folder of the recordings, if it is not that of the table.

    Raises:
        ValueError: `root` is not a folder.
    """

    def __init__(self, table: Path, root: Path | None) -> None:
        if root is not None and not root.is_dir():
            raise ValueError(f"expected the folder of the recordings as audio root, got {root}, which is not a folder")
        self.table, self.root = table, root
        self._found: dict[str, Path] = {}
        self._below: dict[str, list[Path]] | None = None

    def find(self, name: str, where: str) -> Path:
        """Return the path of a file; one that exists nowhere is returned relative to the folder of the table.

        Args:
            name: path in the table.
            where: place in the table, for the error message.

        Raises:
            ValueError: several files have that name.
        """
        if name not in self._found:
            self._found[name] = self._find(name, where)
        return self._found[name]

    def any_exists(self) -> bool:
        """Return whether any of the files that were looked for exists."""
        return any(_exists(path) for path in self._found.values())

    def _find(self, name: str, where: str) -> Path:
        beside = _existing(self.table.parent / name)  # an absolute path stays as it is
        if self.root is None or _exists(beside):
            return beside
        if _exists(below := _existing(self.root / name)):
            return below
        if self._below is None:
            self._below = _files_below(self.root)
        same = _nearest(self._below.get(_key(name)[-1], []), name)
        if len(same) > 1:
            raise ValueError(
                f"{where}: expected one file named {name!r} below {self.root}, got {len(same)}: {same[0]}, {same[1]}"
                f"{', ...' if len(same) > 2 else ''}; write paths relative to {self.root} into the table"
            )
        return same[0] if same else beside


def _existing(path: Path) -> Path:
    try:
        return existing(path)
    except (OSError, ValueError):  # a name that no file can have
        return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _files_below(folder: Path) -> dict[str, list[Path]]:
    found, count = defaultdict[str, list[Path]](list), 0
    for directory, _, names in os.walk(folder):
        count += len(names)
        if count > _MOST_FILES:
            raise ValueError(
                f"expected at most {_MOST_FILES:,} files below {folder}, got more; give the folder of the recordings "
                "itself as audio root"
            )
        for name in names:
            if PurePath(name).suffix.lower() in SOUND_SUFFIXES:
                path = Path(directory, name)
                found[_key(name)[-1]].append(path)
    return found


def _nearest(paths: list[Path], name: str) -> list[Path]:
    """Return the paths with that suffix, if any, and among them those with most of the folders in the name."""
    suffix, wanted = PurePath(name).suffix, _key(name)
    same = [path for path in paths if path.suffix == suffix] or paths
    ends = [_common_end(_key(path), wanted) for path in same]
    return [path for path, end in zip(same, ends, strict=True) if end == max(ends)]


def _key(path: str | PurePath) -> tuple[str, ...]:
    """Return the parts of a path in one normal form, the last one without the suffix of a sound file."""
    *folders, name = PurePath(path).parts or ("",)
    stem = PurePath(name).stem if PurePath(name).suffix.lower() in SOUND_SUFFIXES else name
    return tuple(unicodedata.normalize("NFC", part) for part in (*folders, stem))


def _common_end(path: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    pairs = zip(reversed(path), reversed(wanted), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
