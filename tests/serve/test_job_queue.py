"""The queue of recordings: order, places, and what happens when it is full."""

import asyncio

import pytest

from sori.serve.job_queue import JobQueue
from sori.serve.problems import Problem


def test_places_advance_in_order_and_leaving_frees_them():
    async def run():
        queue = JobQueue(num_active=2, num_waiting=3)
        places = [queue.join() for _ in range(5)]
        assert [place.position for place in places] == [0, 0, 1, 2, 3]
        with pytest.raises(Problem, match="3 recordings are waiting") as refused:
            queue.join()
        assert refused.value.status == 429
        assert refused.value.response().headers["Retry-After"] == "5"
        with places[3]:
            pass  # a client that is gone while it waits
        assert [places[n].position for n in (2, 4)] == [1, 2]
        queue.leave(places[0])
        await asyncio.wait_for(places[2].turn(), 1)
        assert places[4].position == 1
        assert len(queue) == 3

    asyncio.run(run())


def test_an_error_frees_the_place():
    async def run():
        queue = JobQueue(num_active=1, num_waiting=1)

        async def work():
            with queue.join() as place:
                await place.turn()
                raise ValueError("damaged")

        with pytest.raises(ValueError, match="damaged"):
            await work()
        assert len(queue) == 0

    asyncio.run(run())
