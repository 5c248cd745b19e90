"""Arrays that the processes of one machine share: one computes and stores them, all map the same memory.

Sorting the lengths of twenty million utterances takes 160 MB a process, and every epoch as much again; mapped from one
file, they count once for all processes of a machine. The arrays are a pure function of their key, so a stored one is
never out of date, and a run that is continued finds those of before. They are in a private folder for temporary files.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sori.core.folders import whole_folder
from sori.core.locks import locked
from sori.core.log import logger
from sori.core.private_folders import private

Arrays = Mapping[str, NDArray[Any]]

MOST_OWN = 1 << 20
"""Up to this number of rows (8 MB), each process computes its own arrays, which takes less time than sharing them."""
_KEPT_SECONDS = 30 * 86_400.0
"""Arrays that no process has opened for so long are removed."""
_FOLDER = "arrays"


def key_of(*parts: object) -> str:
    """Return the key of arrays that depend on some values and on nothing else."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def shared_arrays(key: str, make: Callable[[], Arrays]) -> Arrays:
    """Return arrays that one process of this machine computes and all read.

    Args:
        key: from `key_of`; names everything that the arrays depend on.
        make: computes the arrays; called in one process while the others wait.

    Returns:
        The arrays by name, mapped from files and not writable; if they cannot be stored, those of this process.
    """
    place = _place()
    if place is None:
        logger.warning("no folder for temporary files is private: each process keeps arrays of its own in memory")
        return make()
    target = place / key
    if not target.is_dir():
        with locked(place / f"{key}.lock", wait=True):
            if not target.is_dir() and (own := _stored(target, make())) is not None:
                return own
    os.utime(target)
    return {path.stem: np.load(path, mmap_mode="r") for path in target.glob("*.npy")}


def forget(key: str) -> None:
    """Remove stored arrays; processes that have them open keep them."""
    place = _place()
    if place is not None:
        shutil.rmtree(place / key, ignore_errors=True)


def _stored(target: Path, made: Arrays) -> Arrays | None:
    """Store arrays; return them if that fails."""
    _remove_unused(target.parent)
    try:
        with whole_folder(target) as fresh:
            for name, array in made.items():
                np.save(fresh / f"{name}.npy", array)
    except OSError as error:
        logger.warning(
            f"cannot store {sum(array.nbytes for array in made.values()) / 1e6:,.0f} MB in {target.parent} ({error}): "
            "each process keeps them in its own memory; make room, or set TMPDIR to a larger folder"
        )
        return made
    return None


def _remove_unused(place: Path) -> None:
    for path in place.iterdir():
        if path.is_dir() and not path.name.startswith(".") and time.time() - path.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _place() -> Path | None:
    return private(_FOLDER, first=f"{tempfile.gettempdir()}/sori-{os.geteuid()}")
