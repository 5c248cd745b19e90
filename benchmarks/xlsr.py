"""Ask whether many languages without transcripts help ten minutes of one more, beyond English of the same hours.

    python benchmarks/xlsr.py --corpora CORPORA --data DATA --into runs/xlsr --seeds 0 1 2

Arms, each fine-tuned by `ctc_10min` without a language model:

- `scratch`: `ctc_10min_scratch`;
- `english`: `wav2vec2_xlsr_tiny` on 7.4 h of Common Voice English;
- `world`: the same on 7.4 h of 59 languages of Common Voice, 100 recordings each, balanced by the recipe;
- `without`: `world` without the target languages, for targets that are among the 59.

All three are pre-trained for the same number of updates. Targets: Persian and Thai (among the 59; Common Voice, other
speakers), Korean and Mboshi (not among them; splits of `cross_lingual.py`). The speakers of Persian and Thai with more
than five minutes are training speakers, and of the others, by turns, test, dev, test and training speakers; sentences
that are in test or dev are not in train.

Error rates are in letters (Korean: jamo). Intervals are over test speakers (Korean and Mboshi: utterances) and seeds of
fine-tuning; there is one pre-training of each arm. Nothing is selected on the test. The same command continues an
interrupted benchmark. Writes `benchmarks/results/xlsr.json`.
"""

import argparse
import os
import platform
from argparse import Namespace
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from librispeech import RESULTS, Row, evaluate, keep, prepare, pretraining_settings, train

import cross_lingual
import sori
from sori.core.files import read_json, write_json
from sori.data.manifest import read_with_headers
from sori.evaluation.error_rate import ErrorReport, compare, error_rates
from sori.text.vocabulary import graphemes

AMONG = {"fas": "common-voice-persian", "tha": "common-voice-thai"}
"""Targets that are among the 59 languages."""
TARGETS = (*AMONG, "kor", "mdw")
ARMS = ("scratch", "english", "world", "without")
LARGE_MINUTES = 5.0
"""Speakers with more speech than this are training speakers."""


def main() -> None:
    """Run every unfinished stage, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder of bring.py")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/xlsr"))
    parser.add_argument("--updates", type=int, default=4000, help="of pre-training")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of fine-tuning")
    parser.add_argument("--jobs", type=int, default=2, help="parallel runs, with one thread each")
    args = parser.parse_args()

    into: Path = args.into
    unlabelled = unlabelled_folders(args.corpora, into / "data")
    labelled = {target: labelled_folder(target, args, into) for target in args.targets}
    settings = pretraining_settings(args.updates)
    # Each pre-training is queued before the runs that depend on it, so that a single worker cannot deadlock.
    with ThreadPoolExecutor(args.jobs) as pool:
        pretrainings: dict[str, Future[None]] = {
            arm: pool.submit(train, "wav2vec2_xlsr_tiny", folder, into / f"pretrained_{arm}", *settings)
            for arm, folder in unlabelled.items()
        }

        def recogniser(target: str, arm: str, seed: int) -> None:
            folder = into / f"{target}_{arm}_{seed}"
            options = ["--train.seed", str(seed), "--labels.lm", "none"]
            if arm == "scratch":
                train("ctc_10min_scratch", labelled[target], folder, *options)
            else:
                pretrainings[arm].result()
                train("ctc_10min", labelled[target], folder, "--init", str(into / f"pretrained_{arm}"), *options)
            evaluate(folder, labelled[target], folder / "test.json", "--lm", "none")

        jobs = [(target, arm, seed) for seed in args.seeds for target in args.targets for arm in arms(target)]
        for done in [pool.submit(recogniser, *job) for job in jobs]:
            done.result()
    report(into, args.updates)


def arms(target: str) -> tuple[str, ...]:
    """Return the arms of a target: without it among the 59 languages, nothing can be left out."""
    return ARMS if target in AMONG else ARMS[:-1]


def unlabelled_folders(corpora: Path, into: Path) -> dict[str, Path]:
    """Return the prepared folders of the pre-trainings, by arm; no row has a transcript."""

    def rows_of(name: str) -> list[Row]:
        found = read_with_headers(prepare(corpora / name, into / name))
        return [(u._replace(text=None, split="train"), file) for u, file in found if u.duration_seconds >= 1]

    world, english = rows_of("common-voice-59"), rows_of("common-voice-english")
    order = np.random.default_rng(0).permutation(len(english))
    ends = np.cumsum([english[i][0].duration_seconds for i in order])
    seconds = sum(u.duration_seconds for u, _ in world)
    rows = {
        "english": [english[i] for i in order[: int(np.searchsorted(ends, seconds))]],
        "world": world,
        "without": [row for row in world if row[0].language not in AMONG],
    }
    folders = {arm: into / f"unlabelled_{arm}" for arm in rows}
    for arm, folder in folders.items():
        if not folder.exists():
            keep(folder, rows[arm])
    return folders


def labelled_folder(target: str, args: Namespace, into: Path) -> Path:
    """Return the prepared folder of a target, with the splits train, dev and test."""
    if target not in AMONG:
        return cross_lingual.prepare(target, args.data, into)
    folder, name = into / "data" / target, AMONG[target]
    if not folder.exists():
        source = args.corpora / name
        release = sorted(source.glob("cv-corpus-*/th"))  # the Thai repository has the release and copies of it
        rows = read_with_headers(prepare(release[0] if release else source, into / "data" / name))
        keep(folder, with_splits([row for row in rows if row[0].split != "invalidated"]))
    return folder


def with_splits(rows: list[Row]) -> list[Row]:
    """Divide the speakers into train, dev and test; leave out training sentences that are in test or dev."""
    seconds = Counter[str | None]()
    for u, _ in rows:
        seconds[u.speaker] += u.duration_seconds
    ranked = [speaker for speaker, _ in sorted(seconds.items(), key=lambda item: (-item[1], item[0] or ""))]
    small = [speaker for speaker in ranked if seconds[speaker] <= 60 * LARGE_MINUTES]
    split = dict.fromkeys(ranked, "train")
    split |= {speaker: ("test", "dev", "test", "train")[place % 4] for place, speaker in enumerate(small)}
    divided = [(u._replace(split=split[u.speaker]), file) for u, file in rows]
    held_out = {u.text for u, _ in divided if u.split != "train"}
    return [(u, file) for u, file in divided if u.split != "train" or u.text not in held_out]


def letters(path: Path, target: str) -> ErrorReport:
    """Read a stored report with symbols as words, so that its word error rate is the symbol error rate."""
    if target not in AMONG:
        return cross_lingual.read_report(path, target)
    rows = read_json(path)["utterances"]
    references, hypotheses = (
        [" ".join("|" if symbol == " " else symbol for symbol in graphemes(row[key])) for row in rows]
        for key in ("reference", "hypothesis")
    )
    return error_rates(references, hypotheses, [row.get("speaker") for row in rows])


def report(into: Path, updates: int) -> None:
    """Write and print the error rates of all recognisers scored so far, and the paired changes over all seeds."""
    found: dict[tuple[str, str], dict[int, ErrorReport]] = {}
    for path in sorted(into.glob("*_*_*/test.json")):
        target, arm, seed = path.parent.name.split("_")
        found.setdefault((target, arm), {})[int(seed)] = letters(path, target)
    rows: list[dict[str, Any]] = []
    for (target, arm), seeds in sorted(found.items()):
        rates = {seed: one.wer for seed, one in seeds.items()}
        row: dict[str, Any] = {"target": target, "arm": arm, "seeds": list(rates), "unit": seeds[min(seeds)].unit}
        row["cer"] = [round(rate.rate, 4) for rate in rates.values()]
        row["intervals"] = [[round(rate.low, 4), round(rate.high, 4)] for rate in rates.values()]
        for other in ("scratch", "english", "without"):
            both = sorted(seeds.keys() & found.get((target, other), {}).keys())
            if other != arm and both:
                sides = [[of[seed] for seed in both] for of in (seeds, found[target, other])]
                change = compare(*sides)["wer"]
                row[f"against_{other}"] = asdict(change) | {"seeds": both}
        rows.append(row)
        print(f"{target} {arm:8} CER {', '.join(f'{rate:.1%}' for rate in row['cer'])}")
    about = {
        "command": f"python benchmarks/xlsr.py --updates {updates}",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "xlsr.json", about)


if __name__ == "__main__":
    main()
