"""Does pre-training pay when labels are scarce? wav2vec 2.0 against the same model from scratch, on real English.

    python benchmarks/low_resource.py --data DATA --into runs/low_resource

Pre-trains `tiny` on the English sets under DATA without their transcripts (dev and test speakers held out), then
fine-tunes on 10 minutes, 1 hour and all transcripts of speechocean762's train speakers, with and without pre-training,
three seeds each, and scores test speakers. Each arm has the masks and the layers to read that did best on dev.
Repeating the command continues where it was; every run is a folder of its own.

The models are small, so two runs side by side with one thread each make the best of two cores. Writes
`benchmarks/results/low_resource.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import sori
from sori.evaluation.error_rate import ErrorReport, compare, error_rates

PRETRAINING = (
    "speechocean762",
    "librispeech-train-clean-100-openings",
    "picovoice-barista",
    "free-spoken-digits",
)
ALL = ["--labels.minutes", "600", "--train.num-steps", "4000"]  # speechocean762 has 3.7 h to train on
LABELS: dict[str, tuple[str, list[str]]] = {"10min": ("ctc_10min", []), "1h": ("ctc_1h", []), "all": ("ctc_1h", ALL)}
STARTS = ("pretrained", "scratch")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every stage that is not done yet, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/low_resource"))
    parser.add_argument("--labels", nargs="+", default=list(LABELS), choices=LABELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, each with one thread")
    asked = parser.parse_args()

    into: Path = asked.into
    english = prepare([asked.data / name / "manifest.jsonl" for name in PRETRAINING], into / "english")
    labelled = prepare([asked.data / "speechocean762" / "manifest.jsonl"], into / "speechocean762")
    pretrained = into / "pretrained"

    def start(origin: str) -> list[Future[None]]:
        jobs = [(labels, origin, seed) for labels in asked.labels for seed in asked.seeds]
        return [pool.submit(fine_tune, *job, data=labelled, pretrained=pretrained, into=into) for job in jobs]

    with ThreadPoolExecutor(asked.jobs) as pool:
        pretraining = pool.submit(sori_train, "wav2vec2_tiny", english, pretrained)
        runs = start("scratch")  # these need not wait for it
        pretraining.result()
        for done in runs + start("pretrained"):
            done.result()
    write(into, pretrained)


def prepare(sources: list[Path], into: Path) -> Path:
    """A prepared folder, made once."""
    if not (into / "report.md").exists():
        subprocess.run([sys.executable, "-m", "sori", "prepare", *map(str, sources), str(into)], check=True)
    return into


def sori_train(recipe: str, data: Path, into: Path, *more: str) -> None:
    """One training run with one thread; skipped when its model is there."""
    if (into / "model" / "config.json").exists():
        return
    command = [sys.executable, "-m", "sori", "train", recipe, "--data", str(data), "--into", str(into), *more]
    into.parent.mkdir(parents=True, exist_ok=True)
    with (into.parent / f"{into.name}.log").open("a", encoding="utf-8") as log:
        print(" ".join(command[2:]) + "\n", end="", flush=True)  # in one piece: two threads print
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=log)


def fine_tune(labels: str, start: str, seed: int, *, data: Path, pretrained: Path, into: Path) -> None:
    """Train one recogniser and keep its scores on dev and test beside it."""
    folder = into / f"ctc_{labels}_{start}_{seed}"
    recipe, more = LABELS[labels]
    if start == "pretrained":
        sori_train(recipe, data, folder, "--init", str(pretrained), *more, "--train.seed", str(seed))
    else:
        sori_train(f"{recipe}_scratch", data, folder, *more, "--train.seed", str(seed))
    for split in ("dev", "test"):
        path = folder / f"{split}.json"
        if not path.exists():
            command = [sys.executable, "-m", "sori", "evaluate", str(folder), "--data", str(data), "--split", split]
            env = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run([*command, "--save", str(path)], check=True, env=env, stdout=subprocess.DEVNULL)


def read_report(path: Path) -> ErrorReport:
    """A stored report as an object again, for the paired comparison."""
    rows = json.loads(path.read_text(encoding="utf-8"))["utterances"]
    return error_rates(
        [row["reference"] for row in rows], [row["hypothesis"] for row in rows], [row["speaker"] for row in rows]
    )


def finished_seeds(into: Path, labels: str) -> list[int]:
    """Seeds of which both arms are scored, in this call or an earlier one."""
    scored = [
        {int(path.parent.name.rsplit("_", 1)[1]) for path in into.glob(f"ctc_{labels}_{start}_*/test.json")}
        for start in STARTS
    ]
    return sorted(set.intersection(*scored))


def write(into: Path, pretrained: Path) -> None:
    """Means over all finished seeds and paired intervals, to the screen and to JSON."""
    rows: list[dict[str, Any]] = []
    for amount in LABELS:
        seeds = finished_seeds(into, amount)
        for split in ("dev", "test") if seeds else ():
            arms = {
                start: [read_report(into / f"ctc_{amount}_{start}_{seed}" / f"{split}.json") for seed in seeds]
                for start in STARTS
            }
            difference = compare(arms["pretrained"], arms["scratch"])
            row: dict[str, Any] = {"labels": amount, "split": split, "seeds": seeds}
            for unit in ("cer", "wer"):
                for start, reports in arms.items():
                    rates = [getattr(report, unit) for report in reports]
                    row[f"{start}_{unit}"] = [round(r.rate, 4) for r in rates]
                    row[f"{start}_{unit}_intervals"] = [[round(r.low, 4), round(r.high, 4)] for r in rates]
                row[f"{unit}_difference"] = asdict(difference[unit])
            rows.append(row)
            d = difference["cer"]
            print(
                f"{amount:6} {split:5} CER pre-trained {d.first:.1%}, scratch {d.second:.1%}; relative "
                f"{d.relative[0]:+.1%} ({d.relative[1]:+.1%} to {d.relative[2]:+.1%})"
            )
    heard = json.loads((pretrained / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "low_resource.json").write_text(
        json.dumps(
            {
                "command": "python benchmarks/low_resource.py",
                "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
                "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
                "pretraining_last_report": heard,
                "rows": rows,
            },
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
