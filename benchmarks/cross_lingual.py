"""Does it pay to pre-train on other languages? XLSR's question at the size of a laptop, on real recordings.

    python benchmarks/cross_lingual.py --data DATA --into runs/cross_lingual

Pre-trains `tiny` for the same number of updates on

- `english`: the English sets, about six hours;
- `others`: English and three more languages, all but the one that is to be recognised (so one model for each target);
- `all`: English, Mboshi, Korean, German and Arabic, thus the target's own speech, too, without transcripts.

No model hears a dev or test speaker. Each is fine-tuned on ten minutes of Korean and of Mboshi, beside the same network
from random weights, and scored on test and dev. Nothing is chosen on dev. Korean is scored in jamo (its letters, with
the space between words), without the sentences that also occur in training; Mboshi in letters with their accents.

Intervals are over utterances: Mboshi has one test speaker and Korean five, so they tell nothing of other speakers.
Repeating the command continues where it was; every run is a folder of its own, and the table is written anew whenever
a recogniser is scored. Writes `benchmarks/results/cross_lingual.json`.
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
"""Languages to recognise, and what their error rate counts."""
STARTS = ("english", "scratch", "all", "others")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every stage that is not done yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/cross_lingual"))
    parser.add_argument("--updates", type=int, default=4000, help="of pre-training")
    parser.add_argument("--label-updates", type=int, default=3000, help="of fine-tuning")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of fine-tuning")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, each with one thread")
    asked = parser.parse_args()

    into: Path = asked.into
    data = {language: prepare(language, asked.data, into) for language in SETS}
    pretrainings: dict[str, Future[None]] = {}
    lock = threading.Lock()

    def fine_tune(target: str, start: str, seed: int) -> None:
        folder = into / f"ctc_{target}_{start}_{seed}"
        more = ["--train.num-steps", str(asked.label_updates), "--train.seed", str(seed)]
        if start == "scratch":
            sori_train("ctc_10min_scratch", [data[target]], folder, *more)
        else:
            name = pretraining(start, target)
            pretrainings[name].result()
            sori_train("ctc_10min", [data[target]], folder, "--init", str(into / name), *more)
        for split in ("dev", "test"):
            evaluate(folder, data[target], split)
        with lock:
            write(into, asked.updates, asked.label_updates)

    # A pre-training always stands in the queue before the runs that wait for it, so that one worker is enough.
    with ThreadPoolExecutor(asked.jobs) as pool:
        runs = []
        for seed in asked.seeds:
            for target in TARGETS:
                for start in STARTS:
                    name = pretraining(start, target)
                    if start != "scratch" and name not in pretrainings:
                        heard = [data[language] for language in languages(name)]
                        pretrainings[name] = pool.submit(pretrain, heard, into / name, asked.updates)
                    runs.append(pool.submit(fine_tune, target, start, seed))
        for done in runs:
            done.result()
    write(into, asked.updates, asked.label_updates, show=True)


def pretraining(start: str, target: str) -> str:
    """Name of the pre-training that a recogniser of a target starts from."""
    return f"pretrained_all_but_{target}" if start == "others" else f"pretrained_{start}"


def languages(name: str) -> list[str]:
    """Of a pre-training."""
    if name == "pretrained_english":
        return ["eng"]
    return [language for language in SETS if language != name.removeprefix("pretrained_all_but_")]


def prepare(language: str, data: Path, into: Path) -> Path:
    """A prepared folder, made once, without dev and test sentences that training transcripts hold."""
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
    """`wav2vec2_xlsr_tiny`, its Gumbel temperature falling as far as it does in the recipe's own 12,000 updates."""
    decay = 0.999835 ** (12_000 / updates)
    sori_train("wav2vec2_xlsr_tiny", data, into, "--train.num-steps", str(updates), "--system.gumbel-decay", str(decay))


def sori_train(recipe: str, data: list[Path], into: Path, *more: str) -> None:
    """One training run with one thread; skipped when its model is there."""
    if (into / "model" / "config.json").exists():
        return
    folders = [word for folder in data for word in ("--data", str(folder))]
    command = [sys.executable, "-m", "sori", "train", recipe, *folders, "--into", str(into), *more]
    with (into.parent / f"{into.name}.log").open("a", encoding="utf-8") as log:
        print(" ".join(command[2:]) + "\n", end="", flush=True)  # in one piece: two threads print
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=log)


def evaluate(run: Path, data: Path, split: str) -> None:
    """Keep the scores of a recogniser beside it."""
    path = run / f"{split}.json"
    if path.exists():
        return
    command = [sys.executable, "-m", "sori", "evaluate", str(run), "--data", str(data), "--split", split]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--save", str(path)], check=True, env=env, stdout=subprocess.DEVNULL)


def read_report(path: Path, target: str) -> ErrorReport:
    """A stored report, its symbols as words: the word error rate of this is the error rate of symbols."""
    rows = json.loads(path.read_text(encoding="utf-8"))["utterances"]
    texts = ([row["reference"] for row in rows], [row["hypothesis"] for row in rows])
    references, hypotheses = ([" ".join(symbols(text, target)) for text in some] for some in texts)
    return error_rates(references, hypotheses, [None] * len(rows))


def symbols(text: str, target: str) -> list[str]:
    """Letters, and a bar for each space."""
    return ["|" if symbol == " " else symbol for symbol in TARGETS[target](text)]


def write(into: Path, updates: int, label_updates: int, *, show: bool = False) -> None:
    """Rates, means over finished seeds and paired intervals, to JSON and to the screen."""
    rows = [row for target in TARGETS for split in ("test", "dev") for row in compared(into, target, split)]
    if show:
        for row in rows:
            text = f"{row['target']} {row['split']:5} {row['start']:8} CER {row['mean']:.1%} of seeds {row['seeds']}"
            for other in ("scratch", "english"):
                if row[f"against_{other}"]:
                    value, low, high = row[f"against_{other}"]["relative"]
                    text += f"; beside {other} {value:+.1%} ({low:+.1%} to {high:+.1%})"
            print(text)
    heard = {}
    for path in sorted(into.glob("pretrained_*/metrics.jsonl")):
        heard[path.parent.name] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    about = {
        "command": "python benchmarks/cross_lingual.py",
        "updates": {"pretraining": updates, "fine_tuning": label_updates},
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "pretraining_last_report": heard,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cross_lingual.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def compared(into: Path, target: str, split: str) -> list[dict[str, Any]]:
    """Every start beside scratch and beside English, over the seeds that both have finished."""
    reports = {
        start: {
            int(path.parent.name.rsplit("_", 1)[1]): read_report(path, target)
            for path in sorted(into.glob(f"ctc_{target}_{start}_*/{split}.json"))
        }
        for start in STARTS
    }

    def beside(start: str, other: str) -> dict[str, Any] | None:
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
            "against_scratch": beside(start, "scratch"),
            "against_english": beside(start, "english"),
        }
        for start, of_seeds in reports.items()
        if of_seeds
    ]


if __name__ == "__main__":
    main()
