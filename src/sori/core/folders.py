"""Atomic creation of folders, which never removes files that sori did not make.

A folder is built in a workshop folder beside its target, `.NAME.xxxxxxxx.partial`: `new` is the folder being built, and
`old` the one it replaces, briefly and only where the file system cannot swap two folders in one step. Several files of
one folder are built in a workshop inside it. A mark file, locked while its process runs, proves that a workshop was
made by sori. After a crash, the next process that builds the same folder restores the old one and removes the workshop;
until then `former` finds the old one.
"""

import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sori.core.files import flush

_SUFFIX = ".partial"
_NEW, _OLD, _MARK = "new", "old", "sori"
_FILES = "files"
_MARK_CONTENT = b"sori is building a folder here; once no sori is running, this one may be removed.\n"
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}\.partial", re.DOTALL)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Constants of Linux: a path is relative to the working folder; two names are exchanged."""


def is_unfinished(name: str) -> bool:
    """Return whether a folder's name is that of a workshop."""
    return _UNFINISHED.fullmatch(name) is not None


@contextmanager
def whole_folder(target: Path, *, may_replace: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield an empty folder that becomes the target when it is complete; after an error, nothing has changed.

    Args:
        target: path of the folder; parents are created.
        may_replace: raises an error if an existing target must be kept; None: replace only an empty folder.

    Raises:
        FileExistsError: if the target exists and must be kept.
        ValueError: if the target has no name of its own, such as `.`.
    """
    target = Path(target)
    if target.name in ("", ".."):
        raise ValueError(f"expected the name of a folder to be made, got {str(target)!r}; name a folder inside it")
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(target)
    check = may_replace or _refuse_existing
    check(target)
    with _workshop(target) as workshop:
        fresh = workshop / _NEW
        fresh.mkdir()
        yield fresh
        for path in (*(path for path in fresh.iterdir() if path.is_file()), fresh):
            flush(path)
        check(target)
        _put(fresh, target, workshop / _OLD)
        flush(target.parent)


@contextmanager
def whole_files(folder: Path, *, last: str = "") -> Iterator[Path]:
    """Yield an empty folder whose files, once all are complete, replace those of the same names in another folder.

    After an error, nothing has changed; after a kill, the next call removes what was left.

    Args:
        folder: the folder of the files; it is created.
        last: name of the file that is moved last, and shows that the others are there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / _FILES  # the names of workshops come from it; it is never made
    _clear_abandoned(aside)
    with _workshop(aside) as workshop:
        fresh = workshop / _NEW
        fresh.mkdir()
        yield fresh
        made = sorted(fresh.iterdir(), key=lambda path: path.name == last)
        for path in made:
            flush(path)
        for path in made:
            path.replace(folder / path.name)
        flush(folder)


def former(target: Path) -> Path | None:
    """Return where a crash has left the contents of a folder that no longer exists, or None."""
    if not target.name or os.path.lexists(target):
        return None
    return next((workshop / _OLD for workshop in _workshops(target) if (workshop / _OLD).is_dir()), None)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target) and not _is_empty_folder(target):
        raise FileExistsError(f"{target} exists; name a new folder, or remove that one")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _put(fresh: Path, target: Path, old: Path) -> None:
    """Move a folder to its target; an existing target is moved to the workshop."""
    if not os.path.lexists(target) or _is_empty_folder(target):
        fresh.rename(target)
    elif not _swap(fresh, target):
        target.rename(old)
        try:
            fresh.rename(target)
        except BaseException:
            old.rename(target)
            raise


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, so that neither is ever absent; return False if that is not supported.

    Linux supports it, except for some file systems (NFS) and C libraries.
    """
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    result: int = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return result == 0


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_SUFFIX, dir=target.parent))
    try:
        mark = _mark(workshop)
    except BaseException:  # the disk is full already
        shutil.rmtree(workshop, ignore_errors=True)
        raise
    with mark:
        try:
            yield workshop
        finally:
            _clear(workshop, target)


def _mark(workshop: Path) -> BinaryIO:
    """Return the open mark of a workshop, locked before it is visible."""
    place = workshop / f"{_MARK}.new"
    mark = place.open("xb", buffering=0)
    try:
        take_lock(mark)
        mark.write(_MARK_CONTENT)
        place.rename(workshop / _MARK)
    except BaseException:
        mark.close()
        raise
    return mark


def take_lock(mark: BinaryIO) -> bool:
    """Return whether the lock of a file was taken; it ends with the process, or when the file is closed.

    Where a file system has no locks, none is taken, so that no folder counts as abandoned.
    """
    try:
        import fcntl  # not on Windows

        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, ModuleNotFoundError):
        return False
    return True


def _clear_abandoned(target: Path) -> None:
    for workshop in _workshops(target):
        with suppress(OSError), (workshop / _MARK).open("rb") as mark:
            if take_lock(mark):
                _clear(workshop, target)


def _clear(workshop: Path, target: Path) -> None:
    """Restore a folder whose replacement was interrupted, then remove a workshop: only what sori made in it."""
    old = workshop / _OLD
    if old.is_dir() and not os.path.lexists(target):
        old.rename(target)
    for made in (workshop / _NEW, old):
        shutil.rmtree(made, ignore_errors=True)
    with suppress(OSError):
        (workshop / _MARK).unlink()
        workshop.rmdir()


def _workshops(target: Path) -> list[Path]:
    """Return the workshops of a folder that were provably made by sori, abandoned or not."""
    name = re.compile(re.escape(f".{target.name}.") + r"[a-z0-9_]{8}\.partial")
    with suppress(OSError, ValueError), os.scandir(target.parent) as entries:
        found = sorted(entry.path for entry in entries if name.fullmatch(entry.name))
        return [Path(path) for path in found if _is_ours(Path(path))]
    return []


def _is_ours(workshop: Path) -> bool:
    try:
        mark, about = workshop / _MARK, workshop.lstat()
        return (
            workshop.is_dir()
            and not workshop.is_symlink()
            and about.st_uid == os.geteuid()
            and {path.name for path in workshop.iterdir()} <= {_NEW, _OLD, _MARK}
            and mark.is_file()
            and not mark.is_symlink()
            and mark.stat().st_size == len(_MARK_CONTENT)
            and mark.read_bytes() == _MARK_CONTENT
        )
    except OSError:
        return False
