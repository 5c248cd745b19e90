"""One run folder, one run: two writers would spoil each other's checkpoint."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sori.core import distributed

LOCK = "lock"


@contextmanager
def sole_use(into: Path) -> Iterator[None]:
    """Keep a run folder for this run; the system lets go of it when the process ends, however it ends.

    Of several processes of one run, the first holds the lock for all.

    Raises:
        ValueError: another run is using the folder.
    """
    into.mkdir(parents=True, exist_ok=True)
    if distributed.rank() != 0:
        yield
        return
    with (into / LOCK).open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"expected {into} for this run alone, but another one is training there now (the same command in "
                "another window, or in the background?); wait for it, stop it, or choose another folder"
            ) from None
        yield
