"""Two machines under `torchrun`, simulated by two agents on this one: one is killed with its process and restarted."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.training.launcher import environments, launching

from sori.core.run_folder import RunFolder

SETTINGS = {"num_steps": 150, "save_every_steps": 5}


@contextlib.contextmanager
def agent(number, port, folder, log):
    """Start an agent with one training process; the first one holds the meeting point."""
    meeting = f"is_host={int(number == 0)},keep_alive_interval=1,keep_alive_max_attempt=3"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=two", f"--rdzv-conf={meeting}"]
    command += ["--local-addr=127.0.0.1", str(Path(__file__).with_name("toy.py")), str(folder), "pause=0.1"]
    command += [f"{name}={value}" for name, value in SETTINGS.items()]
    # torch 2.13: an agent that stays first publishes its address only once, and a new agent would wait for it in vain.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with log.open("a") as file:
        started = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            yield started
        finally:
            for process in (started.pid, *children(started.pid)):  # a training process has a session of its own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            started.wait()


def children(process):
    """Return the ids of the processes that a process has started."""
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(one) for one in listed.read_text().split()] if listed.exists() else []


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_a_save(run, after, seconds=600):
    """Wait until the run has saved; return when."""
    end = time.monotonic() + seconds
    while not run.checkpoint.exists() or run.checkpoint.stat().st_mtime_ns == after:
        assert time.monotonic() < end, "the run does not save"
        time.sleep(0.02)
    return run.checkpoint.stat().st_mtime_ns


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of an agent in /proc")
def test_an_agent_that_is_killed_and_restarted_costs_no_bit(tmp_path):
    with launching("toy.py", tmp_path / "stderr") as launcher:
        both = [launcher.start(tmp_path / "whole", environment=e, **SETTINGS) for e in environments(2)]
        assert [launcher.wait(process) for process in both] == [0, 0]
    port, log, run = free_port(), tmp_path / "log", RunFolder(tmp_path / "run")
    run.path.mkdir()
    with agent(0, port, run.path, log) as first:
        with agent(1, port, run.path, log):
            wait_for_a_save(run, wait_for_a_save(run, 0))
        assert first.poll() is None, log.read_text()
        with agent(1, port, run.path, log) as second:
            assert [first.wait(900), second.wait(900)] == [0, 0], log.read_text()
    assert "failed (exitcode: 1)" in log.read_text(), "the run ended before the agent was killed"
    for rank in (0, 1):
        whole, again = (torch.load(folder / f"rank{rank}.pt") for folder in (tmp_path / "whole", run.path))
        for name, tensor in whole.items():
            assert torch.equal(tensor, again[name]), name
