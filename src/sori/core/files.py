"""Read and write files: names from data, whole files or none, permissions by the umask.

A name that comes from data (a downloaded model, a table, a transcript) becomes a path only through `inside`; every
output is written through `atomic_write`.
"""

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from sori.core.json_values import parsed_json
from sori.core.shapes import Tensor
from sori.core.user_files import read_text

_PARTIAL = ".partial"
_PARTIAL_NAME = re.compile(r"\.[0-9a-f]{12}\.partial(\.\w+)?")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How safetensors reports errors of the system, such as a full disk."""
MAX_NAME_BYTES = 255
"""Limit of common file systems."""
_SEPARATORS = "/\\"
_NOT_ON_WINDOWS = '<>:"|?*'
_DEVICES = frozenset(
    ("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(kind + n for kind in ("COM", "LPT") for n in "123456789¹²³"))
)
"""Names that are devices on Windows, with any extension."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file directly in a folder, for a name that comes from data.

    The rules of Windows apply on all systems, so that a folder can be copied anywhere.

    Args:
        folder: folder of the file.
        name: plain file name.

    Raises:
        ValueError: if it is not a plain file name; states the reason.
    """
    if problem := _problem(name):
        raise ValueError(
            f"expected a plain name of a file to be written into {folder}, got {name[:100]!r}, which {problem}; "
            "likely the data that it comes from are damaged, or crafted to write into another folder. The file was not "
            "written: get the data from a source that you trust"
        )
    return folder / name


def _problem(name: str) -> str | None:
    """Return the reason why a name is not a plain file name, or None."""
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
    """Flush a file, or the renames in a folder, to disk (Windows cannot open folders and does not need it)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a file to write to, which replaces `path` once it is complete and on the disk.

    After an error, or a kill at any moment, the file that was at `path` is unchanged. A link at `path` stays a link:
    the file that it leads to is replaced. A pipe or device at `path` is written to directly.

    Args:
        path: the file; its folder is created.

    Yields:
        A new file beside it with the same extension and the permissions of the file that it replaces, or of any new
        one.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; names it.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            yield path
            return
        partial = _partial(path)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            mode = stat.S_IMODE((path if path.is_file() else partial).stat().st_mode)
            yield partial
            partial.chmod(mode)  # some libraries make files that only their owner can read
            flush(partial)
            partial.replace(path)
            flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None or (error.filename is not None and Path(error.filename).parent != path.parent):
            raise  # not of this file: what is written may be read from others meanwhile
        kept = "; the file that was there is unchanged" if path.is_file() else ""
        failed = OSError(f"cannot write {path}: {error.strerror}{kept}. Make room or choose another place")
        failed.errno = error.errno
        raise failed from error


def link_or_copy(path: Path, target: Path) -> None:
    """Give a file a second name, without a second copy on the disk where the file system has hard links.

    As by `atomic_write`, a file that has this name is replaced whole or not at all.

    Raises:
        OSError: the copy cannot be written; names it.
    """
    partial = _partial(target)
    try:
        partial.hardlink_to(path)
        partial.replace(target)  # does nothing where both are names of the same file
    except OSError:
        with atomic_write(target) as copy:
            shutil.copyfile(path, copy)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(6)}{_PARTIAL}{path.suffix}")


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left of `atomic_write` in a folder that nothing else is writing to now."""
    for path in folder.glob(f".*{_PARTIAL}*"):
        if _PARTIAL_NAME.fullmatch(path.name) and path.is_file():
            path.unlink()


def write_text(path: Path, text: str) -> None:
    r"""Write a text file as UTF-8 with line feeds, whole or not at all; see `atomic_write`.

    Half of a surrogate pair, which names and damaged tables can hold, is written as `\ud83d`.
    """
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: Path, data: Any, *, indent: int | None = 1) -> None:
    """Write a JSON file, whole or not at all; see `atomic_write`."""
    write_text(path, json.dumps(data, ensure_ascii=False, indent=indent) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON; names the file.
    """
    try:
        return parsed_json(read_text(path))
    except ValueError as error:
        raise ValueError(
            f"{path} is not readable as JSON ({error}); likely it was damaged or cut off: copy or make it again"
        ) from None


def write_tensors(tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all; see `atomic_write`.

    Args:
        tensors: tensors by name.
        path: file to write.
        metadata: strings by name, stored in the file's header.

    Raises:
        OSError: as `atomic_write`.
    """
    with atomic_write(path) as partial:
        try:
            safetensors.torch.save_file(dict(tensors), partial, metadata=None if metadata is None else dict(metadata))
        except safetensors.SafetensorError as error:
            found = _OS_ERROR.search(str(error))
            if found is None:
                raise
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(partial)) from error
