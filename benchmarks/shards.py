"""Measure reading pre-training batches from shards, beside a folder of files, and behind a URL.

    python benchmarks/shards.py PREPARED --utterances 600 --batches 8 --updates 40 --scratch /scratch

Writes the first utterances of a prepared folder as files of FLAC with 16 bits, and these into shards of FLAC and
of Opus, and reads the same number of batches of 87.5 s from the files, from the shards, and from a server of files on
this machine that answers requests for ranges, as object storage does. Cold: the system was asked to forget the files
(`posix_fadvise`), once before each pass; warm: the same pass again. The time grows with `--utterances`, since Opus is
encoded at 25 times real time: an hour of processor time for a day of speech.

The processor time is that of reading, decoding and the requests (without the server, a process of its own) and says
more than the elapsed time where other programs compute; `share_of_step` divides it by the seconds that a training step
takes for as much audio at 100 times real time, as `tiny` trains on two cores. `equal` counts the utterances whose
samples in the shards are those in the files, bit for bit.

With `--updates`, two processes (gloo) train `wav2vec2_tiny` on the shards of FLAC, from the folder and from the server,
and on the folder of files. `wait_share` is the fraction of the elapsed time that they wait for batches, without the
updates up to the first report; `equal_losses` says whether all losses from the server are those from the folder.

Writes `benchmarks/results/shards.json`.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soundfile
import torch

from sori.core import audio
from sori.core.sound.tar_members import tar_of
from sori.data.batches.loader import CropBatches, prefetch
from sori.data.batches.sampler import DataConfig
from sori.data.manifest import ROOT_VARIABLE, TABLE, Utterance, open_manifest, write_manifest
from sori.data.shards import Format, write_shards
from sori.training.metrics import read_metrics

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SERVER = ROOT / "tests" / "data" / "range_server.py"
TIMES_REAL_TIME = 100
REPORT_EVERY = 5
FORMATS: tuple[Format, ...] = ("flac", "opus")


def main() -> None:
    """Write the shards, read all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--utterances", type=int, default=600, help="the first ones of the folder are used")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="threads that read ahead")
    parser.add_argument("--updates", type=int, default=0, help="updates of two processes that train; 0: none train")
    parser.add_argument("--scratch", type=Path, help="existing folder for the shards")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        write(results(Path(scratch), args))


def results(scratch: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows."""
    prepared = files_of(itertools.islice(open_manifest(args.prepared), args.utterances), scratch / "prepared")
    rows = passes("files", prepared, args)
    for name in FORMATS:
        into, begin = scratch / name, time.process_time()
        written = write_shards(prepared, into, shard_format=name, shard_mb=16)
        spent = time.process_time() - begin
        about = {
            "source": f"shards of {name}, written",
            "shards": written.num_shards,
            "hours": round(written.hours, 3),
            "mb_an_hour": round(written.num_bytes / 1e6 / written.hours, 1),
            "cpu_seconds": round(spent, 1),
            "x_realtime_per_core": round(written.hours * 3600 / spent),
        }
        rows.append(shown(about | (equal(prepared, into) if name == "flac" else {})))
        rows += passes(f"shards of {name}", into, args)
        with served(into):
            rows.append(measured(f"shards of {name} behind a URL", into, args))
    if args.updates:
        rows += trained_pairs(prepared, scratch / "flac", scratch, args.updates)
    return rows


def files_of(utterances: Iterable[Utterance], folder: Path) -> Path:
    """Write each utterance as a file of its own; return the prepared folder."""
    (folder / "recordings").mkdir(parents=True)

    def written() -> Iterator[tuple[Utterance, audio.AudioInfo]]:
        for number, u in enumerate(utterances):
            path = folder / "recordings" / f"{number}.flac"
            waveform = audio.read(u.path, start=u.start, duration=u.duration_seconds, channel=u.mix).numpy()
            soundfile.write(path, waveform, audio.SAMPLE_RATE, subtype="PCM_16")
            yield u._replace(path=str(path), start=0.0, channel=None), audio.info(path)

    write_manifest(folder, written())
    return folder


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
    return shown(row)


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Print a row and return it."""
    print(json.dumps(row), flush=True)
    return row


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Read recordings through a server of files; only the list is local."""
    command = [sys.executable, str(SERVER), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        os.environ[ROOT_VARIABLE] = server.stdout.readline().strip()
        try:
            yield
        finally:
            del os.environ[ROOT_VARIABLE]
            server.terminate()


def trained_pairs(prepared: Path, sharded: Path, scratch: Path, updates: int) -> list[dict[str, Any]]:
    """Train two processes from each source."""
    listed = scratch / "list"
    listed.mkdir()
    (listed / TABLE).write_bytes((sharded / TABLE).read_bytes())
    losses, rows = trained(sharded, scratch / "of_shards", updates)
    found = [shown({"source": "two processes, shards of flac", **rows})]
    with served(sharded):
        of_server, rows = trained(listed, scratch / "of_server", updates)
    found.append(
        shown({"source": "two processes, shards of flac behind a URL", **rows, "equal_losses": of_server == losses})
    )
    _, rows = trained(prepared, scratch / "of_files", updates, ("--data.cache", "never"))
    return [*found, shown({"source": "two processes, files", **rows})]


def trained(data: Path, into: Path, updates: int, settings: tuple[str, ...] = ()) -> tuple[list[float], dict[str, Any]]:
    """Train two processes; return the losses of all reports, and what they say of the time."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "sori"]
    command += ["train", "wav2vec2_tiny", "--data", str(data), "--into", str(into), "--data.batch-seconds", "12"]
    command += ["--train.num-steps", str(updates), "--train.log-every", str(REPORT_EVERY), *settings]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    reports = [row for row in read_metrics(into / "metrics.jsonl") if row["kind"] == "train"]
    later = reports[1:]  # equally long
    seconds = [REPORT_EVERY * row["batch_seconds"] / row["hours_per_hour"] for row in later]
    waited = sum(row["wait_share"] * one for row, one in zip(later, seconds, strict=True)) / sum(seconds)
    about = {
        "updates": updates,
        "batch_seconds": round(later[-1]["batch_seconds"], 1),
        "seconds_an_update": round(sum(seconds) / REPORT_EVERY / len(later), 3),
        "wait_share": round(waited, 4),
        "largest_wait_share": round(max(row["wait_share"] for row in later), 4),
    }
    return [row["loss"] for row in reports], about


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
