"""Ask what ten minutes of transcripts give where few words are spoken, and what self-training adds.

    python benchmarks/small_vocabulary.py --corpora CORPORA --into runs/small_vocabulary

AN4 (Carnegie Mellon University): 84 speakers spell names and numbers and say short commands. Of the 74 speakers of the
training part, eight are dev; ten minutes of the others have transcripts, and all of their speech is for pre-training
and self-training. Arms: `scratch` and `pretrained`, each as it is (`round_0`), and with one round of self-training
(`round_1`, unless `--rounds 0`). Scored on the ten test speakers, greedily and with the language model of the ten
minutes.

The same command continues an interrupted benchmark. Writes `benchmarks/results/small_vocabulary.json`.
"""

import argparse
import os
import platform
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
            folder = into / f"{arm}_{seed}"
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
    """Write and print the error rates of all recognisers scored so far, and paired changes."""
    stored = {_key(path): read_json(path) for path in sorted(into.glob("*_*/test_*.json"))}
    rows: list[dict[str, Any]] = []
    for (arm, seed, rounds, decoding), found in stored.items():
        about = {"arm": arm, "seed": seed, "rounds": rounds, "decoding": decoding}
        written = read_json(into / f"{arm}_{seed}" / f"written_{rounds}" / ABOUT) if rounds else None
        others = {"scratch": ("scratch", seed, rounds, decoding), "no self-training": (arm, seed, 0, decoding)}
        changes = {
            name: {unit: asdict(one) for unit, one in compare([scored(found)], [scored(stored[other])]).items()}
            for name, other in others.items()
            if other in stored and other != (arm, seed, rounds, decoding)
        }
        rows.append(about | {unit: found[unit] for unit in ("cer", "wer")} | {"written": written, "against": changes})
        cer, wer = (found[unit] for unit in ("cer", "wer"))
        print(
            f"{arm:10} seed {seed} rounds {rounds} {decoding:6} CER {cer['rate']:.1%} ({cer['low']:.1%} to "
            f"{cer['high']:.1%}), WER {wer['rate']:.1%} ({wer['low']:.1%} to {wer['high']:.1%})",
            *(f"\n    against {name}: {_relative(change)}" for name, change in changes.items()),
            flush=True,
        )
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": f"python benchmarks/small_vocabulary.py --updates {args.updates} --tuning {args.tuning}",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    write_json(RESULTS / "small_vocabulary.json", about | {"rows": rows})


def _key(path: Path) -> tuple[str, int, int, str]:
    """Return arm, seed, rounds of self-training and decoding of a stored evaluation."""
    arm, seed = path.parent.name.split("_")
    rounds, decoding = path.stem.removeprefix("test_").split("_")
    return arm, int(seed), int(rounds), decoding


def _relative(changes: dict[str, Any]) -> str:
    intervals = ((unit.upper(), change["relative"]) for unit, change in changes.items())
    return ", ".join(f"{unit} {value:+.1%} ({low:+.1%} to {high:+.1%})" for unit, (value, low, high) in intervals)


if __name__ == "__main__":
    main()
