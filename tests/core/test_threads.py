"""Computations side by side."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest
import torch
from torch import nn

from sori.core.threads import map_in_threads, num_at_a_time


def test_results_come_in_order_from_several_threads():
    names = set()
    together = threading.Barrier(3, timeout=20)

    def square(number: int) -> int:
        together.wait()  # ends only if three threads are there at the same time
        time.sleep(0.01 * (number % 3))
        names.add(threading.current_thread().name)
        return number * number

    assert list(map_in_threads(square, range(9), num_threads=3)) == [n * n for n in range(9)]
    assert len(names) == 3


def test_each_thread_computes_with_one_core_and_the_caller_keeps_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = set(map_in_threads(lambda _: torch.get_num_threads(), range(8), num_threads=2))
        assert found == {1}
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_items_are_read_as_they_are_needed():
    read = []

    def numbers():
        for number in count():
            read.append(number)
            yield number

    results = map_in_threads(lambda n: n, numbers(), num_threads=2)
    assert list(islice(results, 3)) == [0, 1, 2]
    assert len(read) <= 7
    results.close()
    assert len(read) <= 7


def test_an_exception_ends_the_iteration():
    def fail_at_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    results = map_in_threads(fail_at_two, range(5), num_threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_one_thread_is_no_other_thread():
    (found,) = map_in_threads(lambda _: threading.current_thread(), [0], num_threads=1)
    assert found is threading.current_thread()


def test_only_small_models_on_the_processor_process_several_at_a_time(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert num_at_a_time(nn.Linear(10, 10)) == 4
    assert num_at_a_time(nn.Linear(5000, 5000, device="meta")) == 1
    assert num_at_a_time(nn.Linear(10, 10, device="meta")) == 1
    with torch.device("cpu"):
        assert num_at_a_time(nn.Linear(4500, 4500, dtype=torch.bfloat16)) == 1
