"""Stop a run on SIGTERM, Ctrl-C or a closed terminal."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final


class Interrupted(BaseException):
    """A stop was requested inside `StopSignals.interruptible`; not an `Exception`, which evaluations may catch."""


@final
class StopSignals:
    """Request a stop, which the loop follows after the current micro-batch; a second Ctrl-C stops at once.

    Slurm sends SIGTERM some seconds before it kills (`KillWait`, 30 s by default; `--signal=TERM@120` for more), and
    `torchrun` passes it on and waits for 30 s. Within that time must fit one micro-batch and one save.
    """

    def __init__(self) -> None:
        self.requested = False
        self._interruptible = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # not on Windows
            hangup = [s for s in hangup if signal.getsignal(s) is not signal.SIG_IGN]  # as `nohup` sets it
            self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT, *hangup)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise `Interrupted` in this context when a stop is requested: the state is saved, nothing can be lost."""
        if self.requested:
            raise Interrupted
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # os.write because print is not re-entrant: the signal may arrive during a print.
        if self._interruptible:
            os.write(2, b"\nstopping; the state is saved\n")
            raise Interrupted
        os.write(2, b"\nfinishing this micro-batch, then saving; press Ctrl-C again to stop at once without saving\n")
