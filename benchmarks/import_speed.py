"""Measure the time and memory to import a checkpoint of BASE (380 MB), beyond reading its file.

    python benchmarks/import_speed.py

Writes random weights of BASE in each format into a temporary folder, then reads each in a separate process. "Reading
the file" is the minimum for any program: its bytes and their checksum, which is in the certificate. Memory is the
increase of the peak resident size, relative to the size of the file.

Writes `benchmarks/results/import_speed.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import sori
from sori.checkpoints import convert, store
from sori.checkpoints.formats.certificate import sha256
from sori.models import factory
from sori.recipes import sizes

RESULTS = Path(__file__).parent / "results"
FILES = {"sori": "weights.safetensors", "huggingface": "model.safetensors", "fairseq": "checkpoint.pt"}


def main() -> None:
    """Write checkpoints, read them in new processes, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        store.save(factory.build(sizes.base()), source)
        for to, name in FILES.items():
            convert.convert(source, Path(folder) / to, to=to)
            place = Path(folder) / to / (name if to == "fairseq" else "")
            size = (Path(folder) / to / name).stat().st_size
            runs = [in_new_process(place) for _ in range(args.repeats)]
            best = min(runs, key=lambda run: run["load_seconds"])
            row = {"format": to, "file_bytes": size, **best, "memory_share": round(best["memory_bytes"] / size, 2)}
            rows.append(row)
            print(
                f"{to:12} {size / 1e6:.0f} MB: bytes and checksum {best['file_seconds']:.2f} s, import "
                f"{best['load_seconds']:.2f} s more, peak memory {row['memory_share']:.2f} of the file"
            )
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": "python benchmarks/import_speed.py",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    (RESULTS / "import_speed.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def in_new_process(place: Path) -> dict[str, float]:
    """Run `read` in a new process."""
    done = subprocess.run([sys.executable, __file__, "--read", str(place)], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def read(place: Path) -> dict[str, float]:
    """Measure the seconds and bytes of one import."""
    before = peak()
    start = time.perf_counter()
    system = store.load(place)
    for tensor in system.state_dict().values():
        tensor.view(-1)[::1024].sum()  # touch every page, so that mapped memory is counted
    whole = time.perf_counter() - start
    memory = peak() - before
    start = time.perf_counter()
    sha256([place] if place.is_file() else sorted(place.glob("*.safetensors")))
    file_seconds = time.perf_counter() - start
    return {
        "load_seconds": round(whole - file_seconds, 3),
        "file_seconds": round(file_seconds, 3),
        "memory_bytes": memory,
    }


def peak() -> int:
    """Return the peak resident size of this process in bytes (getrusage would include the parent's)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
