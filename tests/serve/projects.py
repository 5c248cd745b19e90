"""Projects of tones for tests, and servers that have them open."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import httpx

from sori.core.files import write_json
from sori.data.manifest import read_with_headers, write_manifest
from sori.evaluation.error_rate import error_rates
from sori.inference.selection_files import COLUMNS
from sori.serve.access import access
from sori.serve.app import run
from sori.serve.limits import Limits
from sori.serve.project import open_project
from sori.serve.rounds import Round
from sori.serve.service import Service
from sori.serve.views import project_app

CLIENT = "aaaaaaaa-0001"
OTHER = "bbbbbbbb-0002"


def untranscribed(prepared: Path, folder: Path, *, speakers=("anna", "ben", "carl"), count=8) -> Path:
    """Write a prepared folder with some utterances of speakers, without transcripts and splits."""
    folder.mkdir(parents=True)
    rows = []
    for speaker in speakers:
        rows += [row for row in read_with_headers(prepared) if row[0].speaker == speaker][:count]
    write_manifest(folder, [(u._replace(text=None, split=None), file) for u, file in rows])
    return folder


def ordered(project: Path, names) -> None:
    """Give a project the order of its utterances, as `sori select` writes it, which takes a while."""
    (project / "queue").mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(COLUMNS), *("\t".join([name, *["x"] * (len(COLUMNS) - 1)]) for name in names)]
    (project / "queue" / "order.tsv").write_text("\n".join(lines) + "\n")


class Running(NamedTuple):
    """A server in a thread of this process."""

    url: str
    service: Service


@contextlib.contextmanager
def project_server(folder: Path, recordings: Path | None = None):
    """Run a server of a project on a free port."""
    with open_project(folder, recordings) as project, socket.create_server(("127.0.0.1", 0)) as bound:
        service = Service(None, Limits())
        app = project_app(service, access("127.0.0.1", None), project)
        thread = threading.Thread(target=run, args=(app, service, bound))
        thread.start()
        wait_for(lambda: service.is_running)
        try:
            yield Running(f"http://127.0.0.1:{bound.getsockname()[1]}", service)
        finally:
            service.stop()
            thread.join(30)
            assert not thread.is_alive()


def within_project(folder: Path, function, recordings: Path | None = None):
    """Run a coroutine function with a client of an application of a project, without a socket."""

    async def whole(project):
        app = project_app(Service(None, Limits()), access("127.0.0.1", None), project)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost:8417", timeout=60) as client,
        ):
            return await function(client)

    with open_project(folder, recordings) as project:
        return asyncio.run(whole(project))


@contextlib.contextmanager
def server_process(folder: Path, *options):
    """Run `sori serve --project` as a process of its own; yields the process and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sori", "serve", "--project", str(folder), "--port", str(port), *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(url), seconds=120)
        yield process, url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def answers(url) -> bool:
    try:
        return httpx.get(f"{url}/api/about", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition, *, seconds=60.0):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.02)


def finished_round(folder, number, minutes, errors):
    """Write a finished round whose recogniser gets the first of ten letters wrong in some of 40 utterances."""
    place = folder / f"{number:03}"
    place.mkdir(parents=True)
    about = {"minutes": minutes, "held_out_minutes": 2.0, "held_out": "speakers", "recipe": "ctc_10min", "init": None}
    write_json(place / "round.json", about)
    (place / "run" / "model").mkdir(parents=True)
    write_json(place / "run" / "model" / "config.json", {})  # there is a model, which cannot be loaded
    hypotheses = ["xbcdefghij" if number < errors else "abcdefghij" for number in range(40)]
    report = error_rates(["abcdefghij"] * 40, hypotheses, [None] * 40).to_data()
    write_json(
        place / "scores.json", {"utterances": [{"id": str(n)} | row for n, row in enumerate(report["utterances"])]}
    )
    return Round(place)
