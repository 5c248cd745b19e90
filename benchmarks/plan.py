"""Compare what `sori plan` predicts with real runs of `tiny`: pre-training with two batch sizes, and fine-tuning.

    taskset -c 1 python benchmarks/plan.py --data PREPARED --labelled PREPARED --steps 60

Each setting is calibrated in one process (`planning/calibration.py`, on noise of the lengths of the utterances) and run
in another (`sori.train`, on real recordings), one after the other on the same cores. The processor time of the call is
compared, because other programs may compute at the same time; the elapsed time is given too, and means something on an
idle machine only. The imports of a process are in neither.

Writes `benchmarks/results/plan.json`.
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
from typing import Any

import torch

import sori
from sori import recipes
from sori.data.manifest import read_manifest
from sori.experiments.planning.calibration import calibrate
from sori.recipes import sizes
from sori.runs import run  # noqa: F401 - imported before the clock starts

RESULTS = Path(__file__).parent / "results"
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "pre-training, 24 s": ("wav2vec2_tiny", {}),
    "pre-training, 12 s": ("wav2vec2_tiny", {"data.batch_seconds": 12.0}),
    "recogniser, 12 s": ("ctc_10min_scratch", {"labels.lm": "none", "labels.dev_split": "none"}),
}


def main() -> None:
    """Predict, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder to pre-train on")
    parser.add_argument("--labelled", type=Path, required=True, help="prepared folder with transcripts")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--calibration-seconds", type=float, default=20.0)
    parser.add_argument("--scratch", type=Path, help="existing folder for the runs")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="others stay as stored")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        what, name, data = args.one
        one = predicted(name, args, data) if what == "predict" else real(name, args, data)
        print(json.dumps(one))
        return
    path = RESULTS / "plan.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    rows = [row for row in stored if row["setting"] not in args.settings]
    for name in args.settings:
        data = args.labelled if SETTINGS[name][0].startswith("ctc") else args.data
        row: dict[str, Any] = {"setting": name, "steps": args.steps}
        for what in ("predict", "run"):
            command = [sys.executable, *sys.argv, "--one", what, name, str(data)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            row[what] = json.loads(done.stdout.splitlines()[-1])
        row["predicted_over_real_cpu"] = round(row["predict"]["cpu_seconds"] / row["run"]["cpu_seconds"], 3)
        row["predicted_over_real_elapsed"] = round(row["predict"]["seconds"] / row["run"]["seconds"], 3)
        rows.append(row)
        print(json.dumps(row), flush=True)
    about = {
        "command": f"python benchmarks/plan.py --steps {args.steps} --calibration-seconds {args.calibration_seconds:g}",
        "data": [args.data.name, args.labelled.name],
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "threads": torch.get_num_threads(),
        "load_at_the_end": os.getloadavg()[0],
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def recipe_of(setting: str, steps: int) -> Any:
    """Return the recipe of a setting, shortened."""
    name, changes = SETTINGS[setting]
    # Without a cache: a short run would take longer to decode everything once than to train.
    return recipes.by_name(name).override(changes | {"train.num_steps": steps, "data.cache": "never"})


def predicted(setting: str, args: argparse.Namespace, data: str) -> dict[str, float]:
    """Return what a calibration predicts for a run."""
    lengths, steps = [one.duration_seconds for one in read_manifest(Path(data))], args.steps
    found = calibrate(recipe_of(setting, steps), sizes.tiny(), seconds=args.calibration_seconds, lengths=lengths)
    return {
        "seconds": round(found.start_seconds + steps * found.seconds_per_update, 2),
        "cpu_seconds": round(found.start_cpu_seconds + steps * found.cpu_seconds_per_update, 2),
        "updates_measured": found.num_updates,
        "cpu_seconds_per_update": round(found.cpu_seconds_per_update, 4),
        "audio_seconds_per_update": round(found.audio_seconds_per_update, 2),
        "peak_gib": round(found.peak_gib, 2),
    }


def real(setting: str, args: argparse.Namespace, data: str) -> dict[str, float]:
    """Return what a run takes."""
    recipe = recipe_of(setting, args.steps)
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        into = Path(scratch) / "run"
        began, cpu_began = time.perf_counter(), time.process_time()
        sori.train(recipe, into=into, data=data)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        lines = [json.loads(line) for line in (into / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    hours = next(line["hours"] for line in reversed(lines) if "hours" in line)
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "audio_seconds_per_update": round(3600 * hours / args.steps, 2),
    }


if __name__ == "__main__":
    main()
