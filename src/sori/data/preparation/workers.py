"""Check many files in separate processes, so that a decoder that crashes or hangs costs one file and not the run.

Each worker is a child process that handles one request at a time, so the file that crashed it is known. Children are
started as programs rather than forked: they share no state with the parent, need no `if __name__ == "__main__"` guard
in the user's script, and what their decoders print on standard error is discarded.
"""

import os
import queue
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sori.core.counts import require_count
from sori.core.json_values import parsed_json
from sori.data.preparation.check_process import ALIVE, GREETING
from sori.data.preparation.checks import Finding, from_json
from sori.data.preparation.child_process import ChildEndedError, ChildProcess

PROGRAM = (sys.executable, "-P", str(Path(__file__).with_name("check_process.py")))
MOST_WORKERS = 1024
SECONDS_PER_FILE = 60.0
BYTES_PER_SECOND = 250_000
"""Large files get one more second for each of these; Opus, the slowest to decode, needs a tenth of that."""


class Stamp(NamedTuple):
    """Size and time of the last change of a file, by which a changed file is recognised."""

    size: int
    mtime_ns: int
    """Nanoseconds."""


class Checked(NamedTuple):
    """What checking one file has shown."""

    findings: list[Finding]
    """One or several for each segment."""
    stamp: Stamp | None
    """The file before it was checked; None: there was none."""


@runtime_checkable
class Requests(Protocol):
    """A list of arguments of `checks.check`; it may make each of them when it is used."""

    def __len__(self) -> int:
        """Return the number of requests."""

    def __getitem__(self, index: int, /) -> dict[str, Any]:
        """Return the arguments of one of them."""


def check_files(
    requests: Requests,
    *,
    num_workers: int,
    indices: Sequence[int] | None = None,
    program: Sequence[str] = PROGRAM,
    seconds_per_file: float = SECONDS_PER_FILE,
) -> Generator[tuple[int, Checked], None, None]:
    """Findings for requests, as they become ready; a list for each, whatever happens.

    Args:
        requests: arguments of `checks.check`.
        num_workers: child processes, 1 to `MOST_WORKERS`.
        indices: the requests to process, by number; None: all.
        program: the command line of a worker.
        seconds_per_file: time limit for one file, or between two signs that it is being decoded; a second is added for
            each 250 kB.

    Yields:
        The index of a request and its findings. Where the child died the reason is "decoder crashed", where it had to
        be stopped "decoder stalled"; a new child continues with the next request.

    Raises:
        ValueError: the number of workers.
        RuntimeError, OSError: no child can be started.
    """
    require_count("num_workers", num_workers, most=MOST_WORKERS)
    indices = range(len(requests)) if indices is None else indices
    waiting = _Waiting(indices)
    ready: queue.SimpleQueue[tuple[int, Checked] | Exception] = queue.SimpleQueue()
    workers = [FileChecker(program, seconds_per_file) for _ in range(min(num_workers, len(indices)))]
    threads = [threading.Thread(target=_work, args=(worker, requests, waiting, ready)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for _ in range(len(indices)):
            result = ready.get()
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join()


class _Waiting:
    """Numbers that several threads share: each gets the next one. A queue would hold all of them."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.lock = threading.Lock()
        self.rest = iter(indices)

    def get(self) -> int | None:
        """Return the next number; None: there are no more."""
        with self.lock:
            return next(self.rest, None)


def _work(
    worker: "FileChecker",
    requests: Requests,
    waiting: _Waiting,
    ready: "queue.SimpleQueue[tuple[int, Checked] | Exception]",
) -> None:
    """One thread: hand requests to one child until none are left; what ends it early is handed on."""
    try:
        while not worker.is_stopped and (index := waiting.get()) is not None:
            ready.put((index, worker.check(requests[index])))
    except Exception as error:  # noqa: BLE001 - the main thread waits for a result, and raises it
        ready.put(error)
    finally:
        worker.close()


class FileChecker(ChildProcess):
    """One child process that checks files."""

    def __init__(self, program: Sequence[str] = PROGRAM, seconds_per_file: float = SECONDS_PER_FILE) -> None:
        super().__init__(program, greeting=GREETING, alive=ALIVE)
        self.seconds_per_file = seconds_per_file

    def check(self, request: dict[str, Any]) -> Checked:
        """Return what the child finds; a request that cannot even be put is a finding too.

        Raises:
            RuntimeError, OSError: no child can be started.
        """
        self.start()
        stamp = None
        try:
            stamp = file_stamp(request["path"])
            return Checked(self._ask(request, 0 if stamp is None else stamp.size), stamp)
        except Exception as error:  # noqa: BLE001 - no file may keep the others from being looked at
            self.close()  # whatever it may still answer belongs to this request
            return Checked(for_each_segment(request, "unreadable", f"{type(error).__name__}: {error}"), stamp)

    def _ask(self, request: dict[str, Any], size: int) -> list[Finding]:
        """Return the child's findings, or what became of the child."""
        try:
            answer = self.answer(request, seconds=self.seconds_per_file + size / BYTES_PER_SECOND)
        except ChildEndedError as ended:
            return for_each_segment(request, "decoder stalled" if ended.is_stalled else "decoder crashed", str(ended))
        return [from_json(found) for found in parsed_json(answer)]


def for_each_segment(request: dict[str, Any], reason: str, detail: str) -> list[Finding]:
    """Return the same finding for each segment of a request."""
    return [Finding(reason, detail, segment=number) for number in range(len(request.get("segments", [()])))]


def file_stamp(path: str) -> Stamp | None:
    """Return size and time of a file, or None if there is none."""
    try:
        about = os.stat(path)  # noqa: PTH116 - a path of another type is an error here, as before
    except (OSError, ValueError):  # ValueError: a path that no file can have
        return None
    return Stamp(about.st_size, about.st_mtime_ns)
