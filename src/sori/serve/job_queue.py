"""The queue of recordings: few are processed at the same time, the others wait in order."""

import asyncio
from collections import deque
from types import TracebackType
from typing import final

from sori.serve.problems import busy


@final
class Place:
    """A place in the queue; leaving the context manager frees it."""

    def __init__(self, queue: "JobQueue") -> None:
        self._queue = queue
        self._turn = asyncio.Event()

    @property
    def position(self) -> int:
        """Return how many recordings come before this one; 0: it is its turn."""
        return 0 if self._turn.is_set() else self._queue.position(self)

    async def turn(self) -> None:
        """Wait until it is this recording's turn."""
        await self._turn.wait()

    def begin(self) -> None:
        """End the waiting."""
        self._turn.set()

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._queue.leave(self)


@final
class JobQueue:
    """The queue of a server; used from its event loop only.

    Args:
        num_active: recordings that are processed at the same time.
        num_waiting: recordings that can wait.
    """

    def __init__(self, *, num_active: int, num_waiting: int) -> None:
        self.num_active, self.num_waiting = num_active, num_waiting
        self._active: set[Place] = set()
        self._waiting: deque[Place] = deque()

    def __len__(self) -> int:
        return len(self._active) + len(self._waiting)

    def require_room(self) -> None:
        """Raise a `Problem` with status 429 if the queue is full."""
        if len(self._waiting) >= self.num_waiting:
            raise busy(
                f"expected a place in the queue, but {len(self._waiting)} recordings are waiting in it; try again later"
            )

    def join(self) -> Place:
        """Return a place at the end of the queue; use it as a context manager.

        Raises:
            Problem: the queue is full.
        """
        self.require_room()
        place = Place(self)
        self._waiting.append(place)
        self._advance()
        return place

    def leave(self, place: Place) -> None:
        """Free a place."""
        self._active.discard(place)
        if place in self._waiting:
            self._waiting.remove(place)
        self._advance()

    def position(self, place: Place) -> int:
        """Return how many recordings come before this one."""
        return self._waiting.index(place) + 1 if place in self._waiting else 0

    def _advance(self) -> None:
        while self._waiting and len(self._active) < self.num_active:
            place = self._waiting.popleft()
            self._active.add(place)
            place.begin()
