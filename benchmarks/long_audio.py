"""Measure the memory and time to transcribe recordings of up to an hour.

    python benchmarks/long_audio.py --data PREPARED --model runs/recogniser

Concatenates real utterances, with 0.6 s of silence in between, to recordings of 15, 30 and 60 minutes and transcribes
each in a separate process: with the given recogniser, and with one of BASE size and random weights (an hour of audio
takes long; use `--base-minutes 15` for less). Memory is the peak resident size of the process. CPU time is reported as
well, because it is less affected by other load. `--precision` rounds the weights of BASE (8-bit integers without their
test, which needs a trained recogniser).

Writes `benchmarks/results/long_audio.json`, or the file named by `--result`.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile
import torch

import sori
from sori.checkpoints import store
from sori.core.audio import SAMPLE_RATE, read
from sori.core.precision import Wanted
from sori.data.manifest import read_manifest
from sori.inference import eight_bits, transcribe
from sori.inference.lower_precision import set_precision
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

RESULTS = Path(__file__).parent / "results"
MINUTES = (15, 30, 60)
LIMIT_MIB = 1536


def main() -> None:
    """Create the recordings, transcribe them in new processes, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder")
    parser.add_argument("--model", type=Path, required=True, help="recogniser")
    parser.add_argument("--minutes", type=float, nargs="*", default=MINUTES, help="lengths for the recogniser")
    parser.add_argument(
        "--base-minutes", type=float, nargs="*", default=MINUTES, help="lengths of the recordings for BASE, in minutes"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16", "int8"), default="float32", help="of BASE")
    parser.add_argument("--result", default="long_audio", help="name of the file of results, without .json")
    parser.add_argument("--transcribe", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.transcribe:
        print(json.dumps(measure(*args.transcribe, precision=args.precision)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        vocabulary = Vocabulary.fit(["abcdefghijklmnopqrstuvwxyz ' "])
        store.save(factory.build(CtcConfig(), encoder=sizes.base(), vocabulary=vocabulary), base)
        for name, model, lengths in (("given", args.model, args.minutes), ("BASE", base, args.base_minutes)):
            for minutes in lengths:
                recording = Path(folder) / f"{minutes:g}.flac"
                if not recording.exists():
                    concatenate(args.data, recording, minutes=minutes)
                precision = args.precision if model == base else "float32"
                command = [sys.executable, __file__, "--data", ".", "--model", ".", "--precision", precision]
                command += ["--transcribe", str(model), str(recording)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append({"model": name, "minutes": minutes, "precision": precision, **json.loads(done.stdout)})
                row = rows[-1]
                print(
                    f"{name:6} {minutes:4.0f} min: {row['seconds']:.0f} s ({row['cpu_seconds']:.0f} s CPU time), "
                    f"peak {row['peak_mib']:.0f} MiB, {row['words']:,} words",
                    flush=True,
                )
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": "python benchmarks/long_audio.py " + " ".join(sys.argv[1:]),
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "limit": f"BASE below {LIMIT_MIB} MiB: {all(row['peak_mib'] < LIMIT_MIB for row in rows)}",
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    (RESULTS / f"{args.result}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def concatenate(data: Path, into: Path, *, minutes: float) -> None:
    """Concatenate utterances until the length is reached."""
    left = round(minutes * 60 * SAMPLE_RATE)
    with soundfile.SoundFile(into, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        while left > 0:
            for u in read_manifest(data):
                waveform = read(u.path, start=u.start, duration=u.duration_seconds)
                file.write(torch.cat([waveform, torch.zeros(round(0.6 * SAMPLE_RATE))]).numpy()[:left])
                left -= len(waveform) + round(0.6 * SAMPLE_RATE)
                if left <= 0:
                    return


def measure(model: Path, recording: Path, *, precision: Wanted) -> dict[str, float]:
    """Measure the seconds and memory for one recording."""
    system = store.load(model)
    if precision == "int8":
        eight_bits.convert(system)
    else:
        set_precision(system, precision)
    start, cpu_start = time.perf_counter(), time.process_time()
    found = transcribe.transcribe(system, recording)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    times = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}
    return {**times, "peak_mib": round(peak / 1024, 1), "words": len(found.words)}


if __name__ == "__main__":
    main()
