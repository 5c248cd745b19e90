"""One uploaded recording: from the file to its text, chunk by chunk."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any, Literal, final

from sori.core.audio import SAMPLE_RATE
from sori.core.log import logger
from sori.inference.inputs import reason_of
from sori.serve.job_queue import Place
from sori.serve.problems import Problem
from sori.serve.recogniser import Chunk
from sori.serve.service import Service

State = Literal["waiting", "decoding", "transcribing", "done", "failed"]
_UPLOAD, _COPY, _PEAKS = "upload", "copy.wav", "peaks"


@final
class Transcription:
    """A recording and what has been recognised in it so far.

    Args:
        identifier: name of its folder, which only those who sent the recording know.
        name: name of the file, as the client has given it; never used as a path.
        folder: folder of its own, which exists.
        suffix: suffix of the file.
        service: of the server.
    """

    def __init__(self, identifier: str, name: str, folder: Path, suffix: str, service: Service) -> None:
        self.identifier, self.name, self.folder, self.service = identifier, name, folder, service
        self.upload, self.copy, self.peaks = folder / f"{_UPLOAD}{suffix}", folder / _COPY, folder / _PEAKS
        self.state: State = "waiting"
        self.num_bytes = 0
        """Disk space that it uses, or is going to use."""
        self.duration = 0.0
        """Seconds; known once it is decoded."""
        self.warning: str | None = None
        self.chunks: list[Chunk] = []
        self.problem: Problem | None = None
        self.last_seen = time.monotonic()
        """When a client last looked at it."""
        self.place: Place | None = None
        """Its place in the queue."""
        self._changed = asyncio.Event()

    @property
    def is_finished(self) -> bool:
        """Return whether nothing will change any more."""
        return self.state in ("done", "failed")

    def status(self) -> dict[str, Any]:
        """Return its state as JSON data."""
        return {
            "id": self.identifier,
            "name": self.name,
            "state": self.state,
            "position": 0 if self.place is None else self.place.position,
            "duration": round(self.duration, 3),
            "processed": round(self.duration if self.state == "done" else self._end(), 3),
            "num_chunks": len(self.chunks),
            "warning": self.warning,
            "error": None if self.problem is None else self.problem.message,
        }

    async def changed(self, seconds: float) -> None:
        """Wait until something changes, or for a time."""
        self.last_seen = time.monotonic()
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self.last_seen = time.monotonic()

    async def run(self) -> None:
        """Wait in the queue, decode, transcribe; what fails is stated in `problem`."""
        assert self.place is not None  # noqa: S101 - it joins the queue when it is received
        try:
            with self.place:
                await self.place.turn()
                self._set("decoding")
                await self._decode()
                self._set("transcribing")
                await self._transcribe()
                self._set("done")
        except Problem as problem:
            self._fail(problem)
        except asyncio.CancelledError:
            self._fail(Problem(400, "cancelled", code="cancelled"))
            raise
        except Exception as error:  # noqa: BLE001 - costs this recording only
            logger.exception("a recording could not be transcribed")
            self._fail(Problem(400, f"the recording cannot be transcribed: {reason_of(error, self.upload)}"))

    def remove(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> float:
        return self.chunks[-1].end if self.chunks else 0.0

    async def _decode(self) -> None:
        decoded = await self.service.decoding.decode(self.upload, self.copy, self.peaks)
        self.upload.unlink()
        self.num_bytes = self.copy.stat().st_size
        self.duration = decoded.num_samples / SAMPLE_RATE
        self.warning = None if decoded.missing is None else f"the file is cut off: {decoded.missing}"

    async def _transcribe(self) -> None:
        recogniser = self.service.recogniser
        chunks = self.service.thread.iterate(lambda: recogniser.chunks(self.copy))
        try:
            async for chunk in chunks:
                self.chunks.append(chunk)
                self._notify()
        except ValueError as error:
            reason = str(error).replace(str(self.copy), "the recording")
            raise Problem(400, reason, param="file", code="unusable_file") from None
        finally:
            await chunks.aclose()

    def _set(self, state: State) -> None:
        self.state = state
        self._notify()

    def _fail(self, problem: Problem) -> None:
        self.problem = problem
        self._set("failed")

    def _notify(self) -> None:
        before, self._changed = self._changed, asyncio.Event()
        before.set()
