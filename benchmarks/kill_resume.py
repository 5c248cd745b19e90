"""Test that a pre-training run killed with `kill -9` at random points and restarted gives bit-identical results.

    python benchmarks/kill_resume.py [--kills 10] [--steps 300]

Every second kill waits until a checkpoint is being written. Weights, optimiser moments and reports (without times) of
the killed run are compared bit for bit with those of an uninterrupted run.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from sori.data.preparation.prepare import prepare
from sori.recipes.smoke import wav2vec2_smoke
from sori.runs.run import train
from sori.training import checkpoint
from sori.training.metrics import read_metrics

CLOCK = {"hours_per_hour", "seconds_left", "wait_share"}


def main() -> int:
    """Run the test and return 0 if everything is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", nargs=2, metavar=("DATA", "INTO"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        data, into = arguments.worker
        train(wav2vec2_smoke().override({"train.num_steps": arguments.steps, **SAVING}), data=data, into=into)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), num_kills=arguments.kills, num_steps=arguments.steps, seed=arguments.seed)


SAVING = {"train.save_every_steps": 5, "train.log_every": 5, "data.batch_seconds": 6}


def compare(folder: Path, *, num_kills: int, num_steps: int, seed: int) -> int:
    """Train without and with kills, and return 0 if the results are equal."""
    write_tones(folder / "audio")
    prepare(folder / "audio", folder / "data")
    command = [sys.executable, __file__, "--steps", str(num_steps), "--worker", str(folder / "data")]
    begin = time.monotonic()
    subprocess.run([*command, str(folder / "whole")], check=True, capture_output=True)
    print(f"an uninterrupted run of {num_steps} updates takes {time.monotonic() - begin:.0f} s")
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    killed_in_save = 0
    for number in range(num_kills):
        (folder / "cut" / ("checkpoint.safetensors" + ".partial")).unlink(missing_ok=True)  # left by the previous kill
        process = subprocess.Popen([*command, str(folder / "cut")], stderr=subprocess.DEVNULL)
        in_save = wait(process, folder / "cut", saves=rng.randint(0, 3), in_save=number % 2 == 1, rng=rng)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise SystemExit("the run ended before it was killed: give it more --steps")
        killed_in_save += in_save
        print(f"kill {number + 1}: after update {last_step(folder / 'cut')}" + (", while saving" if in_save else ""))
    subprocess.run([*command, str(folder / "cut")], check=True, capture_output=True)
    whole, cut = (checkpoint.load(folder / run / "checkpoint.safetensors") for run in ("whole", "cut"))
    different = [name for name, tensor in whole.tensors.items() if not torch.equal(tensor, cut.tensors[name])]
    same_reports = reports(folder / "whole") == reports(folder / "cut")
    print(
        f"{num_kills} kills ({killed_in_save} while a checkpoint was being written): {len(different)} of "
        f"{len(whole.tensors)} tensors differ, reports {'equal' if same_reports else 'differ'}"
    )
    print(f"{0 if different or not same_reports else num_kills} of {num_kills} resumed bit-identically")
    return int(bool(different) or not same_reports)


def wait(process: subprocess.Popen[bytes], run: Path, *, saves: int, in_save: bool, rng: random.Random) -> bool:
    """Wait for some checkpoints, then for a random time, or until the next checkpoint is being written."""
    path, partial = run / "checkpoint.safetensors", run / ("checkpoint.safetensors" + ".partial")
    before = stamp(path)
    seen = 0
    while seen < saves and process.poll() is None:
        if stamp(path) != before:
            before, seen = stamp(path), seen + 1
        time.sleep(0.002)
    if not in_save:
        # Without checkpoints to wait for, the kill may come during the start of the process.
        time.sleep(rng.uniform(0, 1))
        return False
    while not partial.exists() and process.poll() is None:
        os.sched_yield()
    return True


def stamp(path: Path) -> int:
    """Return the modification time of a file, or 0 if it does not exist."""
    return path.stat().st_mtime_ns if path.exists() else 0


def last_step(run: Path) -> int:
    """Return the update number of the last report."""
    rows = read_metrics(run / "metrics.jsonl")
    return rows[-1]["step"] if rows else 0


def reports(run: Path) -> list[dict[str, object]]:
    """Return all reports without times."""
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_metrics(run / "metrics.jsonl")]


def write_tones(folder: Path) -> None:
    """Write forty files of frequency-modulated tones in noise, 2 to 5 s long."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        time_axis = np.arange(int(rng.uniform(2, 5) * 16_000)) / 16_000
        pitch = rng.uniform(200, 800) * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * time_axis))
        waveform = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 16_000) + 0.02 * rng.standard_normal(len(time_axis))
        soundfile.write(folder / f"{number}.wav", waveform, 16_000, subtype="PCM_16")


if __name__ == "__main__":
    sys.exit(main())
