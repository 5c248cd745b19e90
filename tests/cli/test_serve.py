"""`sori serve` from its command line to its end."""

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from websockets.sync.client import connect


def started(*words, **environment):
    command = [sys.executable, "-m", "sori", "serve", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_answers_and_ends_at_once(recogniser_run, tmp_path, end):
    process = started(recogniser_run, "--port", 0, TMPDIR=str(tmp_path))
    try:
        line = process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:"), process.communicate()
        assert httpx.get(line.split()[1] + "api/about", timeout=30).json()["model"] == "recogniser"
        assert [path.name[:11] for path in tmp_path.iterdir()] == ["sori-serve-"]
        process.send_signal(end)
        _, problems = process.communicate(timeout=30)
        assert process.returncode == (130 if end == signal.SIGINT else 128 + end)
        assert "Traceback" not in problems
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.usefixtures("bounded")
def test_it_ends_while_clients_wait_and_stream(recogniser_run, tone_corpus, tmp_path):
    speech = (tone_corpus / "audio" / "anna" / "anna-000.wav").read_bytes()
    process = started(recogniser_run, "--port", 0, TMPDIR=str(tmp_path))
    try:
        url = process.stdout.readline().split()[1].rstrip("/")
        port = int(url.rpartition(":")[2])
        with (
            connect(f"ws://127.0.0.1:{port}/v1/audio/stream") as stream,
            socket.create_connection(("127.0.0.1", port), timeout=60) as uploading,
        ):
            stream.send(bytes(3200))
            head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999\r\n"
            uploading.sendall(head + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n")
            name = httpx.post(f"{url}/api/recordings", content=speech * 20, timeout=60).json()["id"]
            with httpx.stream("GET", f"{url}/api/recordings/{name}/events", timeout=60) as events:
                next(events.iter_raw())
                process.send_signal(signal.SIGINT)
                _, problems = process.communicate(timeout=50)
            answer = uploading.recv(65536)
        assert process.returncode == 130
        assert "Traceback" not in problems
        assert answer.startswith(b"HTTP/1.1 429")
        assert [path.name for path in tmp_path.glob("sori-*")] == []
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--token", "short"), "expected a token of 16 letters and digits"),
        (("--port", "70000"), "expected a port from 0 to 65535"),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
    ],
)
def test_mistakes_are_explained(call, recogniser_run, words, reason):
    code, _, problems = call("serve", recogniser_run, *words)
    assert code == 2
    assert reason in problems


def test_a_port_in_use(call, recogniser_run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, problems = call("serve", recogniser_run, "--port", taken.getsockname()[1])
    assert code == 2
    assert "Address already in use" in problems
    assert "choose another one with --port" in problems


def test_an_encoder_is_no_recogniser(call, encoder_run):
    code, _, problems = call("serve", encoder_run, "--port", 0)
    assert code == 2
    assert "expected a recogniser" in problems


def test_the_extra_is_named_where_it_is_missing(call, recogniser_run, monkeypatch):
    monkeypatch.setattr("sori.cli.serve.find_spec", lambda _: None)
    code, _, problems = call("serve", recogniser_run)
    assert code == 2
    assert "pip install 'sori[serve]'" in problems
