"""Start training in separate processes that share their imports: a server forks for each order (see `toy.py`)."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path


class Launcher:
    """Starts runs in separate processes with one thread each."""

    def __init__(self, script, log):
        command = [sys.executable, str(Path(__file__).with_name(script))]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )

    def _send(self, order):
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, *arguments, environment=None, **settings):
        arguments = [*map(str, arguments), *(f"{name}={value}" for name, value in settings.items())]
        return self._send({"start": arguments, "environment": environment or {}})

    def wait(self, process):
        return self._send({"wait": process})


@contextlib.contextmanager
def launching(script, log_file):
    """Yield a launcher of a script beside this file, which writes its errors into a file."""
    with log_file.open("w+") as log:
        made = Launcher(script, log)
        yield made
        made.server.stdin.close()
        made.server.stdout.close()
        made.server.wait()


def environments(number):
    """Return the environments of a number of processes that train together, as `torchrun` sets them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    shared = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]
