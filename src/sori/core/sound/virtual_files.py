"""Files put together from ranges of a file and from bytes, for decoders that would believe a wrong header."""

import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from sori.core.user_files import open_bytes


class Stretch(NamedTuple):
    """Bytes `first` to `stop` of a file."""

    first: int
    stop: int


class VirtualFile:
    """A readable file that consists of pieces one after the other.

    Args:
        path: the file that stretches refer to.
        pieces: bytes, and stretches of the file.
    """

    def __init__(self, path: str | os.PathLike[str], pieces: Sequence[bytes | Stretch]) -> None:
        self._file = open_bytes(path)
        self._pieces = list(pieces)
        sizes = [len(piece) if isinstance(piece, bytes) else piece.stop - piece.first for piece in self._pieces]
        self._starts = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; fewer than `size` at the end."""
        end = self._starts[-1] if size < 0 else min(self._position + size, self._starts[-1])
        parts = []
        for piece, start, stop in zip(self._pieces, self._starts[:-1], self._starts[1:], strict=True):
            first, last = max(self._position, start) - start, min(end, stop) - start
            if first < last and isinstance(piece, bytes):
                parts.append(piece[first:last])
            elif first < last and not isinstance(piece, bytes):
                self._file.seek(piece.first + first)
                parts.append(self._file.read(last - first))
        found = b"".join(parts)
        self._position += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        """Fill a writable buffer (of soundfile), and return the number of bytes written."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte, as `io.IOBase.seek` does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, _: bytes) -> int:
        """Refuse to write: soundfile requires the method of every file."""
        raise io.UnsupportedOperation("write")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __del__(self) -> None:
        self.close()
