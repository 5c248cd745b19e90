"""Ask whether `sori select` chooses better than chance: CER with the minutes that it chooses, and with random ones.

    python benchmarks/selection.py --labelled PREPARED --test PREPARED --into runs/selection [--init ENCODER]

The transcripts of the split `train` of `--labelled` are hidden. First round: `random_10`, utterances at random from
those that `sori select` chooses from (2 to 10 s, all speakers), against `mfcc_10` (clusters of MFCC) and, with
`--init`, `units_10` (units of that encoder). Second round: 10 minutes of the first round, and 10 more for
which its recogniser is least confident (`mfcc_10_10`), against `random_20`, drawn in the same order as `random_10`.
Every arm is trained with each seed (of the draw or the clusters, and of the training), and scored on all of `--test`,
greedily.

`librispeech.py` makes the folders of LibriSpeech: `data/labelled` and `data/librispeech-test-clean`. The same command
continues an interrupted benchmark. Writes `benchmarks/results/selection.json`, a list of rows by corpus. `--size smoke`
takes minutes: half a minute instead of ten, toy models, and the split dev as test.
"""

import argparse
import os
import platform
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from librispeech import RESULTS, run, train

import sori
from sori.core.audio import AudioInfo
from sori.core.files import read_json, write_json
from sori.core.seeds import derive
from sori.data.manifest import CUTS, Utterance, read_with_headers, write_manifest
from sori.evaluation.error_rate import ErrorReport, compare, error_rates
from sori.inference.selection import HELD_OUT, SECONDS

ROUNDS = {"random_10": 1, "mfcc_10": 1, "units_10": 1, "random_20": 2, "mfcc_10_10": 2}
AGAINST = {"mfcc_10": "random_10", "units_10": "random_10", "mfcc_10_10": "random_20"}


def main() -> None:
    """Run every unfinished stage, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelled", type=Path, required=True, help="prepared folder with splits train and dev")
    parser.add_argument("--test", type=Path, help="prepared folder that error rates are reported on")
    parser.add_argument("--into", type=Path, default=Path("runs/selection"))
    parser.add_argument("--name", default="librispeech", help="name of the corpus in the results")
    parser.add_argument("--init", help="pre-trained encoder; by default, recognisers are trained from scratch")
    parser.add_argument("--arms", nargs="+", choices=ROUNDS, help="by default all that are possible")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", choices=("full", "smoke"), default="full")
    args = parser.parse_args()
    if args.test is None and args.size == "full":
        parser.error("--test is required")
    arms = args.arms or [arm for arm in ROUNDS if arm != "units_10" or args.init]
    for seed in args.seeds:
        for arm in sorted(arms, key=ROUNDS.__getitem__):
            one_run(args, arm, seed)
    report(args, arms)


def one_run(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """Choose the utterances of an arm, train on them and score the recogniser; return its folder."""
    folder = args.into / f"{arm}_{seed}"
    score = folder / "test.json"
    if score.exists():
        return folder
    minutes = (10 if args.size == "full" else 0.5) * ROUNDS[arm]
    prepared = args.into / "chosen" / f"{arm}_{seed}"
    if not (prepared / CUTS).exists():
        names = chosen(args, arm, seed, minutes)
        rows = read_with_headers(args.labelled)
        keep(prepared, [row for row in rows if row[0].id in names or (row[0].split or "").startswith("dev")])
    recipe = "ctc_smoke" if args.size == "smoke" else "ctc_10min" if args.init else "ctc_10min_scratch"
    init = ["--init", args.init] if args.init and args.size == "full" else []
    train(
        recipe,
        prepared,
        folder,
        *init,
        "--labels.minutes",
        str(minutes),
        "--train.seed",
        str(seed),
        "--labels.lm",
        "none",
    )
    test, split = (args.test, "test") if args.size == "full" else (args.labelled, "dev")
    run("evaluate", str(folder), "--data", str(test), "--split", split, "--save", str(score), "--lm", "none")
    return folder


def chosen(args: argparse.Namespace, arm: str, seed: int, minutes: float) -> set[str]:
    """Return the ids of the utterances of an arm."""
    pool = args.into / "pool"
    if not (pool / CUTS).exists():
        keep(pool, [(u if is_held_out(u) else u._replace(text=None), f) for u, f in read_with_headers(args.labelled)])
    if arm.startswith("random"):
        candidates = [u for u, _ in read_with_headers(pool) if is_candidate(u)]
        order = np.random.default_rng(derive(seed, "random minutes")).permutation(len(candidates))
        names, left = set[str](), 60 * minutes
        for u in (candidates[i] for i in order):
            if u.duration_seconds <= left:
                names.add(u.id)
                left -= u.duration_seconds
        return names
    if arm == "mfcc_10_10":
        first = one_run(args, "mfcc_10", seed)
        before = [u.id for u, _ in read_with_headers(args.into / "chosen" / first.name) if not is_held_out(u)]
        more = sori.select(pool, minutes=minutes / 2, model=first, seed=seed, transcribed=before)
        return {*before, *(one.utterance.id for one in more)}
    model = args.init if arm == "units_10" else None
    return {one.utterance.id for one in sori.select(pool, minutes=minutes, by="sounds", model=model, seed=seed)}


def keep(folder: Path, rows: list[tuple[Utterance, AudioInfo]]) -> None:
    """Write a prepared folder of utterances of another one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, rows)


def is_held_out(utterance: Utterance) -> bool:
    """Return whether an utterance is not to be trained on."""
    return (utterance.split or "").startswith(HELD_OUT)


def is_candidate(utterance: Utterance) -> bool:
    """Return whether `sori select` would choose among this utterance."""
    return not is_held_out(utterance) and SECONDS[0] <= utterance.duration_seconds <= SECONDS[1]


def scored(folder: Path) -> ErrorReport:
    """Return the stored error rates of a recogniser."""
    rows = read_json(folder / "test.json")["utterances"]
    columns = ([row[name] for row in rows] for name in ("reference", "hypothesis", "speaker"))
    return error_rates(*columns)


def about(args: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Return what was chosen."""
    rows = [u for u, _ in read_with_headers(args.into / "chosen" / f"{arm}_{seed}") if not is_held_out(u)]
    speakers = Counter(u.speaker for u in rows)
    text = " ".join(u.text or "" for u in rows)
    return {
        "utterances": len(rows),
        "minutes": round(sum(u.duration_seconds for u in rows) / 60, 2),
        "speakers": len(speakers),
        "letters": len(text),
        "different_words": len(set(text.split())),
    }


def report(args: argparse.Namespace, arms: list[str]) -> None:
    """Write and print error rates, and differences over the same test utterances and all seeds."""
    reports = {arm: [scored(args.into / f"{arm}_{seed}") for seed in args.seeds] for arm in arms}
    rows: list[dict[str, Any]] = []
    for arm in arms:
        for seed, one in zip(args.seeds, reports[arm], strict=True):
            cer = one.cer
            rows.append({"arm": arm, "seed": seed, "cer": cer.rate, "low": cer.low, "high": cer.high})
            rows[-1] |= {"wer": one.wer.rate} | about(args, arm, seed)
            print(f"{arm:11} seed {seed}: CER {cer.rate:.1%} ({cer.low:.1%} to {cer.high:.1%}), WER {one.wer.rate:.1%}")
    differences = {}
    for arm, other in AGAINST.items():
        if arm in arms and other in arms:
            found = compare(reports[arm], reports[other])["cer"]
            differences[f"{arm} - {other}"] = asdict(found)
            value, low, high = (f"{100 * part:+.1f}" for part in found.absolute)
            print(f"{arm} - {other}: CER {value} points ({low} to {high})")
    if args.size == "smoke":
        return
    result = {
        "command": "python benchmarks/selection.py --labelled PREPARED --test PREPARED",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "pre_trained": bool(args.init),
        "rows": rows,
        "differences": differences,
    }
    target = RESULTS / "selection.json"
    every = read_json(target) if target.exists() else {}
    write_json(target, every | {args.name: result})


if __name__ == "__main__":
    main()
