"""Locks for one process at a time, also among machines that share a folder.

A lock is a file that names process and machine of its holder (`filelock.SoftFileLease`), so it needs no locks of the
file system, which some network file systems lack or apply on one machine only. The holder renews it. It is taken over
once its process is gone from this machine, or, where that cannot be seen (another machine or container), once it has
not been renewed for `LEASE_SECONDS`.
"""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from filelock import LeaseCompromise, SoftFileLease, Timeout

from sori.core.log import logger

LEASE_SECONDS = 60.0
"""A lock that is not renewed for so long is taken over; all processes must use the same number."""
_ATTEMPT_SECONDS, _POLL_SECONDS = 1.0, 0.2


class LockedError(Exception):
    """Another process holds the lock; the message describes it."""


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock: a file that exists meanwhile.

    Args:
        path: file of the lock.
        wait: whether to wait until a running holder releases it.

    Raises:
        LockedError: another process holds the lock and, if that cannot be seen from here, has renewed it meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lease = SoftFileLease(path, lease_duration=LEASE_SECONDS, on_compromise=_report_loss)
    _acquire(lease, path, wait=wait)
    try:
        yield
    finally:
        lease.release()


def holder(path: Path) -> int | None:
    """Return the process on this machine that holds a lock, without waiting; None: it is free, or held elsewhere."""
    owner = SoftFileLease(path).owner if path.is_file() else None
    if owner is None or owner.hostname != _host_seen_from(path.parent):
        return None
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return int(owner.pid)


def _acquire(lease: SoftFileLease, path: Path, *, wait: bool) -> None:
    if _attempt(lease, path, _ATTEMPT_SECONDS):
        return
    owner = lease.owner
    if not wait and owner is not None and owner.hostname == _this_host(path):  # a process that has ended is passed over
        raise LockedError(_holder(lease, path))
    logger.info(f"{path} is locked by {_holder(lease, path)}; waiting to see whether it is still running")
    while True:
        before = _signature(path)
        if _attempt(lease, path, 1.25 * LEASE_SECONDS):
            return
        if before is not None and before == _signature(path) and lease.owner is None:
            lease.force_break()  # an empty file, as a crash of the machine leaves it
        elif not wait:
            raise LockedError(_holder(lease, path))


def _attempt(lease: SoftFileLease, path: Path, seconds: float) -> bool:
    try:
        lease.acquire(timeout=seconds, poll_interval=_POLL_SECONDS)
    except Timeout:
        return False
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(f"cannot write {path}: {error.strerror or error}. Make room or choose another place") from error
    return True


def _this_host(path: Path) -> str | None:
    """Return the name of this machine, or of this container on it, as the file of a lock would have it."""
    with SoftFileLease(path.with_name(f".{path.name}.{uuid.uuid4().hex}")) as held:
        owner = held.owner
        return None if owner is None else owner.hostname


@lru_cache(maxsize=64)
def _host_seen_from(folder: Path) -> str | None:
    return _this_host(folder / "name")


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _holder(lease: SoftFileLease, path: Path) -> str:
    owner, found = lease.owner, _signature(path)
    if owner is None or found is None:
        return "a process that left no name"
    ago = max(0.0, time.time() - found[1] / 1e9)
    return f"process {owner.pid} on {owner.hostname.partition('?')[0]}, which last renewed it {ago:.0f} s ago"


def _report_loss(loss: LeaseCompromise) -> None:
    logger.error(
        f"the lock {loss.lock_file} was lost ({loss.reason}): likely this process was suspended, or the folder could "
        f"not be reached, for more than {LEASE_SECONDS:.0f} s; if another process works in the folder now, end one of "
        "the two"
    )
