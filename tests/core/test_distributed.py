import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from sori.core import distributed

SCRIPT = Path(__file__).parents[1] / "training" / "two_views.py"


def start(first, last, **environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(first), str(last)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_compare_as_one():
    """Loss, gradient and running means; the processes hold three examples and two."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [start(*rows, RANK=str(r), LOCAL_RANK=str(r), **shared) for r, rows in enumerate([(0, 3), (3, 5)])]
    running.append(start(0, 5))
    *two, one = (json.loads(process.communicate(timeout=120)[0]) for process in running)
    assert [(found["rows"], found["offset"]) for found in (*two, one)] == [(5, 0), (5, 3), (5, 0)]
    for found in two:
        for name in ("loss", "gradient", "mean", "variance"):
            torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(one[name]), rtol=1e-6, atol=1e-9)


def test_alone_nothing_is_gathered():
    rows = torch.randn(3, 2)
    assert distributed.gather_rows(rows)[0] is rows
    assert distributed.gather_rows(rows)[1] == 0
    assert distributed.sum_with_gradient(rows) is rows
    assert distributed.from_first([1, "two"]) == [1, "two"]
    assert [distributed.any_process(flag) for flag in (True, False)] == [True, False]
