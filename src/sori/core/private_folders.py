"""Private cache folders: in the user's cache, else among the temporary files, else in memory.

Their contents may be run as machine code. A folder is therefore used only if no user except the owner and root can have
written to it, or can put another folder in its place.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - checked before it is used
_UNMAPPED_USER = 65_534
"""Owner that the system reports for root's files inside a container without root."""


def private(name: str, *, first: str = "") -> Path | None:
    """Return a folder that only this user can write to; create it if necessary.

    Args:
        name: path below the first usable base: `first`, `$XDG_CACHE_HOME/sori` (`~/.cache/sori`),
            `$TMPDIR/sori-UID`, or `/dev/shm/sori-UID`, which is writable in read-only containers.
        first: base to try before the others; empty: none.

    Returns:
        The folder; None if there is no usable one.
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
        if temporary != Path.cwd():  # Python's last resort, an unexpected place for a cache
            yield temporary / f"sori-{os.geteuid()}"
    if _MEMORY.is_dir():
        yield _MEMORY / f"sori-{os.geteuid()}"


def _user_folder(variable: str, below_home: str) -> Path | None:
    """Return the folder named by the variable of the XDG specification, or its default if there is a home folder."""
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        home = Path.home()
        return home / below_home if home.is_dir() else None
    except (OSError, RuntimeError):  # the user has no entry in the user database
        return None


def _can_be_made(folder: Path) -> bool:
    """Return whether a folder exists and is writable, or could be created."""
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
    except (OSError, ValueError, RuntimeError):  # not writable, an invalid path, or a circle of links
        return None
    return folder


def _is_private(folder: Path) -> bool:
    """Return whether other users can neither write there nor replace the folder or one above it."""
    user, is_ours, mode = os.geteuid(), False, 0
    for place in (*reversed(folder.parents), folder):
        about = place.stat()
        is_ours, mode = about.st_uid == user, about.st_mode
        if is_ours and not mode & 0o077:
            return True  # no other user can pass it
        if about.st_uid not in (user, 0, _UNMAPPED_USER) or (mode & 0o022 and not mode & stat.S_ISVTX):
            return False
    return is_ours and not mode & 0o022
