"""Measure the time and memory of `sori prepare`.

    python benchmarks/prepare_speed.py FOLDER --workers 2 --tiny 10000 100000 --long-hours 1 4

Prepares a folder of recordings, then folders with many tiny files (WAV, 0.1 s of noise each, all different) and single
long recordings (FLAC, speech-like noise), each in a new process. The CPU time is that of all processes, and says more
than the elapsed time where other programs compute at the same time: `x_realtime_per_core` is the length of the audio
divided by it. Memory is the peak resident size of the parent, which grows with the number of utterances.

Writes `benchmarks/results/prepare_speed.json`.
"""

import argparse
import gzip
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import sori
from sori.data.manifest import CUTS

RESULTS = Path(__file__).parent / "results"
RATE = 16_000


def main() -> None:
    """Prepare each folder in a new process, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of recordings; none: only what is made here")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tiny", type=int, nargs="*", default=[10_000, 100_000], help="numbers of tiny files")
    parser.add_argument("--long-hours", type=float, nargs="*", default=[1, 4], help="lengths of single recordings")
    parser.add_argument("--scratch", type=Path, help="existing folder for what is made here")
    parser.add_argument("--prepare", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare:
        print(json.dumps(measure(Path(args.prepare[0]), Path(args.prepare[1]), int(args.prepare[2]))))
        return
    makers: list[tuple[str, Callable[[Path], Path]]] = []
    makers += [(f"one file of {hours:g} h", partial(write_long, hours=hours)) for hours in args.long_hours]
    if args.folder is not None:
        makers.append((args.folder.name, lambda _: Path(args.folder)))
    makers += [(f"{number:,} tiny files", partial(write_tiny, number=number)) for number in args.tiny]
    rows = []
    for name, make in makers:
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            folder, into = make(Path(scratch) / "recordings"), Path(scratch) / "prepared"
            command = [sys.executable, __file__, "--prepare", str(folder), str(into), str(args.workers)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append({"source": name, **json.loads(done.stdout.splitlines()[-1])})
            print(json.dumps(rows[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    about = {
        "source": args.folder and args.folder.name,
        "workers": args.workers,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_at_the_end": os.getloadavg()[0],
        "versions": {"sori": sori.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    (RESULTS / "prepare_speed.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def write_tiny(folder: Path, number: int) -> Path:
    """Write WAV files of 0.1 s, a thousand in each folder."""
    rng, header = np.random.default_rng(number), io.BytesIO()
    soundfile.write(header, np.zeros(RATE // 10, np.int16), RATE, format="WAV")
    for index in range(number):
        place = folder / f"speaker{index // 1000}"
        if index % 1000 == 0:
            place.mkdir(parents=True)
        samples = rng.integers(-8000, 8000, RATE // 10).astype("<i2")
        (place / f"{index}.wav").write_bytes(header.getvalue()[:44] + samples.tobytes())
    return folder


def write_long(folder: Path, hours: float) -> Path:
    """Write one FLAC file: noise of two seconds, then a second of almost nothing, and so on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    levels = np.repeat([3000.0, 3.0], [2 * RATE, RATE])
    with soundfile.SoundFile(folder / "long.flac", "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(hours * 1200)):
            file.write((rng.standard_normal(3 * RATE) * levels).astype(np.int16))
    return folder


def measure(folder: Path, into: Path, num_workers: int) -> dict[str, Any]:
    """Prepare one folder and measure this process and its workers."""
    before, start = peak_mib(), time.perf_counter()
    sori.prepare(folder, into, num_workers=num_workers)
    seconds = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    peak = peak_mib()
    with gzip.open(into / CUTS, "rt", encoding="utf-8") as lines:
        recordings = [json.loads(line)["recording"] for line in lines]
    lengths = {recording["id"]: recording["duration"] for recording in recordings}
    hours = sum(lengths.values()) / 3600
    return {
        "files": len(lengths),
        "utterances": len(recordings),
        "hours": round(hours, 3),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "x_realtime": round(hours * 3600 / seconds),
        "x_realtime_per_core": round(hours * 3600 / cpu),
        "cpu_ms_per_file": round(1000 * cpu / len(lengths), 2),
        "parent_mib_before": round(before),
        "parent_mib": round(peak),
    }


def peak_mib() -> float:
    """Return the peak resident size of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
