"""Where files may be written, and with what permissions.

A name that comes from data (a downloaded model, a table, a transcript) becomes a path only through `inside`.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch

from sori.core.shapes import Tensor

MAX_NAME_BYTES = 255
"""What the usual file systems allow."""
_SEPARATORS = "/\\"
_NOT_ON_WINDOWS = '<>:"|?*'
_DEVICES = frozenset(
    ("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(kind + n for kind in ("COM", "LPT") for n in "123456789¹²³"))
)
"""Names that mean a device on Windows, whatever extension follows."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file directly in a folder, for a name that comes from data.

    The rules of Windows hold everywhere, so that a folder can be copied anywhere.

    Args:
        folder: where the file is to be written.
        name: a plain file name.

    Raises:
        ValueError: it is no plain file name; says why.
    """
    if problem := _problem(name):
        raise ValueError(
            f"expected a plain name of a file to be written into {folder}, got {name[:100]!r}, which {problem}; "
            "likely the data that it comes from are damaged, or were made to write elsewhere. That file was not "
            "written: take the data from a source that you trust"
        )
    return folder / name


def _problem(name: str) -> str | None:
    """What keeps a name from being that of a file in any folder."""
    problems = {
        "names no file": name in ("", ".", ".."),
        "leads to another folder": any(character in _SEPARATORS for character in name),
        f"has one of {_NOT_ON_WINDOWS}": any(character in _NOT_ON_WINDOWS for character in name),
        "has characters that cannot be printed": not name.isprintable(),
        "ends in a dot or a space": name.endswith((".", " ")),
        "means a device on Windows": name.split(".", maxsplit=1)[0].rstrip(" ").upper() in _DEVICES,
        f"is longer than {MAX_NAME_BYTES} bytes": len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES,
    }
    return next((problem for problem, found in problems.items() if found), None)


def flush(path: Path) -> None:
    """Make a file, or what was renamed in a folder, survive a power cut (Windows opens no folders and needs none)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with the permissions of any other new file, or of the one it replaces.

    The library itself makes files that only their owner can read, whatever the umask.

    Args:
        tensors: by name.
        path: the file.
        metadata: texts by name, kept in the file's header.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    safetensors.torch.save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    path.chmod(mode)
