"""The thread of the model takes turns, ends what is cancelled, and reports errors."""

import asyncio
import threading

import pytest

from sori.serve.model_thread import ModelThread


def with_thread(function):
    async def run():
        thread = ModelThread()
        thread.start()
        try:
            return await asyncio.wait_for(function(thread), 30)
        finally:
            await asyncio.to_thread(thread.stop)

    return asyncio.run(run())


def test_long_and_short_work_take_turns_and_urgent_work_comes_first():
    order, begin = [], threading.Event()

    def steps(name, number):
        for step in range(number):
            begin.wait(10)
            order.append(name)
            yield step

    async def run(thread):
        async def collect(name, number, *, urgent=False):
            return [found async for found in thread.iterate(lambda: steps(name, number), urgent=urgent)]

        work = [asyncio.create_task(collect("long", 6))]
        await asyncio.sleep(0.1)  # it is computing its first step now
        work.append(asyncio.create_task(collect("short", 2)))
        urgent = asyncio.create_task(collect("urgent", 2, urgent=True))
        await asyncio.sleep(0.1)
        begin.set()
        assert await asyncio.gather(*work) == [list(range(6)), [0, 1]]
        assert await urgent == [0, 1]

    with_thread(run)
    assert order[1:3] == ["urgent", "urgent"]
    assert "".join(name[0] for name in order if name != "urgent") == "lslsllll"


def test_closing_the_generator_ends_the_computation():
    done = []

    def endless():
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            done.append(True)

    async def run(thread):
        found = thread.iterate(endless)
        assert [await anext(found) for _ in range(3)] == [0, 1, 2]
        await found.aclose()
        assert await thread.call(lambda: "still there") == "still there"
        assert await thread.call(lambda: "and again") == "and again"
        assert done == [True]

    with_thread(run)


def test_an_error_is_raised_where_the_result_is_awaited():
    def fail():
        raise ValueError("damaged")

    async def run(thread):
        with pytest.raises(ValueError, match="damaged"):
            await thread.call(fail)
        with pytest.raises(ValueError, match="damaged"):
            await anext(thread.iterate(fail))
        return await thread.call(threading.current_thread)

    assert with_thread(run).name == "sori-model"
