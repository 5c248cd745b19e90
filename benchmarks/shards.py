"""Measure reading pre-training batches from shards, beside a folder of files, and behind a URL.

    python benchmarks/shards.py PREPARED --batches 40 --scratch /scratch

Writes the sound of a prepared folder into shards, as FLAC and as Opus, and reads
the same number of batches of 87.5 s from the files, from the shards, and from a server of files on this machine that
answers requests for ranges, as object storage does. Cold: the system was asked to forget the files
(`posix_fadvise`), once before each pass; warm: the same pass again.

The processor time is that of reading, decoding and the requests (without the server, a process of its own) and says
more than the elapsed time where other programs compute; `share_of_step` divides it by the seconds that a training step
takes for as much audio at 100 times real time, as `tiny` trains on two cores. `equal` counts the utterances whose
samples in the shards are those in the files, bit for bit.

Writes `benchmarks/results/shards.json`.
"""

import argparse
import http.server
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sori.core import audio
from sori.core.sound.tar_members import tar_of
from sori.data.batches.loader import CropBatches, prefetch
from sori.data.batches.sampler import DataConfig
from sori.data.manifest import ROOT_VARIABLE, open_manifest
from sori.data.shards import Format, write_shards

RESULTS = Path(__file__).parent / "results"
TIMES_REAL_TIME = 100
FORMATS: tuple[Format, ...] = ("flac", "opus")


def main() -> None:
    """Write the shards, read all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1, help="threads that read ahead")
    parser.add_argument("--scratch", type=Path, help="existing folder for the shards")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        rows += passes("files", args.prepared, args)
        for name in FORMATS:
            into, begin = Path(scratch) / name, time.process_time()
            written = write_shards(args.prepared, into, shard_format=name, shard_mb=16)
            spent = time.process_time() - begin
            about = {
                "source": f"shards of {name}, written",
                "shards": written.num_shards,
                "hours": round(written.hours, 3),
                "mb_an_hour": round(written.num_bytes / 1e6 / written.hours, 1),
                "cpu_seconds": round(spent, 1),
                "x_realtime_per_core": round(written.hours * 3600 / spent),
            }
            if name == "flac":
                about |= equal(args.prepared, into)
            rows.append(about)
            rows += passes(f"shards of {name}", into, args)
            rows += served(name, into, args)
    write(rows)


def passes(source: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Read the batches twice, the first time from the disk."""
    forget({tar_of(u.path) for u in open_manifest(folder)})
    return [measured(f"{source}, {state}", folder, args) for state in ("cold", "warm")]


def measured(source: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Read the batches once."""
    batches = CropBatches(open_manifest(folder), DataConfig(), seed=0)
    begin, start = time.process_time(), time.perf_counter()
    heard = sum(batch.seconds for batch in prefetch(batches, range(args.batches), num_threads=args.threads))
    spent, seconds = time.process_time() - begin, time.perf_counter() - start
    row = {
        "source": source,
        "batches": args.batches,
        "hours": round(heard / 3600, 3),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent, 2),
        "x_realtime": round(heard / seconds),
        "x_realtime_per_core": round(heard / spent),
        "share_of_step": round(spent / (heard / TIMES_REAL_TIME), 4),
    }
    print(json.dumps(row))
    return row


def served(name: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Read the batches through a server of files; only the list is local."""
    command = [sys.executable, __file__, str(args.prepared), "--serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            os.environ[ROOT_VARIABLE] = f"http://127.0.0.1:{int(server.stdout.readline())}"
            return [measured(f"shards of {name} behind a URL", folder, args)]
        finally:
            os.environ.pop(ROOT_VARIABLE, None)
            server.terminate()


def equal(prepared: Path, sharded: Path) -> dict[str, int]:
    """Return how many utterances have the same samples in both."""
    before = {u.id: u for u in open_manifest(prepared)}
    after = list(open_manifest(sharded))
    same = 0
    for u in after:
        old = before[u.id]
        one = audio.read(old.path, start=old.start, duration=old.duration_seconds, channel=old.mix)
        same += torch.equal(one, audio.read(u.path))
    return {"utterances": len(after), "equal": same}


def forget(paths: Iterable[str]) -> None:
    """Ask the system to drop files from memory."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Answers requests for ranges of files."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send a range."""
        first, last = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
        with Path(self.translate_path(self.path)).open("rb") as file:
            file.seek(first)
            content = file.read(last + 1 - first)
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def serve(folder: Path) -> None:
    """Serve a folder until the process is ended; print the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(folder))) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def write(rows: list[dict[str, Any]]) -> None:
    """Print and write the results."""
    about = {
        "command": "python benchmarks/shards.py " + " ".join(arg for arg in sys.argv[1:] if "/" not in arg),
        "source": Path(sys.argv[1]).name,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_at_the_end": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    text = json.dumps({**about, "rows": rows}, indent=1) + "\n"
    print(text)
    (RESULTS / "shards.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
