"""Compare Word2Vec with gensim on the same text: words per second, analogies, similarity, with the spread over seeds.

    python benchmarks/word2vec_speed.py --data SHARED [--words 0] [--seeds 3] [--threads 2] [--epochs 5]

SHARED contains `text-english/` and `word-similarity/`. Text in lower case, split at white space; 100 dimensions, window
5, 5 negative samples, sample 1e-3, min count 5. The runs alternate, seed by seed; times are those of training alone,
after words are counted and numbered (gensim: `train` on lists of words in memory). Writes
`benchmarks/results/word2vec_speed.json`, except for trials with fewer words, such as `--words 1000000`.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gensim.models import Word2Vec as Gensim

import sori
from sori.core.run_folder import RunFolder
from sori.data.word_counts import TokenConfig, WordCounts, count_words, read_tokens, sentences, write_tokens
from sori.embeddings import loading
from sori.embeddings.space import WordSpace
from sori.models.word2vec import Word2Vec, Word2VecConfig
from sori.training import word2vec_loop

RESULTS = Path(__file__).parent / "results" / "word2vec_speed.json"
RULES = TokenConfig(tokens="spaces", case="lower")
KINDS = ("gensim skipgram", "shared skipgram", "exact skipgram", "gensim cbow", "cbow")
LISTS = ("EN-WS-353-ALL", "EN-MEN-TR-3k")


def main() -> None:
    """Train alternately, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--words", type=int, default=0, help="maximum number of words; 0: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    args = parser.parse_args()
    lines: list[list[str]] = []
    total = 0
    for line in sentences([args.data / "text-english"], RULES):
        lines.append(line)
        total += len(line)
        if 0 < args.words <= total:
            break
    words = count_words(lines, min_count=5, max_words=10_000_000)
    print(f"{total:,} words of {len(words.words):,} different ones kept", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(lines, words.words, Path(folder) / "tokens")
        for seed in range(1, args.seeds + 1):
            for kind in args.kinds:
                row = one(kind, seed, args, lines, words, Path(folder))
                row["words_per_second"] = round(total * args.epochs / row["seconds"])
                rows.append(row)
                print(json.dumps({k: v for k, v in row.items() if k != "sections"}), flush=True)
    about = {
        "command": " ".join(["python", "benchmarks/word2vec_speed.py", "--data", "SHARED", *_rest(sys.argv[1:])]),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "load": [round(x, 2) for x in os.getloadavg()],
        "versions": {"sori": sori.__version__, "python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "numba", "gensim")},
        "words": total,
        "different_words": len(words.words),
        "threads": args.threads,
        "epochs": args.epochs,
        "summary": {kind: summary([row for row in rows if row["kind"] == kind]) for kind in args.kinds},
        "rows": rows,
    }
    print(json.dumps(about["summary"], indent=1))
    if not args.words:
        RESULTS.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        print(f"written: {RESULTS.name}")


def one(
    kind: str, seed: int, args: argparse.Namespace, lines: list[list[str]], words: WordCounts, folder: Path
) -> dict[str, Any]:
    """Train and evaluate once."""
    skipgram = kind.endswith("skipgram")
    lr = 0.025 if skipgram else 0.05
    if kind.startswith("gensim"):
        gensim = Gensim(
            vector_size=100, window=5, sg=int(skipgram), negative=5, sample=1e-3, min_count=5, alpha=lr, seed=seed,
            workers=args.threads,
        )  # fmt: skip
        gensim.build_vocab(lines)
        start, work = time.perf_counter(), time.process_time()
        gensim.train(lines, total_examples=gensim.corpus_count, epochs=args.epochs)
        took = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - work}
        space = WordSpace(gensim.wv.index_to_key, np.asarray(gensim.wv.vectors))
    else:
        config = Word2VecConfig(
            architecture="skipgram" if skipgram else "cbow",
            updates="exact" if kind.startswith("exact") else "shared",
            tokens="spaces",
        )
        system = Word2Vec(config, words)
        settings = word2vec_loop.WordTrainConfig(epochs=args.epochs, lr=lr, num_threads=args.threads, seed=seed)
        run = folder / f"{kind} {seed}"
        run.mkdir()
        word2vec_loop.train(
            system, read_tokens(folder / "tokens")[:1000], train=settings, folder=RunFolder(run)
        )  # compiles
        (run / "checkpoint.safetensors").unlink()
        start, work = time.perf_counter(), time.process_time()
        word2vec_loop.train(system, read_tokens(folder / "tokens"), train=settings, folder=RunFolder(run))
        took = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - work}
        space = WordSpace(list(words.words), np.ascontiguousarray(system.vectors.numpy()), list(words.counts))
    took = {name: round(value, 2) for name, value in took.items()}
    return {"kind": kind, "seed": seed, **took, **evaluate(space, args.data / "word-similarity")}


def evaluate(space: WordSpace, folder: Path) -> dict[str, Any]:
    """Evaluate analogies among the 30,000 most frequent words and among all, and Spearman's rho of the lists."""
    questions, lists = folder / "questions-words.txt", [folder / f"{name}.txt" for name in LISTS]
    published = loading.evaluate(space, questions=questions, similar=lists)
    every = loading.evaluate(space, questions=questions, restrict=len(space)).analogies
    assert published.analogies is not None
    assert every is not None
    return {
        "analogies": round(published.analogies.totals[-1].accuracy, 4),
        "analogies_all_words": round(every.totals[-1].accuracy, 4),
        **{Path(name).stem: round(one.correlation, 4) for name, one in published.similar},
        "sections": {one.name: [one.right, one.known, one.total] for one in published.analogies.sections},
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return mean, minimum and maximum over seeds."""
    names = ("words_per_second", "processor_seconds", "analogies", "analogies_all_words", *LISTS)
    values = {name: [row[name] for row in rows] for name in names}
    return {name: [round(statistics.mean(v), 4), min(v), max(v)] for name, v in values.items()}


def cpu_name() -> str:
    """Return the name of the CPU from the operating system."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def _rest(words: list[str]) -> list[str]:
    place = words.index("--data")
    return words[:place] + words[place + 2 :]


if __name__ == "__main__":
    main()
