"""Check many files in separate processes, so that a decoder that crashes or hangs costs one file and not the run.

Each worker is a child process that handles one request at a time, so the file that crashed it is known. Children are
started as programs rather than forked: they share no state with the parent, need no `if __name__ == "__main__"` guard
in the user's script, and what their decoders print on standard error is discarded.
"""

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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


def check_files(
    requests: Sequence[dict[str, Any]],
    *,
    num_workers: int,
    program: Sequence[str] = PROGRAM,
    seconds_per_file: float = SECONDS_PER_FILE,
) -> Iterator[tuple[int, list[Finding]]]:
    """Findings for requests, as they become ready; a list for each, whatever happens.

    Args:
        requests: arguments of `checks.check`.
        num_workers: child processes, 1 to `MOST_WORKERS`.
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
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(requests)):
        waiting.put(index)
    ready: queue.SimpleQueue[tuple[int, list[Finding]] | Exception] = queue.SimpleQueue()
    workers = [_Worker(program, seconds_per_file) for _ in range(min(num_workers, len(requests)))]
    threads = [threading.Thread(target=_work, args=(worker, requests, waiting, ready)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for _ in requests:
            result = ready.get()
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join()


def _work(
    worker: "_Worker",
    requests: Sequence[dict[str, Any]],
    waiting: "queue.SimpleQueue[int]",
    ready: "queue.SimpleQueue[tuple[int, list[Finding]] | Exception]",
) -> None:
    """One thread: hand requests to one child until none are left; what ends it early is handed on."""
    try:
        while not worker.is_stopped:
            index = waiting.get_nowait()
            ready.put((index, _finding(worker, requests[index])))
    except queue.Empty:
        pass
    except Exception as error:  # noqa: BLE001 - the main thread waits for a result, and raises it
        ready.put(error)
    finally:
        worker.close()


def _finding(worker: "_Worker", request: dict[str, Any]) -> list[Finding]:
    """What a child finds; a request that cannot even be put is a finding too."""
    worker.start()
    try:
        return worker.ask(request)
    except Exception as error:  # noqa: BLE001 - no file may keep the others from being looked at
        worker.close()  # whatever it may still answer belongs to this request
        return _for_each_segment(request, "unreadable", f"{type(error).__name__}: {error}")


def _for_each_segment(request: dict[str, Any], reason: str, detail: str) -> list[Finding]:
    return [Finding(reason, detail, segment=number) for number in range(len(request.get("segments", [()])))]


class _Worker(ChildProcess):
    """One child process that checks files."""

    def __init__(self, program: Sequence[str], seconds_per_file: float) -> None:
        super().__init__(program, greeting=GREETING, alive=ALIVE)
        self.seconds_per_file = seconds_per_file

    def ask(self, request: dict[str, Any]) -> list[Finding]:
        """The child's findings, or what became of the child."""
        try:
            answer = self.answer(request, seconds=self.seconds_per_file + _size(request["path"]) / BYTES_PER_SECOND)
        except ChildEndedError as ended:
            return _for_each_segment(request, "decoder stalled" if ended.is_stalled else "decoder crashed", str(ended))
        return [from_json(found) for found in parsed_json(answer)]


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):  # ValueError: a path that no file can have
        return 0
