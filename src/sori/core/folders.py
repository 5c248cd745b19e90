"""Folders that appear whole or not at all, and never at the cost of what is not ours.

A folder is built in a workshop beside its place, `.NAME.xxxxxxxx.partial`: `new` is what is being built, `old` what it
replaces, for a moment and only where the file system cannot swap two folders in one step. A mark, locked as long as its
maker lives, proves that a workshop is ours. What a crash leaves is put back and cleared away by whoever builds the same
folder next; until then `former` finds what was there before.
"""

import ctypes
import fcntl
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
_SAID = b"sori is building a folder here; once no sori is running, this one may be removed.\n"
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}\.partial", re.DOTALL)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Of Linux: a path is relative to the working folder; two names swap what they stand for."""


def is_unfinished(name: str) -> bool:
    """Whether a folder's name is that of a workshop."""
    return _UNFINISHED.fullmatch(name) is not None


@contextmanager
def whole_folder(target: Path, *, may_replace: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Give an empty folder that takes its place once it is complete; after an error, nothing has changed.

    Args:
        target: where it is to be; parents are made.
        may_replace: raises an error where what is there must stay; None: nothing is replaced but an empty folder.

    Raises:
        FileExistsError: there is something that must stay.
        ValueError: the target has no name of its own, such as `.`.
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


def former(target: Path) -> Path | None:
    """Where a crash has left what was in a folder that is not there any more."""
    if not target.name or os.path.lexists(target):
        return None
    return next((workshop / _OLD for workshop in _workshops(target) if (workshop / _OLD).is_dir()), None)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target) and not _is_empty_folder(target):
        raise FileExistsError(f"{target} exists; name a new folder, or remove that one")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _put(fresh: Path, target: Path, old: Path) -> None:
    """Move a folder to its place; what was there before ends in the workshop."""
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
    """Let two folders change places in one step, so that none is ever absent; False where that is not to be had.

    Linux can, but for some file systems (NFS) and C libraries.
    """
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    answer: int = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return answer == 0


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_SUFFIX, dir=target.parent))
    with (workshop / f"{_MARK}.new").open("xb") as mark:
        _lock(mark)
        mark.write(_SAID)
        mark.flush()
        (workshop / f"{_MARK}.new").rename(workshop / _MARK)  # whoever sees the mark finds it locked
        try:
            yield workshop
        finally:
            _clear(workshop, target)


def _lock(mark: BinaryIO) -> bool:
    """Whether the lock could be had; some file systems know none, and there nothing is ever taken for abandoned."""
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _clear_abandoned(target: Path) -> None:
    for workshop in _workshops(target):
        with suppress(OSError), (workshop / _MARK).open("rb") as mark:
            if _lock(mark):
                _clear(workshop, target)


def _clear(workshop: Path, target: Path) -> None:
    """Put back what was to be replaced and was not, then remove a workshop: what we made in it, nothing else."""
    old = workshop / _OLD
    if old.is_dir() and not os.path.lexists(target):
        old.rename(target)
    for made in (workshop / _NEW, old):
        shutil.rmtree(made, ignore_errors=True)
    with suppress(OSError):
        (workshop / _MARK).unlink()
        workshop.rmdir()


def _workshops(target: Path) -> list[Path]:
    """The workshops of a folder that are provably ours, abandoned or not."""
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
            and mark.stat().st_size == len(_SAID)
            and mark.read_bytes() == _SAID
        )
    except OSError:
        return False
