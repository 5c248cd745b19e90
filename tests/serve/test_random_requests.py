"""Random requests get an answer below 500, and the server goes on."""

import contextlib
import random
import socket

import httpx
import pytest
from tests.fuzzing.http_requests import http_request

NUMBER = 150


def status_of(server, made):
    """Return the status of the answer; None: the connection was closed without one."""
    lines = [f"{made.method} {made.path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"Content-Length: {len(made.body)}", *(f"{name}: {value}" for name, value in made.headers)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection, contextlib.suppress(OSError):
        connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + made.body)
        first = connection.recv(65536)
        return int(first.split()[1]) if first else None
    return None


# Starlette leaves the file of a form that ends too early to the garbage collector, which closes it with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_request_is_a_fault_of_the_server(server, speech, capfd):
    statuses = {}
    for seed in range(NUMBER):
        made = http_request(speech.read_bytes(), random.Random(seed))
        status = status_of(server, made)
        assert status is None or status < 500, (seed, made.method, made.path, made.headers, made.body[:200])
        statuses[status] = statuses.get(status, 0) + 1
    assert {201, 400, 404, 405} <= statuses.keys()
    assert httpx.get(f"{server.url}/api/about").status_code == 200
    assert "Traceback" not in capfd.readouterr().err
