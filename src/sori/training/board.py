"""Write reports for TensorBoard, if its extra `board` is installed."""

import contextlib
import importlib.util
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from sori.core.log import logger


@final
class Board:
    """Event files for TensorBoard.

    They repeat what `metrics.jsonl` has, so a failure, for example a full disk, ends them and not the run. Events are
    written as they come; the writer of TensorBoard itself fails in a thread of its own, with a traceback on the screen.

    Args:
        folder: for the event files.
        step: finished updates; TensorBoard drops later events of earlier processes.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder, self._step = folder, step
        self._file: Any = None
        self._records: Any = None
        self._off = importlib.util.find_spec("tensorboard") is None

    def add(self, step: int, values: Mapping[str, float | int]) -> None:
        """Write numbers by name."""
        if self._off:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        try:
            if self._records is None:
                self._open()
            self._write(Event(wall_time=time.time(), step=step, summary=summary))
        except OSError as error:
            self._off = True
            logger.warning(
                "cannot write event files to %s (%s); the run goes on, and metrics.jsonl has all reports",
                self._folder,
                error,
            )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written before cannot be written now
                self._file.close()

    def _open(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._file = path.open("ab")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        restart = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=self._step + 1, session_log=restart))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()
