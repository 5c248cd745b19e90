"""Check files on a Dask cluster: the same child processes as on one machine, started by the workers of the cluster.

A worker hands a request to a child process of its own (`workers.FileChecker`), so a decoder that crashes costs its file
and not the worker. A worker that is killed costs nothing: the cluster gives its files to another one. Only a file with
which several workers in turn have died is reported as `decoder crashed`.

Only some requests for each thread of the cluster are under way at any time, so that neither this process nor the
scheduler holds all of them.
"""

import gc
import importlib.metadata
import platform
import queue
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, NamedTuple

from sori.core.log import logger
from sori.data.preparation.checks import FINDINGS_VERSION
from sori.data.preparation.workers import Checked, FileChecker, Requests, file_stamp, for_each_segment

_CONNECT_SECONDS = 15.0
_SECONDS_BETWEEN_REMARKS = 60.0
_BATCHES_PER_THREAD = 3
"""Under way at a time: one that is checked, and others that wait."""
_LEAST_UNDER_WAY = 256
"""Batches; with few, a cluster that grows with its work would see none to grow for."""
_SECONDS_BETWEEN_COUNTS = 10.0
"""Workers come and go."""
_MOST_IN_BATCH = 32
"""Requests sent together: the scheduler needs about a millisecond for each batch, a short clip is checked in three."""
_EXTRA = "install it on this machine and on all workers with `pip install 'sori[cluster]'`"


class Versions(NamedTuple):
    """What has to be equal on all machines, so that they find the same."""

    python: str
    sori: str
    findings: int


def check_on_cluster(
    requests: Requests, scheduler: str, *, indices: Sequence[int] | None = None
) -> Generator[tuple[int, Checked], None, None]:
    """Findings for requests, as they become ready, as `workers.check_files` gives them.

    Args:
        requests: arguments of `checks.check`; their files must be at the same paths on all machines.
        scheduler: address, such as `tcp://host:8786`.
        indices: the requests to process, by number; None: all.

    Raises:
        ValueError: Dask is not installed, there is no scheduler, or its workers have another version or do not see the
            files.
        RuntimeError: the connection is lost, or a worker cannot start its child process.
    """
    indices = range(len(requests)) if indices is None else indices
    if not len(indices):
        return
    with _connected(scheduler) as client:
        _wait_for_workers(client, scheduler)
        _require_suitable(client, requests[indices[0]]["path"])
        yield from _Dispatch(client, requests, indices).results()


class _Dispatch:
    """Batches of requests that are under way."""

    def __init__(self, client: Any, requests: Requests, indices: Sequence[int]) -> None:
        self.client, self.requests = client, requests
        threads = self._count_threads()
        size = max(1, min(_MOST_IN_BATCH, len(indices) // (threads * 64)))
        self.waiting = (indices[start : start + size] for start in range(0, len(indices), size))
        self.under_way: dict[Any, list[int]] = {}
        self.ready: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def _count_threads(self) -> int:
        threads = int(sum(self.client.nthreads().values()))
        self.most = max(_LEAST_UNDER_WAY, threads * _BATCHES_PER_THREAD)
        self.counted = time.monotonic()
        return max(1, threads)

    def results(self) -> Iterator[tuple[int, Checked]]:
        """Yield results until there are no more requests."""
        try:
            self._fill()
            while self.under_way:
                future = self._next()
                yield from self._finished(future, self.under_way.pop(future))
                self._fill()
        finally:
            self.client.cancel(list(self.under_way))

    def _fill(self) -> None:
        if time.monotonic() - self.counted > _SECONDS_BETWEEN_COUNTS:
            self._count_threads()
        while len(self.under_way) < self.most and (batch := next(self.waiting, None)) is not None:
            self._submit(list(batch))

    def _submit(self, batch: list[int]) -> None:
        requests = [self.requests[index] for index in batch]
        future = self.client.submit(check_batch, requests, key=f"sori-check-{uuid.uuid4().hex}", pure=False)
        self.under_way[future] = batch
        future.add_done_callback(self.ready.put)

    def _next(self) -> Any:
        """Return a future that is done; meanwhile, remark that there are no workers."""
        while True:
            try:
                return self.ready.get(timeout=_SECONDS_BETWEEN_REMARKS)
            except queue.Empty:
                if self.client.status != "running":
                    raise RuntimeError(_lost()) from None
                if not self.client.nthreads():
                    logger.info("the cluster has no workers now; waiting for some")

    def _finished(self, future: Any, batch: list[int]) -> Iterator[tuple[int, Checked]]:
        from distributed import KilledWorker

        if future.status in ("pending", "lost"):  # the worker ended after the batch, before its results were fetched
            self.client.cancel([future])
            self._submit(batch)
            return
        try:
            worker, results = future.result()
        except KilledWorker:
            if len(batch) > 1:
                for index in batch:  # one of them is the cause
                    self._submit([index])
                return
            detail = "several workers of the cluster ended while they checked it, likely out of memory"
            yield batch[0], Checked(for_each_segment(self.requests[batch[0]], "decoder crashed", detail), None)
            return
        except CancelledError:
            raise RuntimeError(_lost()) from None
        except Exception as error:
            raise RuntimeError(f"a worker of the cluster failed: {error}") from error
        for index, checked in zip(batch, results, strict=True):
            path = self.requests[index]["path"]
            if checked.stamp is None and file_stamp(path) is not None:
                raise ValueError(_not_seen(worker, path))
            yield index, checked


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    """Yield a client of the cluster; the child processes of its workers end with it."""
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(f"a cluster needs Dask: {_EXTRA}") from None
    make: Any = Client
    try:
        client: Any = make(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        client, answer = None, str(error).splitlines()[0]
    if client is None:
        # The finalizer of the failed client takes a lock that all clients share. If the thread of the next client runs
        # it while that client starts, which holds the lock, both wait for ever.
        gc.collect()
        raise ValueError(
            f"expected a Dask scheduler at {scheduler}, got no answer ({answer}); likely it is not running, has "
            "another address, or a firewall is between: start `dask scheduler`, and use the address that it prints, "
            "such as tcp://host:8786"
        )
    try:
        yield client
    finally:
        if client.status == "running":
            client.run(end_children, on_error="ignore")
        client.close()


def _wait_for_workers(client: Any, scheduler: str) -> None:
    """Wait until there is a worker: in the queue of a cluster that may take hours."""
    from distributed import TimeoutError as NoneYetError

    while not client.nthreads():
        logger.info(f"waiting for workers of {scheduler} (`dask worker {scheduler}`)")
        try:
            client.wait_for_workers(1, timeout=_SECONDS_BETWEEN_REMARKS)
        except NoneYetError:
            continue


def _require_suitable(client: Any, path: str) -> None:
    """Refuse workers that would find something else, or nothing."""
    ours, exists = versions(), file_stamp(path) is not None
    for worker, found in client.run(_seen_by_worker, path, on_error="return").items():
        if isinstance(found, BaseException):
            raise ValueError(  # noqa: TRY004 - the cluster is the user's
                f"the worker {worker} cannot run sori {ours.sori} ({type(found).__name__}: {found}); {_EXTRA}"
            )
        theirs, sees = found
        if theirs != ours:
            raise ValueError(
                f"expected {ours} on the worker {worker}, got {theirs}: results would depend on the machine; install "
                "the same versions there and start the worker again"
            )
        if exists and not sees:
            raise ValueError(_not_seen(worker, path))


def versions() -> Versions:
    """Return the versions of this process."""
    return Versions(".".join(platform.python_version_tuple()[:2]), importlib.metadata.version("sori"), FINDINGS_VERSION)


def _seen_by_worker(path: str) -> tuple[Versions, bool]:
    return versions(), file_stamp(path) is not None


def _not_seen(worker: str, path: str) -> str:
    return (
        f"{path} is here but not on the worker {worker}; recordings must be at the same path on all machines: put them "
        "on a shared file system, mount it there under the same name, and start the worker where it can read them"
    )


def _lost() -> str:
    return (
        "the connection to the scheduler was lost; likely it was ended, or its machine cannot be reached: start it "
        "again, then repeat the same command, which continues with the files that are not yet checked"
    )


_idle: "queue.SimpleQueue[FileChecker]" = queue.SimpleQueue()
"""In a worker of the cluster: child processes that wait for the next request, at most one for each of its threads."""


def check_batch(requests: list[dict[str, Any]]) -> tuple[str, list[Checked]]:
    """Check files, in a worker of the cluster; returns its address and what was found."""
    from distributed import get_worker

    try:
        child = _idle.get_nowait()
    except queue.Empty:
        child = FileChecker()
    try:
        results = [child.check(request) for request in requests]
    except BaseException:
        child.close()
        raise
    _idle.put(child)
    return get_worker().address, results


def end_children() -> None:
    """End the child processes of a worker that are not in use."""
    while not _idle.empty():
        _idle.get().close()
