"""Many small computations side by side, in threads of one core each."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

_SMALL = 20_000_000
"""Number of weights up to which the matrix products of a recording are too small for several cores."""
_MOST = 32

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; at most two items for each thread are under way.

    Torch computes with one core in each thread: small models gain nothing from several cores for one recording.

    Args:
        function: what to compute; it must be safe to call from several threads. An exception ends the iteration.
        items: arguments, read one by one.
        num_threads: number of threads; 1: no other thread, and as many cores as torch uses.
    """
    if num_threads == 1:
        yield from map(function, items)
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(num_threads, "map", initializer=torch.set_num_threads, initargs=(1,))
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) == 2 * num_threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # the setting is also that of threads to come


def num_at_a_time(model: nn.Module) -> int:
    """Return how many recordings a model should process at a time: with one core each if it is small, else one.

    Weights are parameters, or buffers where they are packed integers.
    """
    weights = [*model.parameters(), *model.buffers()]
    if weights[0].device.type != "cpu" or sum(one.numel() for one in weights) > _SMALL:
        return 1
    return min(torch.get_num_threads(), _MOST)
