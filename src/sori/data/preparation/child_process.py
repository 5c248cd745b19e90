"""A program that answers requests one by one, and whose crashes and hangs cost one request only.

The program prints a greeting once it is ready, then one line for each line that it reads; lines with a sign of life may
come in between. It is started as a program rather than forked: it shares no state with this process, and what its
decoders print on standard error is discarded.
"""

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from typing import Any


class ChildEndedError(Exception):
    """The child has ended without an answer."""

    def __init__(self, message: str, *, is_stalled: bool) -> None:
        super().__init__(message)
        self.is_stalled = is_stalled
        """Whether it was stopped because it did not answer in time."""


class ChildProcess:
    """One child process, started when first needed and restarted after it ended.

    Args:
        program: its command line.
        greeting: first line that it prints.
        alive: line that it prints as a sign of life.
    """

    def __init__(self, program: Sequence[str], *, greeting: str, alive: str) -> None:
        self.program, self.greeting, self.alive = program, greeting, alive
        self.process: subprocess.Popen[str] | None = None
        self.is_stopped = False
        self.lock = threading.Lock()

    def answer(self, request: dict[str, Any], *, seconds: float) -> str:
        """Return the child's answer, one line.

        Args:
            request: JSON data.
            seconds: time limit for the answer, or between two signs of life.

        Raises:
            ChildEndedError: the child crashed, or was stopped because it took too long; a new one answers the next
                request.
            RuntimeError, OSError: no child can be started.
        """
        process = self.start()
        is_stalled = threading.Event()

        def give_up() -> None:
            is_stalled.set()
            process.kill()

        message: str | None = json.dumps(request)
        while True:
            timer = threading.Timer(seconds, give_up)
            timer.start()
            try:
                answer = _exchange(process, message)
            finally:
                timer.cancel()
            if answer.strip() != self.alive:
                break
            message = None
        if answer and not is_stalled.is_set():
            return answer
        status = process.wait()
        self.close()
        if is_stalled.is_set():
            raise ChildEndedError(f"no answer within {seconds:.0f} s", is_stalled=True)
        raise ChildEndedError(f"its process ended with status {status}", is_stalled=False)

    def stop(self) -> None:
        """Kill the child, from another thread; it is not started again."""
        with self.lock:
            self.is_stopped = True
            if self.process is not None:
                self.process.kill()

    def interrupt(self) -> None:
        """Kill the child, from another thread; the next request starts a new one."""
        with self.lock:
            if self.process is not None:
                self.process.kill()

    def close(self) -> None:
        """End the child and release its pipes."""
        with self.lock:
            process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()

    def start(self) -> "subprocess.Popen[str]":
        """The child, started if there is none; raises what keeps it from starting."""
        if self.process is not None:
            return self.process
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        with self.lock:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                self.program, stdin=pipe, stdout=pipe, stderr=nothing, text=True, env=environment
            )
            if self.is_stopped:
                self.process.kill()
        greeting = _exchange(self.process, None)
        if greeting.strip() != self.greeting and not self.is_stopped:
            raise RuntimeError(
                f"the process that decodes files does not start; to see why, run `{' '.join(self.program)}`"
            )
        return self.process


def _exchange(process: "subprocess.Popen[str]", line: str | None) -> str:
    """Send a line, if any, and receive one; the reply is empty if the child has ended."""
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    try:
        if line is not None:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        return process.stdout.readline()
    except OSError:
        return ""
