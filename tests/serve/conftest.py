"""What tests of the web application share: a small recogniser, an application without a socket, and a real server."""

import asyncio
import contextlib
import socket
import threading
import time
from typing import NamedTuple

import httpx
import pytest

from sori.checkpoints import store
from sori.serve.access import access
from sori.serve.app import run
from sori.serve.limits import Limits
from sori.serve.recogniser import Recogniser
from sori.serve.service import Service
from sori.serve.views import transcription_app


@pytest.fixture(scope="session")
def recogniser(recogniser_run):
    return Recogniser("tones", store.load(recogniser_run), None)


@pytest.fixture(scope="session")
def speech(tone_corpus):
    """A recording of a few words."""
    return tone_corpus / "audio" / "anna" / "anna-000.wav"


@pytest.fixture
def within(recogniser):
    """Run a coroutine function with a client of an application that has no socket."""

    def run_within(function, *, limits=None, token=None, host="127.0.0.1", base_url="http://localhost:8417"):
        service = Service(recogniser, limits or Limits())
        app = transcription_app(service, access(host, token))

        async def whole():
            transport = httpx.ASGITransport(app=app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url=base_url, timeout=60) as client,
            ):
                return await function(client, service)

        return asyncio.run(whole())

    return run_within


class Running(NamedTuple):
    """A server in a thread of this process."""

    url: str
    port: int
    service: Service


@contextlib.contextmanager
def running_server(recogniser, *, limits=None, token=None):
    """Run a server on a free port."""
    service = Service(recogniser, limits or Limits())
    app = transcription_app(service, access("127.0.0.1", token))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        thread = threading.Thread(target=run, args=(app, service, bound))
        thread.start()
        until = time.monotonic() + 30
        while not service.is_running:
            assert time.monotonic() < until
            time.sleep(0.02)
        try:
            yield Running(f"http://127.0.0.1:{port}", port, service)
        finally:
            service.stop()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def server(recogniser):
    """A server that all tests of a session share."""
    with running_server(recogniser) as found:
        yield found
