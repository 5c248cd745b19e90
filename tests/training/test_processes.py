"""Several real processes: two that train together compared with one, and a run that is killed repeatedly."""

import os
import random
import signal
import time

import pytest
import torch
from tests.training.launcher import environments, launching

from sori.training.metrics import read_metrics


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    with launching("toy.py", tmp_path_factory.mktemp("log") / "stderr") as made:
        yield made


def in_this_process(toy, folder, **settings):
    """Return the weights after a run with as many threads as the other processes have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return toy.run(folder, **settings).state_dict()
    finally:
        torch.set_num_threads(threads)


def test_two_processes_equal_one_with_twice_the_accumulation(toy, tmp_path, launcher):
    """LayerDrop skips blocks in one process, in both or in neither; clipping is on; counts differ."""
    processes = [
        launcher.start(tmp_path / "two", environment=environment, num_steps=30, num_accumulate=2)
        for environment in environments(2)
    ]
    assert [launcher.wait(process) for process in processes] == [0, 0]
    one = in_this_process(toy, tmp_path / "one", num_steps=30, num_accumulate=4)
    first, second = (torch.load(tmp_path / "two" / f"rank{rank}.pt") for rank in (0, 1))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), f"the replicas differ in {name}"
        torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-6)
    rows = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("two", "one")]
    assert [len(found) for found in rows] == [6, 6]
    # AdamW hardly depends on the scale of the gradient, so compare the gradient norm too.
    for two, alone in zip(*rows, strict=True):
        for name in ("loss", "correct", "grad_norm", "hours"):
            assert two[name] == pytest.approx(alone[name], rel=1e-5), name


def test_a_killed_run_is_bit_identical_to_an_uninterrupted_one(toy, tmp_path, launcher):
    settings = {"num_steps": 300, "save_every_steps": 7}
    whole = in_this_process(toy, tmp_path / "whole", **settings)
    rng = random.Random(0)
    for _ in range(3):
        before = saved(tmp_path / "cut")
        process = launcher.start(tmp_path / "cut", pause=0.02, **settings)
        wait_until_saved(tmp_path / "cut", before)
        time.sleep(rng.uniform(0, 0.3))
        os.kill(process, signal.SIGKILL)
        assert launcher.wait(process) == -signal.SIGKILL, "the run ended before it could be killed"
    assert launcher.wait(launcher.start(tmp_path / "cut", **settings)) == 0
    cut = torch.load(tmp_path / "cut" / "rank0.pt")
    for name, tensor in whole.items():
        assert torch.equal(tensor, cut[name]), name


def saved(folder):
    """Return when the run last saved; 0 for never."""
    path = folder / "checkpoint.safetensors"
    return path.stat().st_mtime_ns if path.exists() else 0


def wait_until_saved(folder, before, seconds=120):
    end = time.monotonic() + seconds
    while saved(folder) == before:
        assert time.monotonic() < end, "the run does not save"
        time.sleep(0.01)
