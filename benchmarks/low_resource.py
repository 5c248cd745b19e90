"""Does pre-training pay when labels are scarce? wav2vec 2.0 against the same model from scratch, on real English.

    python benchmarks/low_resource.py --data DATA --into runs/low_resource

Pre-trains `tiny` on the English sets under DATA without their transcripts (dev and test speakers held out), then
fine-tunes on 10 minutes, 1 hour and all transcripts of speechocean762's train speakers, with and without pre-training,
three seeds each, and scores test speakers. The learning rates and numbers of updates of both arms were chosen on dev.
Repeating the command continues where it was; every run is a folder of its own.

Fine-tunings are small, so two run side by side with one thread each. Writes `benchmarks/results/low_resource.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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
LABELS = ("10min", "1h", "10h")  # speechocean762 has 3.7 h of train speech: ctc_10h takes all of it
STARTS = ("pretrained", "scratch")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every stage that is not done yet, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/low_resource"))
    parser.add_argument("--labels", nargs="+", default=list(LABELS), choices=LABELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--jobs", type=int, default=2, choices=(1, 2), help="processes of pre-training, and fine-tunings side by side"
    )
    asked = parser.parse_args()

    into: Path = asked.into
    english = prepare([asked.data / name / "manifest.jsonl" for name in PRETRAINING], into / "english")
    labelled = prepare([asked.data / "speechocean762" / "manifest.jsonl"], into / "speechocean762")
    pretrained = into / "pretrained"
    share = ["--train.num-accumulate", str(2 // asked.jobs)]  # two micro-batches an update, however many processes
    sori_train("wav2vec2_tiny", english, pretrained, *share, processes=asked.jobs)

    jobs = [(labels, start, seed) for labels in asked.labels for seed in asked.seeds for start in STARTS]
    with ThreadPoolExecutor(asked.jobs) as pool:
        for done in [pool.submit(fine_tune, *job, data=labelled, pretrained=pretrained, into=into) for job in jobs]:
            done.result()
    write(into, asked.labels, asked.seeds, pretrained)


def prepare(sources: list[Path], into: Path) -> Path:
    """A prepared folder, made once."""
    if not (into / "report.md").exists():
        subprocess.run([sys.executable, "-m", "sori", "prepare", *map(str, sources), str(into)], check=True)
    return into


def sori_train(recipe: str, data: Path, into: Path, *more: str, processes: int = 1) -> None:
    """One training run, each process with one thread; skipped when its model is there.

    So small a model does not gain from a second thread within a matrix product, but nearly doubles its speed with a
    second process that takes half of each update.
    """
    if (into / "model" / "config.json").exists():
        return
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    arguments = ["train", recipe, "--data", str(data), "--into", str(into), *more]
    command = [sys.executable, *launcher, "-m", "sori", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    into.parent.mkdir(parents=True, exist_ok=True)
    with (into.parent / f"{into.name}.log").open("a", encoding="utf-8") as log:
        print(*command[2:], flush=True)
        subprocess.run(command, check=True, env=env, stderr=log)


def fine_tune(labels: str, start: str, seed: int, *, data: Path, pretrained: Path, into: Path) -> None:
    """Train one recogniser and keep its scores on dev and test beside it."""
    folder = into / f"ctc_{labels}_{start}_{seed}"
    recipe, more = f"ctc_{labels}_scratch", []
    if start == "pretrained":
        recipe, more = f"ctc_{labels}", ["--init", str(pretrained)]
    sori_train(recipe, data, folder, *more, "--train.seed", str(seed))
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


def write(into: Path, labels: list[str], seeds: list[int], pretrained: Path) -> None:
    """Means over seeds and paired intervals, to the screen and to JSON."""
    rows: list[dict[str, Any]] = []
    for amount in labels:
        for split in ("dev", "test"):
            arms = {
                start: [read_report(into / f"ctc_{amount}_{start}_{seed}" / f"{split}.json") for seed in seeds]
                for start in STARTS
            }
            difference = compare(arms["pretrained"], arms["scratch"])
            row: dict[str, Any] = {"labels": amount, "split": split}
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
