"""Kill the server with SIGKILL while two windows type transcripts, at random moments; count what was lost.

    python benchmarks/label_kill.py [--kills 20]

Makes a project of a small synthetic corpus of tones, runs `sori serve --project`, sends transcripts as fast as they are
confirmed, from two windows (each with its own utterances, and one utterance that both change), and kills the server
between 0.2 and 3 s later. Every confirmed transcript must be in `transcripts.tsv`, unless a later one of the same
utterance is; `sori prepare` must read the table; and the next server must continue the project. Writes
`benchmarks/results/label_kill.json`.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from sori.data.preparation.prepare import prepare

RESULTS = Path(__file__).parent / "results"
NUM_UTTERANCES = 9


def main() -> None:
    """Kill servers, count, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)  # noqa: S311 - moments, no secrets
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings(folder / "recordings", args.seed)
        prepare(folder / "recordings", folder / "project" / "prepared", num_workers=1)
        rounds = [one_kill(folder, number, draw.uniform(0.2, 3.0)) for number in range(args.kills)]
    confirmed, lost = (sum(one[key] for one in rounds) for key in ("confirmed", "lost"))
    result = {
        "command": f"python benchmarks/label_kill.py --kills {args.kills}",
        "kills": args.kills,
        "confirmed": confirmed,
        "lost": lost,
        "conflicts": sum(one["conflicts"] for one in rounds),
        "milliseconds_per_transcript": round(1000 * float(np.median([one["seconds"] for one in rounds])), 2),
    }
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "label_kill.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if lost:
        sys.exit(1)


def recordings(folder: Path, seed: int) -> None:
    """Write short recordings of noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(NUM_UTTERANCES):
        soundfile.write(folder / f"u{number}.wav", 0.1 * rng.standard_normal(40_000), 16_000)


def one_kill(folder: Path, number: int, seconds: float) -> dict[str, Any]:
    """Type in two windows, kill the server, and compare what was confirmed with what is on the disk."""
    project = folder / "project"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sori", "serve", "--project", str(project), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    wait_for_answer(url)
    names = [f"u{n}" for n in range(NUM_UTTERANCES)]
    windows = [Window(url, f"{n:08}-{number}", [*names[n::2][:4], names[-1]]) for n in range(2)]
    for window in windows:
        window.thread.start()
    time.sleep(seconds)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    for window in windows:
        window.thread.join()
    table = (project / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    stored = {row[0]: int(row[7]) for row in (line.split("\t") for line in table[1:])}
    texts = {row[0]: row[6] for row in (line.split("\t") for line in table[1:])}
    lost, count = 0, 0
    for window in windows:
        count += window.count
        for name, (version, text) in window.confirmed.items():
            is_there = stored.get(name, 0) > version or (stored.get(name) == version and texts[name] == text)
            lost += not is_there
    prepare(project / "transcripts.tsv", folder / f"check_{number}", num_workers=1)
    each = [one for window in windows for one in window.seconds]
    return {
        "confirmed": count,
        "lost": lost,
        "conflicts": sum(window.conflicts for window in windows),
        "seconds": float(np.median(each)) if each else 0.0,
    }


class Window:
    """A window that types until there is no answer."""

    def __init__(self, url: str, client: str, names: list[str]) -> None:
        self.url, self.client, self.names = url, client, names
        self.confirmed: dict[str, tuple[int, str]] = {}
        self.seconds: list[float] = []
        self.count = self.conflicts = 0
        self.thread = threading.Thread(target=self.type)

    def type(self) -> None:
        """Send one transcript after another; after a conflict, from the newer version."""
        versions: dict[str, int] = {}
        with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=self.url, timeout=60) as client:
            for number in range(1_000_000):
                name = self.names[number % len(self.names)]
                data = {"id": name, "version": versions.get(name, 0), "text": f"text {self.client} {number}"}
                begun = time.monotonic()
                answer = client.post("/api/labels", json=data)
                if answer.status_code == 409:
                    self.conflicts += 1
                    versions[name] = answer.json()["error"]["details"]["version"]
                    continue
                assert answer.status_code == 200, answer.text
                self.seconds.append(time.monotonic() - begun)
                versions[name] = answer.json()["label"]["version"]
                self.confirmed[name] = versions[name], str(data["text"])
                self.count += 1


def wait_for_answer(url: str) -> None:
    """Wait until a server answers."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/api/about", timeout=10).status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the server does not answer")


if __name__ == "__main__":
    main()
