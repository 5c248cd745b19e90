"""Folders for what makes the next start faster: in the user's cache, else among the temporary files, else in memory.

What is kept there may be run as machine code. So a folder counts only where nobody but the user (and root) can have
written what lies in it, or can put another folder in its place.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - what lies there is looked at before it is used
_UNMAPPED_USER = 65_534
"""Whom the system names as the owner of root's files inside a container without root."""


def private(name: str, *, first: str = "") -> Path | None:
    """A writable folder that only this user can write to; it is made if need be.

    Args:
        name: path below the first base that will do: `first`, `$XDG_CACHE_HOME/sori` (`~/.cache/sori`),
            `$TMPDIR/sori-UID`, or `/dev/shm/sori-UID`, which read-only containers leave writable.
        first: a base that goes before the others; empty: none.

    Returns:
        The folder; None where there is no such place: do without.
    """
    for base in _bases(first):
        folder = _made(base / name)
        if folder is not None:
            return folder
    return None


def settle() -> None:
    """Give libraries a private folder where those they look for cannot be written; to be called before their import.

    torch and others give up without a folder for temporary files (`TMPDIR`). matplotlib warns at each start
    (`MPLCONFIGDIR`).
    """
    try:
        tempfile.gettempdir()
    except OSError:
        folder = private("temporary")
        if folder is not None:
            os.environ["TMPDIR"] = str(folder)
    _settle_matplotlib()


def _settle_matplotlib() -> None:
    if os.environ.get("MPLCONFIGDIR"):
        return
    bases = (_user_folder("XDG_CONFIG_HOME", ".config"), _user_folder("XDG_CACHE_HOME", ".cache"))
    if all(base is not None and _can_be_made(base / "matplotlib") for base in bases):
        return
    folder = private("matplotlib")
    if folder is not None:
        os.environ["MPLCONFIGDIR"] = str(folder)


def _bases(first: str) -> Iterator[Path]:
    if first:
        yield Path(first).absolute()
    cache = _user_folder("XDG_CACHE_HOME", ".cache")
    if cache is not None:
        yield cache / "sori"
    with contextlib.suppress(OSError):  # there is no folder for temporary files
        temporary = Path(tempfile.gettempdir()).absolute()
        if temporary != Path.cwd():  # where Python looks last; nobody expects it there
            yield temporary / f"sori-{os.geteuid()}"
    if _MEMORY.is_dir():
        yield _MEMORY / f"sori-{os.geteuid()}"


def _user_folder(variable: str, below_home: str) -> Path | None:
    """What the variable of the XDG specification names, or its default, if there is a home for it."""
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        home = Path.home()
        return home / below_home if home.is_dir() else None
    except (OSError, RuntimeError):  # nobody knows the user
        return None


def _can_be_made(folder: Path) -> bool:
    """Whether a folder is there and writable, or could be made."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _made(folder: Path) -> Path | None:
    try:
        for place in (*reversed(folder.parents), folder):
            place.mkdir(mode=0o700, exist_ok=True)
        folder = folder.resolve(strict=True)
        if not _is_private(folder):
            return None
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError, RuntimeError):  # not to be written, no path at all, links that go round in circles
        return None
    return folder


def _is_private(folder: Path) -> bool:
    """Whether others can neither write there nor exchange the folder, or one above it."""
    user, is_ours, mode = os.geteuid(), False, 0
    for place in (*reversed(folder.parents), folder):
        about = place.stat()
        is_ours, mode = about.st_uid == user, about.st_mode
        if is_ours and not mode & 0o077:
            return True  # nobody else gets past it
        if about.st_uid not in (user, 0, _UNMAPPED_USER) or (mode & 0o022 and not mode & stat.S_ISVTX):
            return False
    return is_ours and not mode & 0o022
