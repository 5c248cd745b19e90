"""Kill runs with `kill -9` in every phase, start them again, and compare them with a run that was left alone.

    python benchmarks/kill_resume.py [--kills 50] [--seed 0] [--save benchmarks/results/kill_resume.json [--runs 3]]

A run of a small recogniser is killed once in each phase: the start, building the audio cache, training, saving a
checkpoint, evaluating, writing the model. Then it is left to finish. Its checkpoint and model are compared bit for bit
with those of an uninterrupted run, its reports without the times. This is repeated until there are enough kills, or
for `--runs` runs; the same command then goes on from the file of `--save`.
"""

import argparse
import json
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file

from sori.core.run_folder import RunFolder
from sori.data.preparation.prepare import prepare
from sori.recipes.smoke import ctc_smoke
from sori.runs.run import train
from sori.training import checkpoint
from sori.training.metrics import read_metrics

CLOCK = {"hours_per_hour", "seconds_left", "wait_share"}
STEPS, EVALUATE_EVERY = 120, 20
SETTINGS = {
    "train.num_steps": STEPS,
    "train.evaluate_every": EVALUATE_EVERY,
    "train.save_every_steps": 5,
    "train.log_every": 5,
    "data.batch_seconds": 6,
    "data.cache": "always",
}
CACHE = "pcm16"
PATIENCE_SECONDS = 120


def main() -> int:
    """Kill, compare, and return 0 if everything is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="JSON file of the counts")
    parser.add_argument("--runs", type=int, help="most runs in this call")
    parser.add_argument("--worker", nargs=2, metavar=("DATA", "INTO"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        data, into = arguments.worker
        train(ctc_smoke().override(SETTINGS), data=data, into=into)
        return 0
    about = {"command": f"python benchmarks/kill_resume.py --kills {arguments.kills} --seed {arguments.seed}"}
    about |= {"machine": platform.platform(), "python": platform.python_version(), "torch": torch.__version__}
    before = counted(arguments.save, about, arguments.kills)
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), before, num_kills=arguments.kills, seed=arguments.seed, most_runs=arguments.runs)
    if arguments.save:
        arguments.save.write_text(json.dumps({**about, **found}, indent=1) + "\n", encoding="utf-8")
    return int(found["equal"] < found["kills"])


def counted(path: Path | None, about: dict[str, str], num_kills: int) -> dict[str, Any]:
    """Return the counts of the same command on the same machine if it has not reached its number of kills."""
    found = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
    if about.items() <= found.items() and found["kills"] < num_kills:
        return {key: found[key] for key in ("kills", "equal", "phases")}
    return {"kills": 0, "equal": 0, "phases": {}}


def compare(
    folder: Path, before: dict[str, Any], *, num_kills: int, seed: int, most_runs: int | None
) -> dict[str, Any]:
    """Train without and with kills; return the kills in each phase, and how many of them went on to equal results."""
    write_tones(folder / "audio")
    data = folder / "data"
    prepare(folder / "audio", data)
    command = [sys.executable, __file__, "--worker", str(data)]
    whole = RunFolder(folder / "whole")
    subprocess.run([*command, str(whole.path)], check=True, capture_output=True)
    phases = Counter[str](before["phases"])
    equal = before["equal"]
    first, end = phases.total() // len(PHASES), (num_kills - 1) // len(PHASES) + 1
    for number in range(first, end if most_runs is None else min(end, first + most_runs)):
        rng = random.Random(f"{seed} {number}")  # noqa: S311
        run = RunFolder(folder / f"run-{number}")
        names = rng.sample(sorted(PHASES.keys() - {"model"}), len(PHASES) - 1)
        names = ["cache", *(name for name in names if name != "cache"), "model"][: num_kills - phases.total()]
        shutil.rmtree(data / CACHE)
        for name in names:
            kill([*command, str(run.path)], run, data, name, rng)
            phases[name] += 1
        subprocess.run([*command, str(run.path)], check=True, capture_output=True)
        differences = different(whole, run)
        equal += 0 if differences else len(names)
        print(f"run {number}: killed in {', '.join(names)}; {', '.join(differences) or 'equal'}", flush=True)
    print(f"{equal} of {phases.total()} kills went on to equal bits ({dict(phases)})")
    return {"kills": phases.total(), "equal": equal, "phases": dict(phases)}


def kill(command: list[str], run: RunFolder, data: Path, phase: str, rng: random.Random) -> None:
    """Start a run and kill it in a phase; start it again if it has left the phase before the signal arrived."""
    for _ in range(20):
        for left in (*run.path.glob(".*.partial*.*"), *(data / CACHE).glob(".*.partial*")):
            if left.is_file():
                left.unlink()  # of the previous kill; removed before the start, to see the next one
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        reached = PHASES[phase]
        ends = time.monotonic() + PATIENCE_SECONDS
        begun, before = time.monotonic(), last(run, "loss")
        moment = rng.random()
        while process.poll() is None and not reached(run, data, (time.monotonic() - begun) / 4 - moment, before):
            if time.monotonic() > ends:
                process.kill()
                raise SystemExit(f"waited {PATIENCE_SECONDS} s for phase {phase} in vain")
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL and (phase != "evaluation" or evaluation_is_due(run)):
            return
        if run.model.exists():
            raise SystemExit(f"the run ended before it was killed in phase {phase}: give it more steps")
    raise SystemExit(f"could not kill a run in phase {phase}")


def starts(_run: RunFolder, _data: Path, late: float, _before: int) -> bool:
    """Whether a random time of up to four seconds has passed, most of which are imports."""
    return late > 0


def builds_cache(_run: RunFolder, data: Path, _late: float, _before: int) -> bool:
    """Whether the audio cache is being written."""
    return any((data / CACHE).glob(".*.partial*"))


def trains(run: RunFolder, _data: Path, _late: float, before: int) -> bool:
    """Whether an update after those of earlier processes has been reported."""
    return last(run, "loss") > before


def saves(run: RunFolder, _data: Path, _late: float, _before: int) -> bool:
    """Whether a checkpoint is being written."""
    return any(run.path.glob(f".*.partial{run.checkpoint.suffix}"))


def evaluates(run: RunFolder, _data: Path, _late: float, before: int) -> bool:
    """Whether a checkpoint was written whose evaluation has not been reported."""
    return last(run, "loss") > before and evaluation_is_due(run)


def evaluation_is_due(run: RunFolder) -> bool:
    """Whether the last reported update is to be evaluated, is saved, and has no evaluation."""
    step = last(run, "loss")
    if not step or step % EVALUATE_EVERY or last(run, "dev_wer") >= step or not run.checkpoint.exists():
        return False
    return int(checkpoint.load(run.checkpoint).state["step"]) == step


def writes_model(run: RunFolder, _data: Path, _late: float, _before: int) -> bool:
    """Whether the model folder is being built."""
    return any(run.path.glob(f".{run.model.name}.*"))


PHASES: dict[str, Callable[[RunFolder, Path, float, int], bool]] = {
    "start": starts,
    "cache": builds_cache,
    "training": trains,
    "saving": saves,
    "evaluation": evaluates,
    "model": writes_model,
}
"""Phases of a run, and whether it is in it: given the run, its data, seconds since a random moment, and the last update
that earlier processes reported."""


def last(run: RunFolder, key: str) -> int:
    """Return the update number of the last report of a figure; 0: none."""
    if not run.metrics.exists():
        return 0
    return max((int(row["step"]) for row in read_metrics(run.metrics) if key in row), default=0)


def different(whole: RunFolder, run: RunFolder) -> list[str]:
    """Return what differs between two runs."""
    one, other = (checkpoint.load(folder.checkpoint).tensors for folder in (whole, run))
    names = [f"checkpoint {name}" for name in one if not torch.equal(one[name], other[name])]
    one, other = (load_file(folder.model / "weights.safetensors") for folder in (whole, run))
    names += [f"model {name}" for name in one if not torch.equal(one[name], other[name])]
    reports = [
        [{k: v for k, v in row.items() if k not in CLOCK} for row in read_metrics(folder.metrics)]
        for folder in (whole, run)
    ]
    return names + ([] if reports[0] == reports[1] else ["reports"])


def write_tones(folder: Path) -> None:
    """Write sixty transcribed files of frequency-modulated tones in noise, 2 to 5 s long, a third of them for `dev`."""
    rng = np.random.default_rng(0)
    for number in range(60):
        time_axis = np.arange(int(rng.uniform(2, 5) * 16_000)) / 16_000
        pitch = rng.uniform(200, 800) * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * time_axis))
        waveform = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 16_000) + 0.02 * rng.standard_normal(len(time_axis))
        path = folder / ("dev" if number % 3 == 0 else "train") / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform, 16_000, subtype="PCM_16")
        path.with_suffix(".txt").write_text("".join(rng.choice(list("abc "), 8)) + "d\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
