"""Arrays are computed by one process, and all read the same."""

import multiprocessing
import os
import time

import numpy as np
import pytest

from sori.core import shared_arrays


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_arrays, "_place", lambda: tmp_path)
    return tmp_path


def compute(folder, key, delay):
    (folder.parent / f"{folder.name}-{os.getpid()}").touch()
    time.sleep(delay)
    return {"of": np.arange(key, key + 1_000), "names": np.array(["é", "b"])}


def child(folder, results):
    shared_arrays._place = lambda: folder
    found = shared_arrays.shared_arrays("k", lambda: compute(folder, 5, 0.3))
    results.put((int(found["of"].sum()), found["names"].tolist()))


def test_one_of_several_processes_computes(place):
    context = multiprocessing.get_context("fork")  # libraries are imported already
    results = context.Queue()
    processes = [context.Process(target=child, args=(place, results)) for _ in range(2)]
    for one in processes:
        one.start()
    found = [results.get(timeout=60) for _ in processes]
    for one in processes:
        one.join()
    assert found == [(int(np.arange(5, 1_005).sum()), ["é", "b"])] * 2
    assert len(list(place.parent.glob(f"{place.name}-*"))) == 1


def test_arrays_are_mapped_and_read_only_and_forgotten(place):
    found = shared_arrays.shared_arrays("k", lambda: {"of": np.arange(3)})["of"]
    assert isinstance(found, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    assert shared_arrays.shared_arrays("k", lambda: {"of": np.arange(9)})["of"].tolist() == [0, 1, 2]
    shared_arrays.forget("k")
    assert found.tolist() == [0, 1, 2]
    assert shared_arrays.shared_arrays("k", lambda: {"of": np.arange(9)})["of"].tolist() == list(range(9))


def test_what_cannot_be_stored_is_kept_and_said(place, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_arrays.np, "save", full)
    found = shared_arrays.shared_arrays("k", lambda: {"of": np.arange(3)})
    assert found["of"].tolist() == [0, 1, 2]
    assert "No space left" in caplog.text
    assert not (place / "k").exists()
    monkeypatch.setattr(shared_arrays, "_place", lambda: None)
    assert shared_arrays.shared_arrays("k", lambda: {"of": np.arange(2)})["of"].tolist() == [0, 1]


def test_unused_arrays_are_removed(place):
    shared_arrays.shared_arrays("old", lambda: {"of": np.arange(3)})
    os.utime(place / "old", (0, 0))
    shared_arrays.shared_arrays("new", lambda: {"of": np.arange(3)})
    assert not (place / "old").exists()
    assert (place / "new").exists()


def test_keys_depend_on_every_part():
    keys = {shared_arrays.key_of(*parts) for parts in (("a", 1), ("a", 2), ("a1",), ("a", "1", ""), ("b", 1))}
    assert len(keys) == 5
