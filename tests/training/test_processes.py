"""Several real processes: two under `torchrun` against one, and a run that is killed again and again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

TOY = str(Path(__file__).with_name("toy.py"))
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def same_as_in_subprocesses(toy, folder, **settings):
    """The run in this process, with as many threads as the subprocesses have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return toy.run(folder, **settings).state_dict()
    finally:
        torch.set_num_threads(threads)


def test_two_processes_train_as_one_that_accumulates_two(toy, tmp_path):
    """LayerDrop leaves blocks out in one process, in both or in neither; clipping is on; counts differ."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", TOY]
    done = subprocess.run(
        [*command, str(tmp_path / "two"), "num_steps=30", "num_accumulate=2"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one = same_as_in_subprocesses(toy, tmp_path / "one", num_steps=30, num_accumulate=4)
    first, second = (torch.load(tmp_path / "two" / f"rank{rank}.pt") for rank in (0, 1))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), f"the replicas differ in {name}"
        torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-6)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6


def test_a_killed_run_ends_with_the_bits_of_an_uninterrupted_one(toy, tmp_path):
    settings = {"num_steps": 150, "save_every_steps": 7}
    whole = same_as_in_subprocesses(toy, tmp_path / "whole", **settings)
    command = [sys.executable, TOY, str(tmp_path / "cut"), "pause=0.01", *(f"{k}={v}" for k, v in settings.items())]
    rng = random.Random(0)
    for _ in range(2):
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        wait_for_a_checkpoint(tmp_path / "cut", process)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True)
    cut = torch.load(tmp_path / "cut" / "rank0.pt")
    for name, tensor in whole.items():
        assert torch.equal(tensor, cut[name]), name


def wait_for_a_checkpoint(folder, process):
    """Until the run saves for the first time since it was started."""
    path, begin = folder / "checkpoint.safetensors", time.time()
    while not path.exists() or path.stat().st_mtime < begin:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.time() < begin + 60
        time.sleep(0.01)
