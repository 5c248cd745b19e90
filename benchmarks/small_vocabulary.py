"""Ask what ten minutes of transcripts give where few words are spoken, and what self-training adds.

    python benchmarks/small_vocabulary.py --corpora CORPORA --into runs/small_vocabulary

AN4 (Carnegie Mellon University): 84 speakers spell names and numbers and say short commands. Of the 74 speakers of the
training part, eight are dev; ten minutes of the others have transcripts, and all of their speech is for pre-training
and self-training. Arms: `scratch` and `pretrained`, each as it is (`round_0`), and with one round of self-training
(`round_1`, unless `--rounds 0`). Scored on the ten test speakers, greedily and with the language model of the ten
minutes.

The same command continues an interrupted benchmark. Writes `benchmarks/results/small_vocabulary.json`;
`small_vocabulary_masks.json` was measured while the recipes still hid spans of frames and of mel bands.
"""

import argparse
import os
import platform
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from librispeech import RESULTS, evaluate, keep, prepare, pretraining_settings, train
from transfer import scored

import sori
from sori.core.files import read_json, write_json, write_text
from sori.data.manifest import read_with_headers
from sori.evaluation.error_rate import compare
from sori.experiments.self_training import ABOUT, SelfTrainingConfig, self_train
from sori.runs import run

ARMS = ("scratch", "pretrained")
NUM_DEV_SPEAKERS = 8
SELF_TRAINING = SelfTrainingConfig(rounds=1, hours=None, kept=0.8, updates=1)
DECODINGS: dict[str, tuple[str, ...]] = {"greedy": ("--lm", "none"), "lm": ()}


class Kind(NamedTuple):
    """What an evaluation is of, apart from the seed."""

    arm: str
    tuning: int
    """Updates of fine-tuning."""
    rounds: int
    """Of self-training."""
    decoding: str


def main() -> None:
    """Run every unfinished stage, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder of bring.py")
    parser.add_argument("--into", type=Path, default=Path("runs/small_vocabulary"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--updates", type=int, default=1000, help="of pre-training, 24 s each")
    parser.add_argument("--tuning", type=int, default=2500, help="updates of each recogniser, 12 s each")
    parser.add_argument("--rounds", type=int, choices=(0, 1), default=1, help="of self-training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of labels and fine-tuning")
    args = parser.parse_args()

    into: Path = args.into
    data = prepared(args.corpora / "an4", into)
    if "pretrained" in args.arms:
        train("wav2vec2_tiny", data, into / "encoder", *pretraining_settings(args.updates))
    for seed in args.seeds:
        for arm in args.arms:
            folder = into / f"{arm}_{args.tuning}_{seed}"
            recipe = sori.recipes.by_name("ctc_10min" if arm == "pretrained" else "ctc_10min_scratch")
            recipe = recipe.override({"train.seed": seed, "train.num_steps": args.tuning})
            init = into / "encoder" if arm == "pretrained" else None
            recipe = run.complete(recipe, data, init)
            run.train(recipe, into=folder / "round_0")
            if args.rounds:
                self_train(recipe, into=folder, unlabelled=data, settings=SELF_TRAINING)
            for number in range(args.rounds + 1):
                for name, options in DECODINGS.items():
                    evaluate(folder / f"round_{number}", data, folder / f"test_{number}_{name}.json", *options)
            report(into, args)


def prepared(source: Path, into: Path) -> Path:
    """Write the corpus as a prepared folder with the splits train, dev and test."""
    folder = into / "data"
    if not folder.exists():
        into.mkdir(parents=True, exist_ok=True)
        rows = ["path\ttext\tspeaker\tsplit"]
        for part in ("train", "test"):
            lines = (source / "etc" / f"an4_{part}.transcription").read_text(encoding="utf-8").splitlines()
            files = (source / "etc" / f"an4_{part}.fileids").read_text(encoding="utf-8").split()
            speakers = sorted({Path(file).parent.name for file in files})
            dev = set(speakers[-NUM_DEV_SPEAKERS:]) if part == "train" else set()
            for line, file in zip(lines, files, strict=True):
                speaker = Path(file).parent.name
                text = re.sub(r"<s>|</s>|\(.*?\)", "", line).strip()
                split = "dev" if speaker in dev else part
                rows.append(f"{(source / 'wav' / file).resolve()}.wav\t{text}\t{speaker}\t{split}")
        write_text(into / "an4.tsv", "\n".join(rows) + "\n")
        keep(folder, list(read_with_headers(prepare(into / "an4.tsv", into / "an4"))))
    return folder


def report(into: Path, args: argparse.Namespace) -> None:
    """Write and print the error rates of all recognisers scored so far, and paired changes over seeds."""
    stored: dict[Kind, dict[int, Any]] = {}
    for path in sorted(into.glob("*_*/test_*.json")):
        kind, seed = _kind_and_seed(path)
        stored.setdefault(kind, {})[seed] = read_json(path)
    rows: list[dict[str, Any]] = []
    for kind, seeds in stored.items():
        folders = [into / f"{kind.arm}_{kind.tuning}_{seed}" for seed in seeds]
        written = [read_json(folder / f"written_{kind.rounds}" / ABOUT) for folder in folders] if kind.rounds else None
        others = {"scratch": kind._replace(arm="scratch"), "no self-training": kind._replace(rounds=0)}
        changes = {
            name: _change(seeds, stored[other])
            for name, other in others.items()
            if other != kind and seeds.keys() & stored.get(other, {}).keys()
        }
        rates = {unit: {seed: found[unit] for seed, found in seeds.items()} for unit in ("cer", "wer")}
        rows.append(kind._asdict() | rates | {"written": written, "against": changes})
        print(
            f"{kind.arm:10} {kind.tuning} updates, {kind.rounds} rounds, {kind.decoding:6}",
            *(
                f"\n    seed {seed}: CER {_interval(one['cer'])}, WER {_interval(one['wer'])}"
                for seed, one in seeds.items()
            ),
            *(f"\n    against {name}: {_relative(change)}" for name, change in changes.items()),
            flush=True,
        )
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": f"python benchmarks/small_vocabulary.py --corpora CORPORA --updates {args.updates}",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    write_json(RESULTS / "small_vocabulary.json", about | {"rows": rows})


def _kind_and_seed(path: Path) -> tuple[Kind, int]:
    """Return what a stored evaluation is of."""
    arm, tuning, seed = path.parent.name.split("_")
    rounds, decoding = path.stem.removeprefix("test_").split("_")
    return Kind(arm, int(tuning), int(rounds), decoding), int(seed)


def _change(first: dict[int, Any], second: dict[int, Any]) -> dict[str, Any]:
    """Compare the seeds that both have."""
    seeds = sorted(first.keys() & second.keys())
    found = compare([scored(first[seed]) for seed in seeds], [scored(second[seed]) for seed in seeds])
    return {unit: asdict(one) for unit, one in found.items()} | {"seeds": seeds}


def _interval(rate: dict[str, float]) -> str:
    return f"{rate['rate']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"


def _relative(changes: dict[str, Any]) -> str:
    intervals = ((unit.upper(), changes[unit]["relative"]) for unit in ("cer", "wer"))
    return ", ".join(f"{unit} {value:+.1%} ({low:+.1%} to {high:+.1%})" for unit, (value, low, high) in intervals)


if __name__ == "__main__":
    main()
