"""Measure the memory of `sori prepare` on thousands of hours of long recordings.

    python benchmarks/prepare_scale.py --hours 100 1000 4000 --decoded-hours 4

**What it measures.** The recordings are sparse WAV files of four hours, which take no space. Decoding thousands of
hours takes days of one core, so for the first figures the child processes are stand-ins: they give the answer that a
child gives for such a recording (its pieces, some 150 an hour), without decoding. The main process is the real one: it
lists the files, sends requests, writes the journal, finds duplicates, writes all lists and the report. Its memory is
what is measured; that of a real child does not depend on the number of recordings, and is measured with
`--decoded-hours`, on a recording with bursts of noise as long as sentences, in holes of a sparse file. `--short` gives
the memory that each further file takes.

Each figure comes from a new process. Processor time counts, because other programs may compute meanwhile. Writes
`benchmarks/results/prepare_scale.json`.
"""

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import sori
from sori.data.preparation import prepare as preparation
from sori.data.preparation import workers

RESULTS = Path(__file__).parent / "results"
RATE = 16_000
FILE_HOURS = 4
SECONDS = {"long": FILE_HOURS * 3600, "short": 10}
"""Length of each file."""
STAND_IN = """
import hashlib, json, sys
print("ready", flush=True)
seconds = {seconds}
for line in sys.stdin:
    request = json.loads(line)
    digest = hashlib.blake2b(request["path"].encode(), digest_size=16).hexdigest()
    starts = range(0, seconds * 100 - 2500, 2400)
    pieces = [[start, start + 2350 + 13 * (start // 2400 % 7)] for start in starts] or None
    print(json.dumps([dict(reason=None, detail="", warnings=[], sample_rate=16000, num_frames=seconds * 16000,
        num_channels=1, format="WAV/PCM_16", seconds=float(seconds), level_db=-25.0, digest=digest, pieces=pieces,
        segment=0, channel=None)]), flush=True)
"""


def main() -> None:
    """Prepare each amount in a new process, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, nargs="*", default=[100, 1000, 4000], help="with stand-ins for decoders")
    parser.add_argument("--short", type=int, nargs="*", default=[5000, 20_000], help="numbers of files of ten seconds")
    parser.add_argument("--decoded-hours", type=int, default=4, help="length of the recording that is really decoded")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="existing folder for what is made here")
    parser.add_argument("--prepare", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare:
        folder, into, kind = args.prepare
        print(json.dumps(measure(Path(folder), Path(into), kind, args.workers)))
        return
    rows = []
    kinds = [("long", hours) for hours in args.hours] + [("short", number) for number in args.short]
    for kind, amount in [*kinds, ("decoded", args.decoded_hours)]:
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            folder, into = Path(scratch) / "recordings", Path(scratch) / "prepared"
            if kind == "decoded":
                write_bursts(folder, amount)
            else:
                write_sparse(folder, -(-amount // FILE_HOURS) if kind == "long" else amount, SECONDS[kind])
            command = [sys.executable, __file__, "--prepare", folder, into, kind, "--workers", str(args.workers)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(
            {
                "recordings": kind,
                "decoders": "real" if kind == "decoded" else "stand-ins",
                **json.loads(done.stdout.splitlines()[-1]),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    about = {
        "command": (
            f"python benchmarks/prepare_scale.py --hours {' '.join(map(str, args.hours))} "
            f"--short {' '.join(map(str, args.short))} --decoded-hours {args.decoded_hours} --workers {args.workers}"
        ),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_at_the_end": os.getloadavg()[0],
        "versions": {"sori": sori.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "prepare_scale.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def header(num_samples: int) -> bytes:
    """Return the header of a WAV file of 16-bit samples."""
    small = io.BytesIO()
    soundfile.write(small, np.zeros(1, np.int16), RATE, format="WAV")
    data = bytearray(small.getvalue()[:44])
    data[4:8] = (36 + 2 * num_samples).to_bytes(4, "little")
    data[40:44] = (2 * num_samples).to_bytes(4, "little")
    return bytes(data)


def write_sparse(folder: Path, number: int, seconds: int) -> None:
    """Write files that consist of a header and a hole, a thousand in each folder."""
    samples = seconds * RATE
    for index in range(number):
        place = folder / f"speaker{index // 1000}"
        if index % 1000 == 0:
            place.mkdir(parents=True)
        with (place / f"{index}.wav").open("wb") as file:
            file.write(header(samples))
            file.truncate(44 + 2 * samples)


def write_bursts(folder: Path, hours: int) -> None:
    """Write one recording: every ten seconds, three seconds of noise, and a hole."""
    folder.mkdir(parents=True)
    samples, rng = hours * 3600 * RATE, np.random.default_rng(0)
    with (folder / "bursts.wav").open("wb") as file:
        file.write(header(samples))
        for start in range(0, samples - 3 * RATE, 10 * RATE):
            file.seek(44 + 2 * start)
            file.write(rng.integers(-3000, 3000, 3 * RATE).astype("<i2").tobytes())
        file.truncate(44 + 2 * samples)


def measure(folder: Path, into: Path, kind: str, num_workers: int) -> dict[str, Any]:
    """Prepare one folder and measure this process and its children."""
    if kind in SECONDS:
        program = (sys.executable, "-c", STAND_IN.format(seconds=SECONDS[kind]))
        preparation.check_files = partial(workers.check_files, program=program)
    before, start = peak_mib(), time.perf_counter()
    largest: list[float] = []
    threading.Thread(target=watch_children, args=(largest,), daemon=True).start()
    report = sori.prepare(folder, into, num_workers=num_workers)
    seconds = time.perf_counter() - start
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "files": report.num_files,
        "utterances": report.num_utterances,
        "hours_kept": round(report.hours, 1),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(own.ru_utime + own.ru_stime, 1),
        "cpu_seconds_of_children": round(children.ru_utime + children.ru_stime, 1),
        "mib_after_imports": round(before),
        "peak_mib": round(peak_mib()),
        "peak_mib_of_largest_child": round(max(largest, default=0.0)),
    }


def watch_children(largest: list[float]) -> None:
    """Collect the peak sizes of child processes; `getrusage` would count the parent's, of before they began."""
    while True:
        for place in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError, IndexError):
                largest.extend(peak_mib(pid) for pid in place.read_text(encoding="ascii").split())
        largest[:] = [max(largest, default=0.0)]
        time.sleep(0.5)


def peak_mib(process: str = "self") -> float:
    """Return the peak resident size of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
