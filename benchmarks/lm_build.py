"""Measure the time, memory and perplexity of n-gram language models built from 16.5 million English words.

    python benchmarks/lm_build.py

The texts are those of ../shared/data/text-english ($SORI_DATA/text-english) without markup lines; every fiftieth line
is held out. Each order is built in a separate process, whose peak resident size (VmHWM) is reported. Seconds are those
of the stages: reading and normalising, counting, estimating, writing. Perplexity is computed from the ARPA file on the
held-out lines, with </s> and without out-of-vocabulary words. The highest order is also written with gzip.

Writes `benchmarks/results/lm_build.json`.
"""

import argparse
import json
import lzma
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sori.lm import kneser_ney
from sori.lm.kneser_ney import build
from sori.text.vocabulary import BLANK, Vocabulary

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("SORI_DATA", Path(__file__).parents[2] / "shared" / "data")) / "text-english"
HELD_OUT_EVERY = 50
STAGES = {"read": "read", "count": "count", "_estimate": "estimate", "_write": "write"}


def main() -> None:
    """Build in new processes, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 2, 3, 4])
    args = parser.parse_args()
    if args.build:
        text, order, into = args.build
        print(json.dumps(measure(Path(text), int(order), Path(into))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        text, held_out = Path(folder) / "train.txt", split(Path(folder) / "train.txt")
        highest = max(args.orders)
        for order, name in [*((order, "model.arpa") for order in args.orders), (highest, "model.arpa.gz")]:
            into = Path(folder) / name
            command = [sys.executable, __file__, "--build", str(text), str(order), str(into)]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            if name == "model.arpa":
                row["perplexity"] = round(perplexity(into, held_out), 2)
            rows.append(row)
            print(json.dumps(row, indent=1), flush=True)
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": "python benchmarks/lm_build.py",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "held_out_sentences": len(held_out),
        "rows": rows,
    }
    (RESULTS / "lm_build.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def split(train: Path) -> list[list[str]]:
    """Write the training lines and return the words of the held-out lines."""
    rules, held_out = Vocabulary(symbols=(BLANK,)), []
    with train.open("w", encoding="utf-8") as file:
        for path in sorted(DATA.glob("*.txt.xz")):
            with lzma.open(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(line for line in lines if not line.startswith("#DOC")):
                    if number % HELD_OUT_EVERY:
                        file.write(line)
                    elif words := rules.normalise(line).split():
                        held_out.append(words)
    return held_out


def measure(text: Path, order: int, into: Path) -> dict[str, Any]:
    """Build one language model and measure this process."""
    seconds: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            seconds[STAGES[name]] = round(time.perf_counter() - start, 2)
            return result

        return run

    for name in STAGES:
        setattr(kneser_ney, name, timed(name, getattr(kneser_ney, name)))
    before = peak_gib()
    start = time.perf_counter()
    report = build([text], order=order, into=into)
    total = time.perf_counter() - start
    return {
        "order": order,
        "packed": into.suffix == ".gz",
        "words": report.words,
        "sentences": report.sentences,
        "distinct_words": report.distinct_words,
        "seconds": round(total, 2),
        "words_per_second": round(report.words / total),
        "stages": seconds,
        "peak_gib": round(peak_gib(), 2),
        "peak_gib_before": round(before, 2),
        "ngrams": report.ngrams,
        "discounts": [[round(d, 4) for d in order] for order in report.discounts],
        "messages": report.messages,
        "file_mb": round(into.stat().st_size / 1e6),
    }


def peak_gib() -> float:
    """Return the peak resident size of this process in GiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def perplexity(arpa: Path, sentences: list[list[str]]) -> float:
    """Compute the perplexity of held-out sentences, keeping only the n-grams that occur in them."""
    wanted = {gram for words in sentences for gram in grams_of(words)}
    model: dict[str, tuple[float, float]] = {}
    with arpa.open(encoding="utf-8") as lines:
        for line in lines:
            cells = line.rstrip("\n").split("\t")
            if len(cells) > 1 and cells[1] in wanted:
                model[cells[1]] = (float(cells[0]), float(cells[2]) if len(cells) > 2 else 0.0)
    total, count = 0.0, 0
    for words in sentences:
        tokens = ["<s>", *words, "</s>"]
        for end in range(1, len(tokens)):
            if tokens[end] in model:
                total += log10_of(model, [t if t in model else "<unk>" for t in tokens[max(0, end - 5) : end + 1]])
                count += 1
    return float(10 ** (-total / count))


def grams_of(words: list[str]) -> Iterator[str]:
    """Yield every n-gram up to order 6, as in the ARPA file."""
    tokens = ["<s>", *words, "</s>"]
    yield "<unk>"
    for start in range(len(tokens)):
        for end in range(start + 1, min(len(tokens), start + 6) + 1):
            yield " ".join(tokens[start:end])


def log10_of(model: dict[str, tuple[float, float]], tokens: list[str]) -> float:
    """Return log10 of the probability of the last token given the others, with back-off."""
    for start in range(len(tokens)):
        gram = " ".join(tokens[start:])
        if gram in model:
            contexts = (" ".join(tokens[earlier:-1]) for earlier in range(start))
            return model[gram][0] + sum(model[context][1] for context in contexts if context in model)
    raise AssertionError(tokens)


if __name__ == "__main__":
    main()
