"""Requests that are too large or too slow are refused while they come in, and others go on being answered."""

import contextlib
import json
import socket
import time

import httpx
import pytest
from tests.serve.conftest import running_server

from sori.serve.connections import TimedProtocol
from sori.serve.limits import MEGABYTE, Limits

SMALL = Limits(upload_bytes=MEGABYTE, form_bytes=1000, body_bytes=5000, idle_seconds=0.6, num_uploads=2)


@pytest.fixture(scope="module")
def small_server(recogniser):
    with running_server(recogniser, limits=SMALL) as found:
        yield found


def connected(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def answer_of(connection):
    """Return status and JSON of an answer, after which the connection is closed."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def request_head(path, *headers):
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


@pytest.mark.parametrize("path", ["/api/recordings", "/v1/audio/transcriptions", "/api/export", "/nowhere"])
def test_a_declared_size_is_refused_before_anything_is_sent(small_server, path):
    with connected(small_server) as connection:
        begun = time.monotonic()
        connection.sendall(request_head(path, "Content-Length: 2000000000"))
        status, answer = answer_of(connection)
        assert (status, answer["error"]["code"]) == (413, "too_large")
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("path", ["/api/recordings", "/v1/audio/transcriptions", "/api/export"])
def test_a_size_that_is_not_declared_is_refused_when_it_is_reached(small_server, path):
    with connected(small_server) as connection:
        head = request_head(path, "Transfer-Encoding: chunked", "Content-Type: multipart/form-data; boundary=b")
        connection.sendall(head)
        sent, block = 0, b"10000\r\n" + b"-" * 65536 + b"\r\n"
        with contextlib.suppress(OSError):
            while sent < 100 * MEGABYTE:
                connection.sendall(block)
                sent += 65536
        status, answer = answer_of(connection)
        assert status in (400, 413)  # 400: a form that is none is noticed before
        assert answer["error"]["message"]
    assert list(small_server.service.folder.iterdir()) == []


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "", "9" * 5000])
def test_lengths_that_are_none(small_server, length):
    with connected(small_server) as connection:
        connection.sendall(request_head("/api/recordings", f"Content-Length: {length}"))
        received = connection.recv(65536)
        assert received.split()[1] in (b"400", b"413", b"431")


def test_a_client_that_sends_nothing_more_is_given_up_and_frees_its_place(small_server):
    hanging = [connected(small_server) for _ in range(2)]
    for connection in hanging:
        connection.sendall(request_head("/api/recordings", "Content-Length: 1000") + b"x" * 10)
    time.sleep(0.2)
    refused = httpx.post(f"{small_server.url}/api/recordings", content=b"x" * 1000)
    assert refused.status_code == 429
    assert httpx.get(f"{small_server.url}/api/about").status_code == 200
    for connection in hanging:
        status, answer = answer_of(connection)
        assert status == 408
        reasons = "nothing was received", "got fewer"  # the second one where the machine is busy
        assert any(reason in answer["error"]["message"] for reason in reasons)
        connection.close()
    assert httpx.post(f"{small_server.url}/api/recordings", content=b"text " * 99).status_code == 201


def test_a_client_that_sends_very_slowly_is_given_up(small_server):
    with connected(small_server) as connection:
        connection.sendall(request_head("/api/recordings", "Content-Length: 100000"))
        begun = time.monotonic()
        connection.settimeout(0.1)
        received = b""
        while not received and time.monotonic() - begun < 20:
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
        assert received.split()[1] == b"408"
        assert 1.1 < time.monotonic() - begun < 6


def test_a_connection_without_a_request_is_closed(small_server, monkeypatch):
    monkeypatch.setattr("sori.serve.connections.HEADER_SECONDS", 0.3)
    for sent in (b"", b"GET /api/about HTTP/1.1\r\nHost: 127"):
        with connected(small_server) as connection:
            connection.sendall(sent)
            assert connection.recv(100) == b""
    with connected(small_server) as connection:  # the second request of a connection as well
        connection.sendall(b"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /api")
        while connection.recv(65536):
            pass
    assert TimedProtocol.__mro__[1].__name__ == "H11Protocol"


def test_a_client_that_is_gone_while_it_waits_frees_its_place(small_server, speech):
    service = small_server.service
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + speech.read_bytes()
    body += b"\r\n--b--\r\n"
    blockers = []
    while not blockers or blockers[-1].position == 0:
        blockers.append(service.queue.join())
    with connected(small_server) as connection:
        kind = "Content-Type: multipart/form-data; boundary=b"
        connection.sendall(request_head("/v1/audio/transcriptions", f"Content-Length: {len(body)}", kind) + body)
        wait_for(lambda: len(service.queue) == len(blockers) + 1)
    wait_for(lambda: len(service.queue) == len(blockers), seconds=15)
    for blocker in blockers:
        service.queue.leave(blocker)


def wait_for(condition, *, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
