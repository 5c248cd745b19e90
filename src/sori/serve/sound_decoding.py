"""Decode uploaded files in processes of their own: a decoder that crashes or hangs costs its file only."""

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, final

from sori.core.json_values import parsed_json
from sori.core.log import logger
from sori.core.sound.sound_suffixes import COMMON_SUFFIXES
from sori.data.preparation.check_process import ALIVE, GREETING
from sori.data.preparation.child_process import ChildEndedError, ChildProcess
from sori.data.preparation.workers import BYTES_PER_SECOND, SECONDS_PER_FILE
from sori.serve.limits import Limits
from sori.serve.problems import Problem
from sori.serve.sound_copies import SoundCopy

Answer = dict[str, Any]
"""What a process answers: the fields of a `SoundCopy`, or `error`."""
PROGRAM = (sys.executable, "-P", str(Path(__file__).with_name("decode_process.py")))


@final
class SoundDecoding:
    """Processes that decode; used from the event loop.

    Args:
        limits: of the server.
        program: command line of a process.
        seconds_per_file: see `workers.check_files`.
    """

    def __init__(
        self, limits: Limits, *, program: Sequence[str] = PROGRAM, seconds_per_file: float = SECONDS_PER_FILE
    ) -> None:
        self.limits, self.seconds_per_file = limits, seconds_per_file
        self._children = [ChildProcess(program, greeting=GREETING, alive=ALIVE) for _ in range(limits.num_decoders)]
        self._idle: asyncio.Queue[ChildProcess] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(limits.num_decoders, thread_name_prefix="sori-decoding")

    def start(self) -> None:
        """Start the processes in the background, so that the first recording does not wait for them."""
        loop = asyncio.get_running_loop()
        for child in self._children:
            loop.run_in_executor(self._threads, child.start).add_done_callback(partial(self._add, child))

    def _add(self, child: ChildProcess, started: "asyncio.Future[object]") -> None:
        if not started.cancelled() and (error := started.exception()) is not None:
            logger.error("%s", error)
        self._idle.put_nowait(child)

    def _free(self, child: ChildProcess, work: "asyncio.Future[Answer]") -> None:
        if not work.cancelled():
            work.exception()  # it is raised where the work is awaited, unless that was cancelled
        self._idle.put_nowait(child)

    def stop(self) -> None:
        """End the processes, whatever they are doing."""
        for child in self._children:
            child.stop()
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.close()

    async def decode(self, path: Path, copy: Path, peaks: Path) -> SoundCopy:
        """Decode a file; see `write_copy`. If this is cancelled, the process is killed.

        Raises:
            Problem: the file cannot be decoded; states the reason.
        """
        child = await self._idle.get()
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, child, path, copy, peaks)
        work.add_done_callback(partial(self._free, child))
        try:
            answer = await asyncio.shield(work)
        except asyncio.CancelledError:
            child.interrupt()
            raise
        except ChildEndedError as ended:
            reason = "decoder stalled" if ended.is_stalled else "decoder crashed"
            raise unusable(f"{reason}: {ended}") from None
        if "error" in answer:
            raise unusable(answer["error"])
        return SoundCopy(**answer)

    def _answer(self, child: ChildProcess, path: Path, copy: Path, peaks: Path) -> Answer:
        request = {"path": str(path), "copy": str(copy), "peaks": str(peaks)}
        seconds = self.seconds_per_file + path.stat().st_size / BYTES_PER_SECOND
        line = child.answer({**request, "max_seconds": self.limits.recording_seconds}, seconds=seconds)
        answer: Answer = parsed_json(line)
        return answer


def unusable(reason: str) -> Problem:
    """Return the refusal of a file that cannot be decoded."""
    return Problem(
        400,
        f"expected a sound file, got something that cannot be used: {reason}. Likely truncated or damaged, or in a "
        f"format other than {COMMON_SUFFIXES}; if it can be played, convert it to flac",
        param="file",
        code="unusable_file",
    )
