"""Measure the benefit of pre-training on other languages (as XLSR does), with small models on real recordings.

    python benchmarks/cross_lingual.py --data DATA --into runs/cross_lingual

Pre-trains `tiny` for the same number of updates on

- `english`: the English sets, about six hours;
- `others`: all languages except the target, that is English and three more (so one model for each target);
- `all`: English, Mboshi, Korean, German and Arabic, which includes untranscribed speech of the target.

Dev and test speakers are not used in pre-training. Each model is fine-tuned on ten minutes of Korean and of Mboshi,
like the same network from random weights, and scored on test and dev. Nothing is selected on dev. Korean is scored in
jamo (letters, with the space between words), without sentences that also occur in training; Mboshi in letters with
their accents.

Intervals are over utterances: Mboshi has one test speaker and Korean five, so they do not generalise to other speakers.
The same command continues an interrupted benchmark; every run has its own folder, and the table is rewritten after each
scored recogniser. Writes `benchmarks/results/cross_lingual.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import sori
from sori.evaluation.error_rate import ErrorReport, compare, error_rates
from sori.text.vocabulary import graphemes

ENGLISH = (
    "speechocean762",
    "librispeech-train-clean-100-openings",
    "picovoice-barista",
    "free-spoken-digits",
)
SETS: dict[str, tuple[str, ...]] = {
    "eng": ENGLISH,
    "mdw": ("mboshi",),
    "kor": ("emotiontts-korean",),
    "deu": ("kerstin-german",),
    "ara": ("arabic-speech-commands",),
}
TARGETS: dict[str, Callable[[str], list[str]]] = {
    "kor": lambda text: list(unicodedata.normalize("NFD", text)),
    "mdw": graphemes,
}
"""Target languages, with the function that splits text into the units of the error rate."""
STARTS = ("english", "scratch", "all", "others")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every unfinished stage, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/cross_lingual"))
    parser.add_argument("--updates", type=int, default=4000, help="updates of pre-training")
    parser.add_argument("--label-updates", type=int, default=3000, help="updates of fine-tuning")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of fine-tuning")
    parser.add_argument("--jobs", type=int, default=2, help="parallel runs, with one thread each")
    args = parser.parse_args()

    into: Path = args.into
    data = {language: prepare(language, args.data, into) for language in SETS}
    pretrainings: dict[str, Future[None]] = {}
    lock = threading.Lock()

    def fine_tune(target: str, start: str, seed: int) -> None:
        folder = into / f"ctc_{target}_{start}_{seed}"
        more = ["--train.num-steps", str(args.label_updates), "--train.seed", str(seed)]
        if start == "scratch":
            sori_train("ctc_10min_scratch", [data[target]], folder, *more)
        else:
            name = pretraining(start, target)
            pretrainings[name].result()
            sori_train("ctc_10min", [data[target]], folder, "--init", str(into / name), *more)
        for split in ("dev", "test"):
            evaluate(folder, data[target], split)
        with lock:
            write(into, args.updates, args.label_updates)

    # Each pre-training is queued before the runs that depend on it, so that a single worker cannot deadlock.
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = []
        for seed in args.seeds:
            for target in TARGETS:
                for start in STARTS:
                    name = pretraining(start, target)
                    if start != "scratch" and name not in pretrainings:
                        folders = [data[language] for language in languages(name)]
                        pretrainings[name] = pool.submit(pretrain, folders, into / name, args.updates)
                    runs.append(pool.submit(fine_tune, target, start, seed))
        for done in runs:
            done.result()
    write(into, args.updates, args.label_updates, show=True)


def pretraining(start: str, target: str) -> str:
    """Return the name of the pre-training run that a recogniser of a target starts from."""
    return f"pretrained_all_but_{target}" if start == "others" else f"pretrained_{start}"


def languages(name: str) -> list[str]:
    """Return the languages of a pre-training run."""
    if name == "pretrained_english":
        return ["eng"]
    return [language for language in SETS if language != name.removeprefix("pretrained_all_but_")]


def prepare(language: str, data: Path, into: Path) -> Path:
    """Prepare a language once, without dev and test sentences that occur in training transcripts."""
    folder, lists = into / "data" / language, into / "data" / "lists"
    if (folder / "report.md").exists():
        return folder
    lists.mkdir(parents=True, exist_ok=True)
    sources = []
    for name in SETS[language]:
        rows = [json.loads(line) for line in (data / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
        if language in TARGETS:
            rows = [row for row in rows if row["split"] == "train" or not row.get("text_seen_in_train")]
        for row in rows:
            row["audio"] = str((data / name / row["audio"]).resolve())
        sources.append(lists / f"{name}.jsonl")
        sources[-1].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "sori", "prepare", *map(str, sources), str(folder)], check=True)
    return folder


def pretrain(data: list[Path], into: Path, updates: int) -> None:
    """Train `wav2vec2_xlsr_tiny`; the quantiser's temperature falls as far as in the recipe's 4,000 updates."""
    decay = 0.99951 ** (4_000 / updates)
    sori_train("wav2vec2_xlsr_tiny", data, into, "--train.num-steps", str(updates), "--system.gumbel-decay", str(decay))


def sori_train(recipe: str, data: list[Path], into: Path, *more: str) -> None:
    """Train with one thread, unless the model already exists."""
    if (into / "model" / "config.json").exists():
        return
    folders = [word for folder in data for word in ("--data", str(folder))]
    command = [sys.executable, "-m", "sori", "train", recipe, *folders, "--into", str(into), *more]
    with (into.parent / f"{into.name}.log").open("a", encoding="utf-8") as log:
        print(" ".join(command[2:]) + "\n", end="", flush=True)  # in one call, because several threads print
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=log)


def evaluate(run: Path, data: Path, split: str) -> None:
    """Evaluate a recogniser and store the scores in its run folder."""
    path = run / f"{split}.json"
    if path.exists():
        return
    command = [sys.executable, "-m", "sori", "evaluate", str(run), "--data", str(data), "--split", split]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--save", str(path)], check=True, env=env, stdout=subprocess.DEVNULL)


def read_report(path: Path, target: str) -> ErrorReport:
    """Read a stored report with symbols as words, so that its word error rate is the symbol error rate."""
    rows = json.loads(path.read_text(encoding="utf-8"))["utterances"]
    texts = ([row["reference"] for row in rows], [row["hypothesis"] for row in rows])
    references, hypotheses = ([" ".join(symbols(text, target)) for text in some] for some in texts)
    return error_rates(references, hypotheses, [None] * len(rows))


def symbols(text: str, target: str) -> list[str]:
    """Split text into symbols, with a bar for each space."""
    return ["|" if symbol == " " else symbol for symbol in TARGETS[target](text)]


def write(into: Path, updates: int, label_updates: int, *, show: bool = False) -> None:
    """Write error rates, means over finished seeds and paired intervals to JSON and to the screen."""
    rows = [row for target in TARGETS for split in ("test", "dev") for row in compared(into, target, split)]
    if show:
        for row in rows:
            text = f"{row['target']} {row['split']:5} {row['start']:8} CER {row['mean']:.1%} of seeds {row['seeds']}"
            for other in ("scratch", "english"):
                if row[f"against_{other}"]:
                    value, low, high = row[f"against_{other}"]["relative"]
                    text += f"; relative to {other} {value:+.1%} ({low:+.1%} to {high:+.1%})"
            print(text)
    reports = {}
    for path in sorted(into.glob("pretrained_*/metrics.jsonl")):
        reports[path.parent.name] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    about = {
        "command": "python benchmarks/cross_lingual.py",
        "updates": {"pretraining": updates, "fine_tuning": label_updates},
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "pretraining_last_report": reports,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cross_lingual.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def compared(into: Path, target: str, split: str) -> list[dict[str, Any]]:
    """Compare every start with scratch and with English, over the seeds that both have finished."""
    reports = {
        start: {
            int(path.parent.name.rsplit("_", 1)[1]): read_report(path, target)
            for path in sorted(into.glob(f"ctc_{target}_{start}_*/{split}.json"))
        }
        for start in STARTS
    }

    def relative_to(start: str, other: str) -> dict[str, Any] | None:
        seeds = sorted(reports[start].keys() & reports[other].keys())
        if start == other or not seeds:
            return None
        pairs = [[reports[name][seed] for seed in seeds] for name in (start, other)]
        return asdict(compare(*pairs)["wer"]) | {"seeds": seeds}

    return [
        {
            "target": target,
            "split": split,
            "start": start,
            "seeds": list(of_seeds),
            "mean": round(sum(report.wer.rate for report in of_seeds.values()) / len(of_seeds), 4),
            "cer": [round(report.wer.rate, 4) for report in of_seeds.values()],
            "intervals": [[round(report.wer.low, 4), round(report.wer.high, 4)] for report in of_seeds.values()],
            "against_scratch": relative_to(start, "scratch"),
            "against_english": relative_to(start, "english"),
        }
        for start, of_seeds in reports.items()
        if of_seeds
    ]


if __name__ == "__main__":
    main()
