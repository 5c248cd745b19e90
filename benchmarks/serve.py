"""Attack and measure `sori serve`: random requests, parallel uploads, long and huge files, clients that hang.

    python benchmarks/serve.py --model runs/recogniser --recordings FOLDER

Starts a server and measures, in this order: the time to answer a clip of 10 s; 1,000 random requests; 50 uploads at
the same time; clients that hang, and the others meanwhile; a file of two hours, and clips meanwhile; an upload of 2 GB,
with and without a declared size. Memory is the resident size of the server and of its decoders. `other_load` is the
number of other processes that were computing when it began, which share the cores.

Writes `benchmarks/results/serve.json`.
"""

import argparse
import concurrent.futures
import contextlib
import io
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import soundfile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.fuzzing.http_requests import http_request  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
RATE = 16_000
CLIP_SECONDS = 10.0
GIGABYTE = 1 << 30
WAIT_SECONDS = 900


def main() -> None:
    """Run everything, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="recogniser")
    parser.add_argument("--recordings", type=Path, required=True, help="folder of WAV files at 16 kHz, one channel")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--into", type=Path, default=RESULTS / "serve.json")
    args = parser.parse_args()
    paths = sorted(args.recordings.rglob("*.wav"))
    clip, load = wav_of(paths, CLIP_SECONDS), round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder, Served(args.model, Path(folder)) as server:
        phases: dict[str, Callable[[], dict[str, Any]]] = {
            "clip": lambda: latency(server, clip),
            "random requests": lambda: random_requests(server, paths[0].read_bytes(), args.requests),
            "parallel uploads": lambda: parallel(server, clip, args.uploads),
            "hanging clients": lambda: hanging(server, clip),
            "long file": lambda: long_file(server, paths, clip, args.hours),
            "huge declared": lambda: huge_declared(server),
            "huge chunked": lambda: huge_chunked(server),
            "clip again": lambda: latency(server, clip),
        }
        rows = {}
        for name, phase in phases.items():
            rows[name] = server.measured(phase)
            print(f"{name}: {json.dumps(rows[name])}", flush=True)
        rows["end"] = server.at_end()
    statuses = sum((Counter(row.get("statuses", {})) for row in rows.values()), Counter[str]())
    about = {
        "command": "python benchmarks/serve.py --model RECOGNISER --recordings FOLDER "
        f"--requests {args.requests} --uploads {args.uploads} --hours {args.hours:g}",
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "other_load": load,
        },
        "answers of 500 or more": sum(number for status, number in statuses.items() if int(status) >= 500),
        "statuses": dict(sorted(statuses.items())),
        "rows": rows,
    }
    args.into.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: about[name] for name in ("answers of 500 or more", "statuses")}))


class Served:
    """A server in a process of its own, and its memory."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.folder, self.peak, self.is_over = folder, 0.0, False
        command = [sys.executable, "-m", "sori", "serve", str(model), "--port", "0"]
        environment = os.environ | {"TMPDIR": str(folder)}
        self.log = (folder / "log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[1].rstrip("/")
        self.about = psutil.Process(self.process.pid)

    def __enter__(self) -> Self:
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()
        for _ in range(3):  # what is loaded with the first requests is no growth
            self.client().get("/api/about")
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over = True
        self.watcher.join()
        self.process.terminate()
        self.process.wait(60)
        self.log.close()

    def client(self) -> httpx.Client:
        """Return a client that waits long."""
        return httpx.Client(base_url=self.url, timeout=WAIT_SECONDS)

    def memory(self) -> float:
        """Return the resident memory of the server and its decoders, in MiB."""
        total = 0
        for one in (self.about, *self.about.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
        return total / (1 << 20)

    def cpu_seconds(self) -> float:
        """Return the processor time of the server and its decoders so far."""
        times = [one.cpu_times() for one in (self.about, *self.about.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def measured(self, phase: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what a phase returns, with the memory before, at its peak and after it."""
        before = self.memory()
        self.peak, begun = before, time.perf_counter()
        found = phase()
        seconds = time.perf_counter() - begun
        peak, after = max(self.peak, self.memory()), self.memory()
        memory = {"before": round(before), "peak": round(peak), "after": round(after)}
        return {**found, "seconds": round(seconds, 1), "memory_mib": memory}

    def at_end(self) -> dict[str, Any]:
        """Return what is left: files, open files of the process, tracebacks in its log."""
        with self.client() as client:
            until = time.monotonic() + WAIT_SECONDS
            while client.get("/api/about").json()["queue"] and time.monotonic() < until:
                time.sleep(1)
        self.log.flush()
        log = Path(self.log.name).read_text(encoding="utf-8")
        stored = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and path.name != "log")
        return {
            "stored_mib": round(stored / (1 << 20), 1),
            "open_files": self.about.num_fds(),
            "threads": self.about.num_threads(),
            "memory_mib": {"after": round(self.memory())},
            "tracebacks": log.count("Traceback"),
        }

    def _watch(self) -> None:
        while not self.is_over:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.peak = max(self.peak, self.memory())
            time.sleep(0.1)


def wav_of(paths: list[Path], seconds: float) -> bytes:
    """Return recordings joined to a WAV file of a length."""
    parts, left = [], round(seconds * RATE)
    for number in range(1_000_000):
        if left <= 0:
            break
        samples, rate = soundfile.read(paths[number % len(paths)], dtype="int16")
        assert rate == RATE
        parts.append(samples[:left])
        left -= len(samples)
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(parts), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def transcribed(client: httpx.Client, clip: bytes) -> tuple[int, float]:
    """Return status and seconds of a transcription."""
    begun = time.perf_counter()
    answer = client.post("/v1/audio/transcriptions", files={"file": ("clip.wav", clip)}, data={"model": "whisper-1"})
    return answer.status_code, time.perf_counter() - begun


def seconds_of(found: list[float]) -> dict[str, float]:
    """Return median and maximum."""
    return {"median": round(statistics.median(found), 3), "max": round(max(found), 3)}


def latency(server: Served, clip: bytes) -> dict[str, Any]:
    """Measure the answer to a clip, upload included, which takes a millisecond here."""
    with server.client() as client:
        before = server.cpu_seconds()
        found = [transcribed(client, clip) for _ in range(20)]
        cpu = (server.cpu_seconds() - before) / len(found)
    answers = seconds_of([one for _, one in found])
    return {"statuses": counted(status for status, _ in found), "answer_s": answers, "cpu_s": round(cpu, 3)}


def counted(statuses: Iterator[int]) -> dict[str, int]:
    """Return how often each status came."""
    return {str(status): number for status, number in sorted(Counter(statuses).items())}


def random_requests(server: Served, speech: bytes, number: int) -> dict[str, Any]:
    """Send random requests, each over a connection of its own, eight at the same time."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: random_status(server, speech, seed), range(number)))
    return {"requests": number, "statuses": counted(one for one in found if one), "closed_without": found.count(0)}


def random_status(server: Served, speech: bytes, seed: int) -> int:
    """Send a random request as bytes; return the status of the answer, 0: the connection was closed without one."""
    made = http_request(speech, random.Random(seed))  # noqa: S311 - reproducible
    lines = [
        f"{made.method} {made.path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Content-Length: {len(made.body)}",
    ]
    lines += [f"{name}: {value}" for name, value in made.headers]
    with connected(server) as connection, contextlib.suppress(OSError):
        connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + made.body)
        return status_of(connection)
    return 0


def connected(server: Served) -> socket.socket:
    """Return a connection to the server."""
    at = urlsplit(server.url)
    assert at.hostname is not None
    return socket.create_connection((at.hostname, at.port), timeout=WAIT_SECONDS)


def status_of(connection: socket.socket) -> int:
    """Return the status of an answer, read to its end; 0: there is none."""
    received = connection.recv(65536)
    first = received
    while received and b"event-stream" not in first:
        received = connection.recv(65536)
    return int(first.split()[1]) if first.startswith(b"HTTP/") else 0


def parallel(server: Served, clip: bytes, number: int) -> dict[str, Any]:
    """Upload clips at the same time; those that are refused because the server is busy come again."""
    with probing(server) as probes, concurrent.futures.ThreadPoolExecutor(number) as pool:
        begun = time.perf_counter()
        found = list(pool.map(lambda _: patiently(server, clip), range(number)))
        seconds = time.perf_counter() - begun
    statuses = [status for each in found for status in each]
    rate = number * CLIP_SECONDS / seconds
    return {"statuses": counted(iter(statuses)), "times_real_time": round(rate), "others_s": seconds_of(probes)}


def patiently(server: Served, clip: bytes) -> list[int]:
    """Return the statuses until a clip was transcribed."""
    statuses = []
    with server.client() as client:
        while not statuses or statuses[-1] == 429:
            if statuses:
                time.sleep(1)
            statuses.append(transcribed(client, clip)[0])
    return statuses


@contextlib.contextmanager
def probing(server: Served) -> Iterator[list[float]]:
    """Request something small again and again; yield the seconds that each answer took."""
    found, is_over = list[float](), threading.Event()

    def probe() -> None:
        with server.client() as client:
            while not is_over.wait(0.1):
                begun = time.perf_counter()
                assert client.get("/api/about").status_code == 200
                found.append(time.perf_counter() - begun)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def hanging(server: Served, clip: bytes) -> dict[str, Any]:
    """Hold connections without a request, with half a header, with half an upload, and without reading events."""
    head = b"POST /api/recordings HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    begun = (b"", b"GET / HT", head, head + b"Content-Length: 100000\r\n\r\n" + clip[:1000])
    held = [connected(server) for _ in range(40)]
    for number, connection in enumerate(held):
        connection.sendall(begun[number % len(begun)])
    with server.client() as client:
        found = [transcribed(client, clip) for _ in range(10)]
    closed = []
    for connection in held:
        since = time.perf_counter()
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
        closed.append(time.perf_counter() - since)
        connection.close()
    answers = seconds_of([one for _, one in found])
    return {
        "clients": len(held),
        "statuses": counted(status for status, _ in found),
        "others_s": answers,
        "all_closed_after_s": round(sum(closed), 1),
    }


def long_file(server: Served, paths: list[Path], clip: bytes, hours: float) -> dict[str, Any]:
    """Transcribe a file of hours, and clips meanwhile."""
    sound, others, statuses = wav_of(paths, hours * 3600), list[float](), list[int]()
    with server.client() as client, server.client() as other:
        begun = time.perf_counter()
        name = client.post("/api/recordings", params={"name": "long.wav"}, content=sound).json()["id"]
        sent, first, state = time.perf_counter() - begun, None, {}
        while state.get("state") not in ("done", "failed"):
            state = client.get(f"/api/recordings/{name}/status").json()
            if first is None and state["num_chunks"]:
                first = time.perf_counter() - begun
            status, seconds = transcribed(other, clip)
            statuses.append(status)
            others.append(seconds)
            time.sleep(0.5)
        seconds = time.perf_counter() - begun
        assert client.delete(f"/api/recordings/{name}").status_code == 204
    found = {"state": state["state"], "chunks": state["num_chunks"], "upload_mib": round(len(sound) / (1 << 20))}
    times = {"sent_s": round(sent, 1), "first_text_s": None if first is None else round(first, 1)}
    rate = {"times_real_time": round(hours * 3600 / seconds)}
    return {**found, **times, **rate, "statuses": counted(iter(statuses)), "clips_meanwhile_s": seconds_of(others)}


def huge_declared(server: Served) -> dict[str, Any]:
    """Announce 2 GB."""
    begun = time.perf_counter()
    with connected(server) as connection:
        head = f"POST /api/recordings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {2 * GIGABYTE}\r\n\r\n"
        connection.sendall(head.encode())
        status = int(connection.recv(65536).split()[1])
    return {"statuses": {str(status): 1}, "sent_bytes": 0, "answer_s": round(time.perf_counter() - begun, 3)}


def huge_chunked(server: Served) -> dict[str, Any]:
    """Send 2 GB whose size is not announced, until the server refuses to take more."""
    block, sent = b"100000\r\n" + bytes(1 << 20) + b"\r\n", 0
    with connected(server) as connection:
        connection.sendall(b"POST /api/recordings HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while sent < 2 * GIGABYTE:
                connection.sendall(block)
                sent += 1 << 20
        status = int(connection.recv(65536).split()[1])
    return {"statuses": {str(status): 1}, "sent_mib": sent >> 20}


if __name__ == "__main__":
    main()
