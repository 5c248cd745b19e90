"""One thread that computes with the model, while the server goes on answering.

Recordings are processed chunk by chunk in turn, so that none waits for the end of a long one.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any, TypeVar, final

T = TypeVar("T")
_END = object()


class _Steps:
    """A computation that returns one result after another."""

    def __init__(self, make: Callable[[], Iterator[Any]], deliver: Callable[[Any], None], *, is_urgent: bool) -> None:
        self.make, self.deliver, self.is_urgent = make, deliver, is_urgent
        self.is_cancelled = False
        self._results: Iterator[Any] | None = None

    def step(self) -> bool:
        """Compute the next result and deliver it; return whether there may be another one."""
        try:
            if self._results is None:
                self._results = self.make()
            found = _END if self.is_cancelled else next(self._results, _END)
        except Exception as error:  # noqa: BLE001 - costs this computation only
            found = error
        is_last = found is _END or isinstance(found, Exception)
        if is_last and isinstance(self._results, Generator):
            self._results.close()
        self.deliver(found)
        return not is_last


@final
class ModelThread:
    """The thread; `start` and `stop` it, or use it as a context manager."""

    def __init__(self) -> None:
        self._ready: deque[_Steps] = deque()
        self._urgent: deque[_Steps] = deque()
        self._condition = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name="sori-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step that it is computing."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()
        self._thread.join()

    async def iterate(self, make: Callable[[], Iterator[T]], *, urgent: bool = False) -> AsyncGenerator[T, None]:
        """Yield the results of an iterator, each computed in the thread; closing the generator ends the computation.

        Args:
            make: returns the iterator; called in the thread.
            urgent: whether its steps, which must be short, come before those of others.

        Raises:
            Exception: what the iterator raises.
        """
        loop, results = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def deliver(found: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(results.put_nowait, found)

        steps = _Steps(make, deliver, is_urgent=urgent)
        self._add(steps)
        try:
            while (found := await results.get()) is not _END:
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            steps.is_cancelled = True

    async def call(self, function: Callable[[], T], *, urgent: bool = False) -> T:
        """Return the result of a function, computed in the thread."""
        async for found in self.iterate(lambda: iter([function()]), urgent=urgent):
            return found
        raise AssertionError  # the iterator has one element

    def _add(self, steps: _Steps) -> None:
        with self._condition:
            (self._urgent if steps.is_urgent else self._ready).append(steps)
            self._condition.notify()

    def _work(self) -> None:
        while (steps := self._next()) is not None:
            if steps.step():
                self._add(steps)

    def _next(self) -> _Steps | None:
        with self._condition:
            self._condition.wait_for(lambda: self._is_stopped or self._urgent or self._ready)
            if self._is_stopped:
                return None
            return (self._urgent or self._ready).popleft()
