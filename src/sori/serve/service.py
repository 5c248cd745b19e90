"""What the routes of the application share: recogniser, thread, queue, limits, and the folder for recordings."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import final

from sori.core.temporary_folders import temporary_folder
from sori.serve.job_queue import JobQueue
from sori.serve.limits import Limits
from sori.serve.model_thread import ModelThread
from sori.serve.problems import Problem
from sori.serve.recogniser import Recogniser
from sori.serve.sound_decoding import SoundDecoding


@final
class Service:
    """State of one server.

    Args:
        recogniser: the recogniser that is served; another one can be set at any time, for later requests. None: there
            is none yet, and requests that need one are refused.
        limits: of the server.
    """

    def __init__(self, recogniser: Recogniser | None, limits: Limits) -> None:
        self._recogniser, self.limits = recogniser, limits
        self.thread = ModelThread()
        self.queue = JobQueue(num_active=limits.num_active, num_waiting=limits.num_waiting)
        self.decoding = SoundDecoding(limits)
        self.folder: Path
        """Private folder, which exists while the server runs."""
        self.closing = asyncio.Event()
        """Set when the server ends, so that open answers end as well."""
        self.parts: list[Callable[[], AbstractAsyncContextManager[None]]] = []
        """What else runs while the server runs."""
        self.is_running = False
        self.stop: Callable[[], None] = lambda: None
        """Ends the server that runs the application; can be called from any thread."""

    @property
    def recogniser(self) -> Recogniser:
        """Return the recogniser that is served.

        Raises:
            Problem: there is none yet.
        """
        if self._recogniser is None:
            raise Problem(409, "there is no recogniser yet: transcribe some utterances and train one", code="no_model")
        return self._recogniser

    @recogniser.setter
    def recogniser(self, found: Recogniser) -> None:
        self._recogniser = found

    @property
    def has_recogniser(self) -> bool:
        """Return whether there is a recogniser."""
        return self._recogniser is not None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Run the thread, and keep the folder."""
        async with AsyncExitStack() as stack:
            self.folder = stack.enter_context(temporary_folder("sori-serve-"))
            self.thread.start()
            stack.callback(self.thread.stop)
            self.decoding.start()
            stack.callback(self.decoding.stop)
            for part in self.parts:
                await stack.enter_async_context(part())
            self.is_running = True
            yield
            self.is_running = False
