"""Ask the papers' question with small models: minutes of LibriSpeech with transcripts, hours of English without.

    python benchmarks/librispeech.py --corpora CORPORA --data DATA --into runs/librispeech

Labels: 10 min, 30 min, 1 h or 5 h of Mini LibriSpeech's training part (`librispeech-train-clean-5`; its speakers 1737,
3242 and 6272 are dev). Pre-training: random subsets, each part of the next, of 32 h of English without transcripts:
Common Voice (`common-voice-english`), the same Mini LibriSpeech, the Speech Accent Archive, and the English sets of
DATA. Scored on all of LibriSpeech test-clean (2,620 utterances), greedily and with the language model of the folder of
each recogniser, whose texts are the training transcripts and `text-english` without the documents that the test set
reads from (Adam Bede).

Nothing is selected on test-clean. The same command continues an interrupted benchmark; every run has its own folder.
Writes `benchmarks/results/librispeech.json`; rows of it that were not measured again stay.

The curve over hours without transcripts: `--hours 1 3 6 12 28 --seeds 0`.
"""

import argparse
import itertools
import json
import lzma
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sori
from sori.core.audio import AudioInfo
from sori.core.files import write_text
from sori.data.manifest import Utterance, read_manifest, read_with_headers, write_manifest
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe

DEV_SPEAKERS = ("1737", "3242", "6272")
LABELS = {"10min": "ctc_10min", "30min": "ctc_1h", "1h": "ctc_1h", "5h": "ctc_1h"}
CHANGES = {"30min": ("--labels.minutes", "30"), "5h": ("--labels.minutes", "300", "--train.num-steps", "6000")}
"""What differs from the recipe."""
HOURS = (1, 3, 6, 12, 28)
CORPORA = ("common-voice-english", "librispeech-train-clean-5", "speech-accent-archive")
SETS = ("speechocean762", "librispeech-train-clean-100-openings", "picovoice-barista", "free-spoken-digits")
Row = tuple[Utterance, AudioInfo]
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every unfinished stage, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder of bring.py")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/librispeech"))
    parser.add_argument("--hours", type=int, nargs="*", default=[28], choices=HOURS, help="of pre-training")
    parser.add_argument("--updates", type=int, default=4000, help="of pre-training")
    parser.add_argument("--labels", nargs="+", default=["10min"], choices=LABELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of fine-tuning")
    parser.add_argument("--jobs", type=int, default=2, help="parallel runs, with one thread each")
    args = parser.parse_args()

    into: Path = args.into
    labelled, test = labelled_folders(args.corpora, into / "data")
    pool_of_speech = english(args.corpora, args.data, into / "data")
    with ThreadPoolExecutor(args.jobs) as pool:
        pretrainings: dict[int, Future[None]] = {}
        texts = texts_without(test, sorted((args.data / "text-english").glob("*.xz")), into / "data")
        settings = pretraining_settings(args.updates)
        for hours in args.hours:
            data = subset(pool_of_speech, hours, into / "data")
            folder = into / f"pretrained_{amount(hours, args.updates)}"
            pretrainings[hours] = pool.submit(train, "wav2vec2_tiny", data, folder, *settings)

        def recogniser(labels: str, hours: int, seed: int) -> None:
            pretraining = amount(hours, args.updates)
            folder = into / f"{labels}_{pretraining}_{seed}"
            more = ["--train.seed", str(seed), "--labels.texts", f"[{texts}]"]
            more += CHANGES.get(labels, ())
            if hours:
                pretrainings[hours].result()
                train(LABELS[labels], labelled, folder, "--init", str(into / f"pretrained_{pretraining}"), *more)
            else:
                train(f"{LABELS[labels]}_scratch", labelled, folder, *more)
            for name, options in (("greedy", ("--lm", "none")), ("lm", ())):
                evaluate(folder, test, folder / f"test_{name}.json", *options)

        jobs = [(labels, hours, seed) for seed in args.seeds for labels in args.labels for hours in (0, *args.hours)]
        for done in [pool.submit(recogniser, *job) for job in jobs]:
            done.result()
    write(into)


def amount(hours: int, updates: int) -> str:
    """Return how folders name an amount of pre-training, such as `28h-4000`; `0h` for none."""
    return f"{hours}h-{updates}" if hours else "0h"


def pretraining_settings(updates: int) -> list[str]:
    """Return options for a number of updates, in 70 % of which the temperature of the quantiser falls from 2 to 0.5."""
    decay = 0.25 ** (1 / (0.7 * updates))
    return ["--train.num-steps", str(updates), "--system.gumbel-decay", f"{decay:.5f}"]


def prepare(source: Path, into: Path) -> Path:
    """Prepare a corpus, unless it is prepared."""
    if not (into / "report.md").exists():
        run("prepare", str(source), str(into))
    return into


def labelled_folders(corpora: Path, into: Path) -> tuple[Path, Path]:
    """Return the prepared training part, with three speakers as dev, and test-clean."""
    name = "librispeech-train-clean-5"
    folder = into / "labelled"
    if not folder.exists():
        every = read_with_headers(prepare(corpora / name, into / name))
        keep(folder, [(u._replace(split="dev" if u.speaker in DEV_SPEAKERS else "train"), file) for u, file in every])
    return folder, prepare(corpora / "librispeech-test-clean", into / "librispeech-test-clean")


def english(corpora: Path, data: Path, into: Path) -> list[Row]:
    """Return all speech for pre-training: no transcript, no dev or test speaker, at least one second each."""
    folders = [prepare(corpora / name, into / name) for name in CORPORA]
    folders += [prepare(data / name / "manifest.jsonl", into / name) for name in SETS]
    return [
        (u._replace(id=f"{folder.name}/{u.id}", text=None, split="train"), file)
        for folder in folders
        for u, file in read_with_headers(folder)
        if u.speaker not in DEV_SPEAKERS and not (u.split or "").startswith(("dev", "test")) and u.duration_seconds >= 1
    ]


def texts_without(test: Path, sources: list[Path], into: Path) -> Path:
    """Write the documents (from a line `#DOC` to the next) that are not read in the test set, as one text.

    A document is left out if it shares eight words in a row with two utterances or more.
    """
    target = into / "texts.txt"
    if target.exists():
        return target
    spoken: dict[tuple[str, ...], set[str]] = {}
    for u in read_manifest(test):
        for run_of_words in runs_of_words(u.text or ""):
            spoken.setdefault(run_of_words, set()).add(u.id)
    kept: list[str] = []
    for source in sources:
        with lzma.open(source, "rt", encoding="utf-8") as lines:
            for is_title, group in itertools.groupby(lines, key=lambda line: line.startswith("#DOC")):
                document = list(group)
                if is_title:
                    title = document[-1].strip()
                    continue
                shared = {name for line in document for words in runs_of_words(line) for name in spoken.get(words, ())}
                if len(shared) < 2:
                    kept += document
                else:
                    print(f"{title} is left out: {len(shared)} test utterances share eight words with it")
    write_text(target, "".join(kept))
    return target


def runs_of_words(text: str) -> Iterator[tuple[str, ...]]:
    """Return every eight words in a row, without case and punctuation."""
    words = re.sub(r"[^a-z' ]+", " ", text.lower()).split()
    return zip(*(words[i:] for i in range(8)), strict=False)


def subset(pool: list[Row], hours: int, into: Path) -> Path:
    """Write a random subset; a smaller one is part of a larger one."""
    folder = into / f"english_{hours}h"
    if not folder.exists():
        order = np.random.default_rng(0).permutation(len(pool))
        ends = np.cumsum([pool[i][0].duration_seconds for i in order])
        keep(folder, [pool[i] for i in order[: int(np.searchsorted(ends, hours * 3600)) + 1]])
    return folder


def keep(folder: Path, rows: list[Row]) -> None:
    """Write a prepared folder of utterances of other folders."""
    folder.mkdir(parents=True)
    write_manifest(folder, rows)


def run(*arguments: str, log: Path | None = None) -> None:
    """Run the command line with one thread."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    print("sori " + " ".join(arguments) + "\n", end="", flush=True)  # in one call, because several threads print
    command = [sys.executable, "-m", "sori", *arguments]
    if log is None:
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
        return
    with log.open("a", encoding="utf-8") as file:
        subprocess.run(command, check=True, env=env, stderr=file)


def train(recipe: str, data: Path, into: Path, *more: str) -> None:
    """Train, unless the model exists."""
    if not (into / "model" / "config.json").exists():
        into.parent.mkdir(parents=True, exist_ok=True)
        log = into.parent / f"{into.name}.log"
        run("train", recipe, "--data", str(data), "--into", str(into), *more, log=log)


def evaluate(folder: Path, data: Path, into: Path, *options: str) -> None:
    """Score a recogniser, unless it is scored."""
    if not into.exists():
        run("evaluate", str(folder), "--data", str(data), "--split", "test", "--save", str(into), *options)


def write(into: Path) -> None:
    """Write the error rates of all recognisers scored so far, and print those of this folder."""
    path = RESULTS / "librispeech.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = {_key(row): row for row in earlier}
    for scored in sorted(into.glob("*_*h*_*/test_*.json")):
        row = _row(scored)
        rows[_key(row)] = row
        cer, wer = row["cer"], row["wer"]
        print(
            f"{scored.parent.name:20} {row['decoding']:7} CER {cer['rate']:.1%} ({cer['low']:.1%} to "
            f"{cer['high']:.1%}), WER {wer['rate']:.1%}"
        )
    found = {
        "command": "python benchmarks/librispeech.py",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": sorted(rows.values(), key=_key),
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what distinguishes a row from all others."""
    labels = list(LABELS).index(row["labels"])
    pretraining = row["hours"], row.get("updates", 0), row.get("pretraining", "")
    return (labels, *pretraining, row["optimiser"], row["seed"], row["decoding"])


def _row(scored: Path) -> dict[str, Any]:
    """Return the error rates of a recogniser, with how it was trained."""
    folder, report = scored.parent, json.loads(scored.read_text(encoding="utf-8"))
    labels, hours, seed = folder.name.split("_")
    recipe = RecogniserRecipe.from_yaml(folder / "recipe.yaml")
    row: dict[str, Any] = {"labels": labels, "hours": int(hours.partition("h")[0]), "seed": int(seed)}
    row |= {"decoding": scored.stem.split("_")[1], "optimiser": recipe.optim.kind}
    if recipe.init:
        before = SpeechRecipe.from_yaml(Path(recipe.init).parent / "recipe.yaml")
        row |= {"pretraining": before.optim.kind, "updates": before.train.num_steps}
    return row | {unit: report[unit] for unit in ("cer", "wer")}


if __name__ == "__main__":
    main()
