"""Reading what users name: regular files only, so that nothing waits for a pipe or reads a device without end.

A pipe that this process was handed (`<(...)`, the standard input) is read as well: who hands it over also fills it.
"""

import io
import os
import stat
from os import PathLike
from pathlib import Path
from typing import Literal

from sori.core.encodings import decoded, not_utf8

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
MOST_BYTES = 1 << 28
"""Maximum size of what is read as a whole; `text_files.py` reads larger files line by line."""
_HANDED_OVER = (Path("/dev/fd"), Path("/proc/self/fd"))


def require_file(path: str | PathLike[str]) -> None:
    """Refuse whatever is no regular file, before a library opens it.

    Raises:
        FileNotFoundError: there is nothing of that name.
        IsADirectoryError: it is a folder.
        ValueError: it is a pipe, a device or a socket, or no name that a file can have.
    """
    _check(path, _mode(path))


def open_bytes(path: str | PathLike[str]) -> io.BufferedReader:
    """Open a regular file, or a pipe that this process was handed, to read its bytes.

    Raises:
        OSError: as of `open`.
        ValueError: it is another pipe, a device or a socket, or no name that a file can have.
    """
    if not is_handed_over(path):
        require_file(path)
    return open(path, "rb", opener=_open_at_once)


def read_bytes(path: str | PathLike[str]) -> bytes:
    """Read the bytes of what `open_bytes` opens.

    Raises:
        OSError, ValueError: as `open_bytes`; or there are more than `MOST_BYTES`.
    """
    with open_bytes(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"{os.fspath(path)}: expected at most {MOST_BYTES:,} bytes in a file that is read as a whole, got more; "
            "likely another file was meant: if not, divide it"
        )
    return data


def read_text(path: str | PathLike[str], *, errors: Literal["strict", "replace"] = "strict") -> str:
    r"""Return the text of what `open_bytes` opens, in UTF-8, without a byte order mark; lines end in `\n` alone.

    Args:
        path: the file.
        errors: `replace` what is not UTF-8 instead of raising an error.

    Raises:
        OSError, ValueError: as `read_bytes`; or ValueError: it is in another encoding.
    """
    data = read_bytes(path)
    try:
        text = decoded(data) if errors == "strict" else data.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(not_utf8(path, error, line=line)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_handed_over(path: str | PathLike[str]) -> bool:
    """Whether a path stands for a pipe that this process was started with."""
    place = Path(path)
    return (place == Path("/dev/stdin") or place.parent in _HANDED_OVER) and stat.S_ISFIFO(_mode(path))


def _mode(path: str | PathLike[str]) -> int:
    try:
        return Path(path).stat().st_mode
    except ValueError as error:  # a zero byte, or half of a surrogate pair
        raise ValueError(
            f"expected the path of a file, got {os.fspath(path)!r}, which no file can have ({error}); likely the list "
            "that names it is damaged"
        ) from None


def _open_at_once(path: str, flags: int) -> int:
    """For `open`: what has been put in the place of the file meanwhile is not waited for, and refused."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(handle).st_mode
        if not (stat.S_ISFIFO(mode) and is_handed_over(path)):
            _check(path, mode)
        os.set_blocking(handle, True)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check(path: str | PathLike[str], mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder; expected a file")
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    raise ValueError(
        f"{os.fspath(path)}: expected a file, got {kind}, which may never end; likely another file was meant: if not, "
        "write what comes out of it to a file first"
    )
