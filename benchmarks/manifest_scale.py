"""Measure how long many processes take from a list of many utterances to their first batch, and their memory.

    python benchmarks/manifest_scale.py --rows 20000000 --processes 8 --scratch /scratch

Writes a synthetic prepared folder (utterances of 1 to 35 s in four languages, a hundred to a recording, no text) and
starts processes as the ranks of one machine: each selects the utterances that are not held out, computes their
fingerprint, plans crops, and takes its first batches from a reader that returns silence. No sound file exists. Memory
is the proportional set size (PSS) of all processes together, in which what several have mapped counts once; its peak is
sampled ten times a second, torch and all other libraries included. `--exponent` balances languages.

The columns are written batch by batch with numpy; `writer_us_per_row` is the processor time of `write_manifest`, which
writes table and Lhotse cuts, measured on a hundred thousand rows. `own_seconds` is the processor time of the busiest
process, `seconds` the elapsed time, which says little while other programs compute.

Writes `benchmarks/results/manifest_scale.json`.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from sori.core import shared_arrays
from sori.core.audio import AudioInfo
from sori.data.manifest import TABLE, Utterance, write_manifest

RESULTS = Path(__file__).parent / "results"
LANGUAGES, SPLITS = ("eng", "deu", "kor", "swh"), ("train", "train", "train", "dev")
RECORDING_ROWS = 100


def main() -> None:
    """Write the folder, start the processes, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--batches", type=int, default=20, help="batches that each process takes")
    parser.add_argument("--exponent", type=float, help="language_exponent; by default, languages are not balanced")
    parser.add_argument(
        "--held-out", action="store_true", help="hold a quarter of the rows out, so that rows are chosen"
    )
    parser.add_argument("--scratch", type=Path, help="existing folder for what is made here: 150 bytes a row")
    parser.add_argument("--rank", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        print(json.dumps(first_batches(Path(args.rank[0]), int(args.rank[1]), args)), flush=True)
        sys.stdin.readline()  # until the memory of all was measured
        return
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        os.environ["TMPDIR"] = scratch
        result = measured(Path(scratch) / "prepared", args)
    write(result)


def measured(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return times and memory."""
    begin = time.process_time()
    folder.mkdir()
    write_table(folder / TABLE, args.rows)
    made = time.process_time() - begin
    processes: list[subprocess.Popen[str]] = []
    peak, stop = [0.0], threading.Event()
    sampler = threading.Thread(target=watch, args=(processes, peak, stop))
    start = time.perf_counter()
    for rank in range(args.processes):
        command = [sys.executable, __file__, *sys.argv[1:], "--rank", str(folder), str(rank)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    sampler.start()
    found = [json.loads(one.stdout.readline()) for one in processes if one.stdout is not None]
    seconds = time.perf_counter() - start
    end = sum(pss_mib(one.pid) for one in processes)
    stop.set()
    sampler.join()
    for one in processes:
        one.communicate("\n")
    assert len({one["fingerprint"] for one in found}) == 1
    return {
        "rows": args.rows,
        "processes": args.processes,
        "batches_each": args.batches,
        "language_exponent": args.exponent,
        "rows_used": found[0]["rows"],
        "table_gb": round((folder / TABLE).stat().st_size / 1e9, 2),
        "seconds_to_first_batch": round(max(one["first"] for one in found), 1),
        "own_seconds_of_busiest": round(max(one["own"] for one in found), 1),
        "own_seconds_of_all": round(sum(one["own"] for one in found), 1),
        "seconds_with_start": round(seconds, 1),
        "peak_pss_mib": round(peak[0]),
        "pss_mib_after": round(end),
        "idle_pss_mib_each": round(found[0]["pss_of_imports"]),
        "rows_digest": hashlib.blake2b("".join(one["digest"] for one in found).encode(), digest_size=8).hexdigest(),
        "seconds_to_make": round(made, 1),
        "writer_us_per_row": writer_speed(folder.parent),
    }


def first_batches(folder: Path, rank: int, args: argparse.Namespace) -> dict[str, Any]:
    """Open the folder as a run does, and take batches."""
    import torch

    from sori.data import fingerprint
    from sori.data.batches.loader import CropBatches
    from sori.data.batches.sampler import DataConfig
    from sori.data.utterances import training_utterances

    idle, start, own = pss_mib(os.getpid()), time.perf_counter(), time.process_time()
    utterances = training_utterances([str(folder)], ("dev",) if args.held_out else ("nothing",))
    about = fingerprint.of_utterances(utterances, languages=args.exponent is not None)
    seen: list[tuple[int, int, int]] = []

    def silence(row: int, first: int, num_samples: int) -> torch.Tensor:
        assert utterances[row].num_samples >= first + num_samples  # reads the row, as a reader of files does
        seen.append((row, first, num_samples))
        return torch.zeros(num_samples)

    batches = CropBatches(utterances, DataConfig(language_exponent=args.exponent), seed=0, reader=silence)
    first = 0.0
    for number in range(args.batches):
        batches[number * args.processes + rank]
        first = first or time.perf_counter() - start
    return {
        "rows": len(utterances),
        "fingerprint": about["digest"],
        "first": first,
        "own": time.process_time() - own,
        "pss_of_imports": idle,
        "digest": hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest(),
    }


def write_table(path: Path, num_rows: int) -> None:
    """Write a table in constant memory, column by column: what `TableWriter` writes for such rows, but for digests."""
    import pyarrow as pa
    import pyarrow.ipc

    from sori.data import table_file

    schema, random = table_file.schema(), np.random.default_rng(0)
    with pyarrow.ipc.new_file(str(path), schema) as writer:
        for begin in range(0, num_rows, table_file.BATCH_ROWS):
            rows = np.arange(begin, min(num_rows, begin + table_file.BATCH_ROWS))
            count = len(rows)
            numbers = pa.array(rows).cast(pa.string())
            recordings = pa.array(rows // RECORDING_ROWS).cast(pa.string())
            columns: dict[str, Any] = {
                "id": pa.compute.binary_join_element_wise("utterance", numbers, "-"),
                "path": pa.compute.binary_join_element_wise("recordings/speech", recordings, "/"),
                "start": (rows % RECORDING_ROWS) * 36.0,
                "num_samples": random.integers(16_000, 35 * 16_000, count),
                "language": pa.array(LANGUAGES).take(pa.array(random.choice(4, count, p=[0.6, 0.25, 0.1, 0.05]))),
                "split": pa.array(SPLITS).take(pa.array(rows % 4)),
                "speaker": pa.compute.binary_join_element_wise("speaker", recordings, "-"),
                "sample_rate": np.full(count, 16_000),
                "num_frames": np.full(count, RECORDING_ROWS * 36 * 16_000),
                "num_channels": np.full(count, 1),
                "digest": random.integers(0, 1 << 63, count).astype(np.uint64),
            }
            arrays = [
                pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
                for field in schema
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        info = table_file.TableInfo(num_rows, str(path.parent), has_root=False, cuts=None, identity="synthetic")
        about = {"version": 1, "batch_rows": table_file.BATCH_ROWS} | info._asdict()
        nothing = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        writer.write_batch(nothing, custom_metadata={b"sori": json.dumps(about).encode()})


def writer_speed(folder: Path, num_rows: int = 100_000) -> float:
    """Return the processor time of `write_manifest` in microseconds a row."""
    place = folder / "written"
    place.mkdir()
    about = AudioInfo(16_000, 36 * 16_000, 1, "FLAC/PCM_16")
    rows = (
        (Utterance(f"utterance-{n}", f"{place}/{n}.flac", 0.0, 560_000, "some words", "s", "eng", None), about)
        for n in range(num_rows)
    )
    begin = time.process_time()
    write_manifest(place, rows)
    return round((time.process_time() - begin) / num_rows * 1e6, 1)


def watch(processes: list[subprocess.Popen[str]], peak: list[float], stop: threading.Event) -> None:
    """Keep the peak of the memory of all processes together."""
    while not stop.wait(0.1):
        peak[0] = max(peak[0], sum(pss_mib(one.pid) for one in processes))


def pss_mib(process: int) -> float:
    """Return the proportional set size of a process in MiB; 0 once it has ended."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]
    return found[0] / 1024 if found else 0.0


def write(result: dict[str, Any]) -> None:
    """Print a row and add it to the results."""
    print(json.dumps(result, indent=1))
    path = RESULTS / "manifest_scale.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    same = ("rows", "processes", "language_exponent")
    rows = [row for row in rows if any(row[name] != result[name] for name in same)]
    about = {
        "command": "python benchmarks/manifest_scale.py " + " ".join(arg for arg in sys.argv[1:] if "/" not in arg),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_at_the_end": os.getloadavg()[0],
        "shared_above_rows": shared_arrays.MOST_OWN,
        "python": platform.python_version(),
    }
    text = json.dumps({**about, "rows": [*rows, result]}, indent=1) + "\n"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
