"""Open zip archives of users, whose members may expand without bounds."""

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sori.core.text_files import MOST_EXPANSION
from sori.core.user_files import open_bytes

_UNCHECKED_BYTES = 1 << 26
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)  # the last: an unknown compression
_ENCRYPTED = 1
"""Bit of a member's flags."""


@contextmanager
def open_zip(path: Path, *, most_expansion: int = MOST_EXPANSION) -> Iterator[zipfile.ZipFile]:
    """Open an archive to read its members; what they announce is compared with its size first.

    Args:
        path: the archive.
        most_expansion: maximum expansion of all members together.

    Raises:
        OSError, ValueError: as `open_bytes`; or ValueError: it is damaged, is no archive, or expands too much.
    """
    try:
        with open_bytes(path) as file, zipfile.ZipFile(file) as archive:
            if any(member.flag_bits & _ENCRYPTED for member in archive.infolist()):
                raise ValueError(f"expected {path} without a password, got an encrypted archive; unpack it first")
            packed = path.stat().st_size
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > max(_UNCHECKED_BYTES, most_expansion * packed):
                raise ValueError(
                    f"expected {path} to expand at most {most_expansion} times, got {unpacked:,} bytes in an archive "
                    f"of {packed:,}; likely it is damaged, or made to fill the memory: get it from a source you trust"
                )
            yield archive
    except _DAMAGED as error:
        raise ValueError(_unreadable(path, error)) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a position before the beginning, which damaged archives state
            raise
        raise ValueError(_unreadable(path, error)) from None


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path} cannot be read as a zip archive ({error}); likely it was truncated while copying or "
        "downloading: get it again"
    )
