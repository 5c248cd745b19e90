"""Measure the benefit of pre-training with few labels: wav2vec 2.0 against the same model from scratch, on English.

    python benchmarks/low_resource.py --data DATA --into runs/low_resource

Pre-trains `tiny` on the English sets under DATA without their transcripts (dev and test speakers held out), then
fine-tunes on 10 minutes, 1 hour and all transcripts of speechocean762's train speakers, with and without pre-training,
three seeds each, and scores test speakers, greedily. The same command continues an interrupted benchmark; every run has
its own folder.

The models are small, so two parallel runs with one thread each use two cores best. Writes
`benchmarks/results/low_resource.json`; `low_resource_attention.json` is of the former `tiny` (`sizes.tiny_attention`),
`low_resource_masks.json` was measured while the recipes of fine-tuning still hid spans of frames and of mel bands.
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
from librispeech import pretraining_settings

import sori
from sori.evaluation.error_rate import ErrorReport, compare, error_rates

PRETRAINING = (
    "speechocean762",
    "librispeech-train-clean-100-openings",
    "picovoice-barista",
    "free-spoken-digits",
)
ALL = ["--labels.minutes", "600", "--train.num-steps", "4000"]  # speechocean762 has 3.7 h to train on
GREEDY = ["--labels.lm", "none"]
LABELS: dict[str, tuple[str, list[str]]] = {"10min": ("ctc_10min", []), "1h": ("ctc_1h", []), "all": ("ctc_1h", ALL)}
STARTS = ("pretrained", "scratch")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every unfinished stage, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/low_resource"))
    parser.add_argument("--labels", nargs="+", default=list(LABELS), choices=LABELS)
    parser.add_argument("--updates", type=int, default=4000, help="of pre-training, 24 s each")
    parser.add_argument("--tuning", type=int, help="updates of fine-tuning; without it, those of the recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="parallel runs, with one thread each")
    args = parser.parse_args()

    into: Path = args.into
    english = prepare([args.data / name / "manifest.jsonl" for name in PRETRAINING], into / "english")
    labelled = prepare([args.data / "speechocean762" / "manifest.jsonl"], into / "speechocean762")
    pretrained = into / "pretrained"

    def start(origin: str) -> list[Future[None]]:
        jobs = [(labels, origin, seed) for labels in args.labels for seed in args.seeds]
        more = [] if args.tuning is None else ["--train.num-steps", str(args.tuning)]
        return [pool.submit(fine_tune, *job, more, data=labelled, pretrained=pretrained, into=into) for job in jobs]

    with ThreadPoolExecutor(args.jobs) as pool:
        pretraining = pool.submit(sori_train, "wav2vec2_tiny", english, pretrained, *pretraining_settings(args.updates))
        runs = start("scratch")  # these do not depend on the pre-training
        pretraining.result()
        for done in runs + start("pretrained"):
            done.result()
    write(into, pretrained, args)


def prepare(sources: list[Path], into: Path) -> Path:
    """Prepare a folder, unless it already exists."""
    if not (into / "report.md").exists():
        subprocess.run([sys.executable, "-m", "sori", "prepare", *map(str, sources), str(into)], check=True)
    return into


def sori_train(recipe: str, data: Path, into: Path, *more: str) -> None:
    """Train with one thread; a finished run stays as it is, and one with other settings is an error."""
    command = [sys.executable, "-m", "sori", "train", recipe, "--data", str(data), "--into", str(into), *more]
    into.parent.mkdir(parents=True, exist_ok=True)
    with (into.parent / f"{into.name}.log").open("a", encoding="utf-8") as log:
        print(" ".join(command[2:]) + "\n", end="", flush=True)  # in one call, because several threads print
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=log)


def fine_tune(labels: str, start: str, seed: int, more: list[str], *, data: Path, pretrained: Path, into: Path) -> None:
    """Train one recogniser and store its scores on dev and test in its run folder."""
    folder = into / f"ctc_{labels}_{start}_{seed}"
    recipe, changes = LABELS[labels]
    more = [*GREEDY, *changes, *more, "--train.seed", str(seed)]
    if start == "pretrained":
        sori_train(recipe, data, folder, "--init", str(pretrained), *more)
    else:
        sori_train(f"{recipe}_scratch", data, folder, *more)
    for split in ("dev", "test"):
        path = folder / f"{split}.json"
        if not path.exists():
            command = [sys.executable, "-m", "sori", "evaluate", str(folder), "--data", str(data), "--split", split]
            env = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run([*command, "--save", str(path)], check=True, env=env, stdout=subprocess.DEVNULL)


def read_report(path: Path) -> ErrorReport:
    """Read a stored report, for the paired comparison."""
    rows = json.loads(path.read_text(encoding="utf-8"))["utterances"]
    return error_rates(
        [row["reference"] for row in rows], [row["hypothesis"] for row in rows], [row["speaker"] for row in rows]
    )


def finished_seeds(into: Path, labels: str) -> list[int]:
    """Return the seeds for which both arms are scored."""
    scored = [
        {int(path.parent.name.rsplit("_", 1)[1]) for path in into.glob(f"ctc_{labels}_{start}_*/test.json")}
        for start in STARTS
    ]
    return sorted(set.intersection(*scored))


def write(into: Path, pretrained: Path, args: argparse.Namespace) -> None:
    """Write means over all finished seeds and paired intervals to the screen and to JSON."""
    rows: list[dict[str, Any]] = []
    for amount in LABELS:
        seeds = finished_seeds(into, amount)
        for split in ("dev", "test") if seeds else ():
            arms = {
                start: [read_report(into / f"ctc_{amount}_{start}_{seed}" / f"{split}.json") for seed in seeds]
                for start in STARTS
            }
            difference = compare(arms["pretrained"], arms["scratch"])
            row: dict[str, Any] = {"labels": amount, "split": split, "seeds": seeds, "tuning": args.tuning or "recipe"}
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
    last_report = json.loads((pretrained / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    tuning = "" if args.tuning is None else f" --tuning {args.tuning}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "low_resource.json").write_text(
        json.dumps(
            {
                "command": f"python benchmarks/low_resource.py --updates {args.updates}{tuning}",
                "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
                "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
                "pretraining_last_report": last_report,
                "rows": rows,
            },
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
