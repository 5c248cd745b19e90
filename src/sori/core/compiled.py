"""Functions compiled with numba, whose machine code is cached on disk.

numba's own cache checks only the file of a function, so it runs old machine code after a called function in another
file has changed; it fails where neither the installation nor the home folder is writable; and two processes that
compile for different types at the same time can mix up their machine code. Here instead:

- one folder for each state of all sources with compiled code, of the libraries and of numba's settings;
- in the user's cache or a private temporary folder (`private_folders.py`; `NUMBA_CACHE_DIR` comes first), else
  without a cache;
- one file for each function and types, named by both, verified, and written atomically; damaged files are ignored.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher

from sori.core import private_folders

PACKAGE = Path(__file__).parents[1]
_DIGEST_BYTES = 16
_rebuild: Callable[..., Any] = CompileResult._rebuild  # noqa: SLF001 - as numba's own cache does
_dumps: Callable[[Any], bytes] = serialize.dumps


def jit(**options: Any) -> Callable[[FunctionType], Any]:
    """Compile a function to machine code that runs without the interpreter and its lock.

    The function goes below `@no_type_check`, which keeps the checks of test runs out of what numba compiles.

    Args:
        options: options of `numba.njit`.

    Returns:
        The decorator.
    """

    def decorate(function: FunctionType) -> Any:
        compiled = numba.njit(nogil=True, **options)(function)
        # NUMBA_DISABLE_JIT leaves the function as it is. Values in a closure are not part of the sources.
        if isinstance(compiled, Dispatcher) and function.__closure__ is None:
            compiled._cache = _Cache(function)  # type: ignore[attr-defined] # noqa: SLF001 - as `enable_caching`
        return compiled

    return decorate


@functools.cache
def folder() -> Path | None:
    """Return the folder for the machine code of these sources; None: no cache."""
    first = str(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    return None if _SOURCES is None else private_folders.private(f"compiled/{_SOURCES}", first=first)


def digest_of(package: Path) -> str | None:
    """Return a digest of everything that determines the machine code of a package except the processor.

    The processor is part of the file names.

    Returns:
        The digest; None for a package without sources.
    """
    sources = compiled_sources(package)
    settings = sorted(one for one in os.environ.items() if one[0].startswith("NUMBA_") and one[0] != "NUMBA_CACHE_DIR")
    versions = (numba.__version__, llvmlite.__version__, np.__version__, sys.version, platform.machine(), settings)
    digest = hashlib.blake2b(repr(versions).encode(), digest_size=_DIGEST_BYTES)
    for path, text in sources.items():
        digest.update(f"{path} {len(text)} ".encode() + text)
    return digest.hexdigest() if sources else None


def compiled_sources(package: Path) -> dict[str, bytes]:
    """Return the files below a folder that contain compiled code, with their text."""
    found = {path.relative_to(package).as_posix(): path.read_bytes() for path in sorted(package.rglob("*.py"))}
    return {path: text for path, text in found.items() if b"numba" in text or __name__.encode() in text}


_SOURCES = digest_of(PACKAGE)  # at import: later changes of the sources do not affect this process


class _Cache(NullCache):
    """Machine code of one function: a file for each combination of types and processor."""

    def __init__(self, function: FunctionType) -> None:
        self._name = (function.__module__, function.__qualname__, function.__code__.co_firstlineno)

    @property
    def cache_path(self) -> str | None:
        """Return the folder, for `Dispatcher.stats`."""
        return None if folder() is None else str(folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return cached machine code; None if there is none, or it is damaged."""
        target_context.refresh()
        key = (self._name, sig, target_context.codegen().magic_tuple())
        path = self._path(key)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        digest, data = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if digest != _digest(data):
            return None
        known, parts = pickle.loads(data)  # noqa: S301 - only this user can have written it
        return _rebuild(target_context, *parts) if known == key else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store machine code, unless it contains addresses of this process or cannot be written."""
        key = (self._name, sig, data.codegen.magic_tuple())
        path = self._path(key)
        if path is None or data.library.has_dynamic_globals:
            return
        content = _dumps((key, data._reduce()))  # noqa: SLF001 - as numba does
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as aside:
            partial = Path(aside, path.name)
            partial.write_bytes(_digest(content) + content)
            partial.replace(path)

    def _path(self, key: tuple[Any, ...]) -> Path | None:
        place = folder()
        return None if place is None else place / f"{self._name[1]}-{_digest(repr(key).encode()).hex()}.bin"


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
