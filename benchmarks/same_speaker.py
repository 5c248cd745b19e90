"""Ask how far ten minutes of transcripts of one speaker go, when the rest of that speaker's recordings has none.

    python benchmarks/same_speaker.py kathleen --corpora CORPORA --data DATA --into runs/same_speaker
    python benchmarks/same_speaker.py kerstin --data DATA --into runs/same_speaker

The case of a language that is documented with one consultant. `kathleen`: 1.4 h of English sentences (CMU ARCTIC), of
which 150 are test and 80 are dev. `kerstin`: 1.8 h of German sentences, with the splits of the data set. No sentence is
in two splits. Arms: `scratch`, ten minutes from scratch; `own`, pre-trained on all recordings of the split train
without transcripts; `self`, the same with two rounds of self-training on them. Error rates on test, greedily and with
the language model of each recogniser: word n-grams of its ten minutes, and for English of `text-english` without the
documents from which two test sentences or more are taken. It is tuned on dev.

The same command continues an interrupted benchmark. Writes `benchmarks/results/same_speaker.json`, a list of rows by
speaker.
"""

import argparse
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from librispeech import RESULTS, evaluate, keep, prepare, pretraining_settings, texts_without, train

import sori
from sori.core.files import read_json, write_json
from sori.data.manifest import read_with_headers
from sori.experiments.self_training import REPORT, SelfTrainingConfig, self_train

ARMS = ("scratch", "own", "self")
TEST, DEV = 150, 80
DECODINGS: dict[str, tuple[str, ...]] = {"greedy": ("--lm", "none"), "lm": ()}


def main() -> None:
    """Run every unfinished stage, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speaker", choices=("kathleen", "kerstin"))
    parser.add_argument("--corpora", type=Path, help="folder of bring.py, for kathleen")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/same_speaker"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--updates", type=int, default=3600, help="of pre-training, 24 s each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of labels and fine-tuning")
    args = parser.parse_args()
    if args.speaker == "kathleen" and args.corpora is None:
        parser.error("--corpora is required for kathleen")

    into: Path = args.into / args.speaker
    labelled, test = folders(args, into)
    unlabelled = without_transcripts(labelled, into / "unlabelled")
    texts: list[str] = []
    if args.speaker == "kathleen":
        found = texts_without(test, sorted((args.data / "text-english").glob("*.xz")), into)
        texts = ["--labels.texts", f"[{found}]"]
    pretrained = into / "pretrained"
    if set(args.arms) - {"scratch"}:
        train("wav2vec2_tiny", unlabelled, pretrained, *pretraining_settings(args.updates))
    for seed in args.seeds:
        more = ["--train.seed", str(seed), *texts]
        for arm in args.arms:
            folder = into / f"{arm}_{seed}"
            if arm == "scratch":
                train("ctc_10min_scratch", labelled, folder, *more)
            elif arm == "own":
                train("ctc_10min", labelled, folder, "--init", str(pretrained), *more)
            else:
                self_trained(labelled, unlabelled, pretrained, folder, seed, texts)
            for name, options in DECODINGS.items():
                evaluate(folder, test, folder / f"test_{name}.json", *options)
    report(args.speaker, into)


def folders(args: argparse.Namespace, into: Path) -> tuple[Path, Path]:
    """Return a prepared folder with the splits train and dev, and one with the split test."""
    if args.speaker == "kerstin":
        source = prepare(args.data / "kerstin-german" / "manifest.jsonl", into / "prepared")
    else:
        source = prepare(args.corpora / "kathleen-english", into / "prepared")
    labelled, test = into / "labelled", into / "test"
    if not test.exists():
        rows = [row for row in read_with_headers(source) if (row[0].text or "").strip()]
        if args.speaker == "kathleen":
            order = np.random.default_rng(0).permutation(len(rows))
            split = dict.fromkeys(order[:TEST].tolist(), "test") | dict.fromkeys(
                order[TEST : TEST + DEV].tolist(), "dev"
            )
            rows = [(u._replace(split=split.get(i, "train"), language="eng"), file) for i, (u, file) in enumerate(rows)]
        held_out = {(u.text or "").lower() for u, _ in rows if u.split != "train"}
        keep(
            labelled,
            [
                (u._replace(speaker=args.speaker), file)
                for u, file in rows
                if u.split == "dev" or (u.split == "train" and (u.text or "").lower() not in held_out)
            ],
        )
        keep(test, [(u._replace(speaker=None), file) for u, file in rows if u.split == "test"])
    return labelled, test


def without_transcripts(labelled: Path, folder: Path) -> Path:
    """Write the split train of a prepared folder without its transcripts."""
    if not folder.exists():
        rows = read_with_headers(labelled)
        keep(folder, [(u._replace(text=None), file) for u, file in rows if u.split == "train"])
    return folder


def self_trained(labelled: Path, unlabelled: Path, pretrained: Path, folder: Path, seed: int, texts: list[str]) -> None:
    """Train a recogniser with two rounds of self-training, unless it exists."""
    if (folder / REPORT).exists():
        return
    recipe = sori.recipes.by_name("ctc_10min").override({"train.seed": seed})
    if texts:
        recipe = recipe.override({"labels.texts": [texts[1].strip("[]")]})
    settings = SelfTrainingConfig(rounds=2, hours=None, kept=0.8, updates=1)
    self_train(recipe, into=folder, unlabelled=unlabelled, data=labelled, init=pretrained, settings=settings)


def report(speaker: str, into: Path) -> None:
    """Write and print the error rates of all recognisers scored so far."""
    rows: list[dict[str, Any]] = []
    for path in sorted(into.glob("*_*/test_*.json")):
        arm, seed = path.parent.name.split("_")
        found = read_json(path)
        row = {"arm": arm, "seed": int(seed), "decoding": path.stem.removeprefix("test_")}
        rows.append(row | {unit: found[unit] for unit in ("cer", "wer")})
        cer, wer = (found[unit] for unit in ("cer", "wer"))
        print(
            f"{arm:8} seed {seed} {row['decoding']:7} CER {cer['rate']:.1%} ({cer['low']:.1%} to {cer['high']:.1%}), "
            f"WER {wer['rate']:.1%} ({wer['low']:.1%} to {wer['high']:.1%})"
        )
    path = RESULTS / "same_speaker.json"
    every = read_json(path) if path.exists() else {}
    every[speaker] = {
        "command": f"python benchmarks/same_speaker.py {speaker}",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(path, every)


if __name__ == "__main__":
    main()
