"""Uploaded recordings: received into a private folder, bounded in size and number, removed afterwards."""

import asyncio
import contextlib
import errno
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import PurePath
from typing import BinaryIO, final

from starlette.requests import ClientDisconnect

from sori.core.log import logger
from sori.core.sound.sound_suffixes import SOUND_SUFFIXES
from sori.serve.limits import MEGABYTE
from sori.serve.problems import Problem, busy
from sori.serve.service import Service
from sori.serve.transcription import Transcription

_SECONDS_BETWEEN_ROUNDS = 5.0
_MAX_NAME = 255


@final
class Uploads:
    """The recordings of a server."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._found: dict[str, Transcription] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._num_receiving = 0

    def get(self, identifier: str) -> Transcription:
        """Return a recording.

        Raises:
            Problem: there is none, or not any more.
        """
        found = self._found.get(identifier)
        if found is None:
            raise Problem(
                404,
                "expected a recording of this server, got one that it does not have, or not any more; send it again",
            )
        found.last_seen = time.monotonic()
        return found

    @contextlib.contextmanager
    def receiving(self, declared: int) -> Iterator[None]:
        """Keep room for an upload that is about to be received.

        Args:
            declared: its size in bytes, as far as it is known.

        Raises:
            Problem: there is no room at the moment.
        """
        limits = self.service.limits
        self.service.queue.require_room()
        if self._num_receiving >= limits.num_uploads:
            raise busy(f"{self._num_receiving} uploads are being received, as many as are possible; try again later")
        stored = sum(one.num_bytes for one in self._found.values())
        if stored + declared > limits.stored_bytes:
            raise busy(
                f"the recordings of this server have {stored:,} bytes, of at most {limits.stored_bytes:,}; remove "
                "some, or try again later"
            )
        self._num_receiving += 1
        try:
            yield
        finally:
            self._num_receiving -= 1

    async def receive(self, name: str, parts: AsyncIterable[bytes]) -> Transcription:
        """Write an upload to a folder of its own, and begin to transcribe it.

        Args:
            name: name of the file, from the client; only its suffix is used, if it is that of a sound file.
            parts: the bytes of the file.

        Raises:
            Problem: nothing was sent, the connection was lost, it is too large, or the disk is full.
        """
        identifier = secrets.token_urlsafe(18)
        suffix = PurePath(name[-_MAX_NAME:]).suffix.lower()
        folder = self.service.folder / identifier
        folder.mkdir(mode=0o700)
        made = Transcription(
            identifier, name[:_MAX_NAME], folder, suffix if suffix in SOUND_SUFFIXES else "", self.service
        )
        try:
            made.num_bytes = await self._write(made, parts)
            made.place = self.service.queue.join()
        except BaseException:
            made.remove()
            raise
        self._found[identifier] = made
        self._tasks[identifier] = asyncio.create_task(made.run())
        return made

    async def remove(self, identifier: str) -> None:
        """End the transcription of a recording, and remove it."""
        found, task = self._found.pop(identifier, None), self._tasks.pop(identifier, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if found is not None:
            await asyncio.to_thread(found.remove)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remove what is not looked at any more, and at the end everything."""
        rounds = asyncio.create_task(self._rounds())
        try:
            yield
        finally:
            rounds.cancel()
            for identifier in list(self._found):
                await self.remove(identifier)

    async def _write(self, made: Transcription, parts: AsyncIterable[bytes]) -> int:
        limit, total, waiting = self.service.limits.upload_bytes, 0, bytearray()
        try:
            with made.upload.open("xb") as file:
                async for part in parts:
                    total += len(part)
                    if total > limit:
                        raise Problem(413, f"expected a file of at most {limit:,} bytes, got more", code="too_large")
                    waiting += part
                    if len(waiting) >= MEGABYTE:
                        await asyncio.to_thread(file.write, bytes(waiting))
                        waiting.clear()
                file.write(waiting)
        except ClientDisconnect:
            raise Problem(400, "the connection was lost while the file was being received") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise busy("the disk of the server is full; free some space, or try again later") from None
            raise
        if not total:
            raise Problem(400, "expected a sound file, got an empty one", param="file", code="empty_file")
        return total

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_ROUNDS)
            limits, now = self.service.limits, time.monotonic()
            for identifier, one in list(self._found.items()):
                kept = limits.kept_seconds if one.is_finished else limits.unwatched_seconds
                if now - one.last_seen > kept:
                    logger.info("a recording that no page shows any more is removed")
                    await self.remove(identifier)


async def parts_of(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the content of a file in parts of a megabyte."""
    while part := await asyncio.to_thread(file.read, MEGABYTE):
        yield part
