"""Ask what ten minutes of a language are worth after English with transcripts, and after English without.

    python benchmarks/transfer.py --corpora CORPORA --data DATA --into runs/transfer --targets deu kor mdw eng

The case of a language with ten minutes of transcripts, beside one with hours of them. Arms:

- `scratch`: `ctc_10min_scratch`;
- `encoder`: `ctc_10min` from `tiny`, pre-trained on 28 h of English without transcripts (`librispeech.py`);
- `recogniser`: `ctc_10min` from a recogniser: the same encoder, trained on the 4.6 h with transcripts of Mini
  LibriSpeech (`ctc_1h` with all minutes and 6,000 updates). The rows of its output layer go on for letters that both
  languages have.

Targets: `deu`, one German speaker (kerstin-german); `kor`, Korean (emotiontts-korean); `mdw`, Mboshi; `eng`, one
English speaker (kathleen-english), for whom English is not another language. Splits and test sets are those of
`same_speaker.py` and `cross_lingual.py`. Scored greedily, the two speakers also with the language model of each
recogniser: n-grams of its ten minutes, and for `eng` of `text-english` without the documents that the test reads from.

The same command continues an interrupted benchmark. Writes `benchmarks/results/transfer.json`.
"""

import argparse
import os
import platform
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import librispeech
import same_speaker
import torch
from librispeech import RESULTS, evaluate, texts_without, train

import cross_lingual
import sori
from sori.core.files import read_json, write_json
from sori.evaluation.error_rate import ErrorReport, compare, error_rates

TARGETS = ("deu", "kor", "mdw", "eng")
SPEAKERS = {"deu": "kerstin", "eng": "kathleen"}
ARMS = ("scratch", "encoder", "recogniser")
FIVE_HOURS = ("--labels.minutes", "300", "--train.num-steps", "6000", "--labels.lm", "none")


def main() -> None:
    """Run every unfinished stage, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder of bring.py")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of fine-tuning")
    args = parser.parse_args()

    into: Path = args.into
    encoder, recogniser = english_models(args, into / "english")
    starts = {"scratch": None, "encoder": encoder, "recogniser": recogniser}
    for seed in args.seeds:
        for target in args.targets:
            labelled, test, more = folders(target, args, into)
            for arm in args.arms:
                folder = into / f"{target}_{arm}_{seed}"
                options = ["--train.seed", str(seed), *more]
                if starts[arm] is None:
                    train("ctc_10min_scratch", labelled, folder, *options)
                else:
                    train("ctc_10min", labelled, folder, "--init", str(starts[arm]), *options)
                evaluate(folder, test, folder / "test_greedy.json", "--lm", "none")
                if target in SPEAKERS:
                    evaluate(folder, test, folder / "test_lm.json")
            report(into)
    report(into)


def english_models(args: Namespace, into: Path) -> tuple[Path, Path]:
    """Return the pre-trained encoder and the recogniser trained from it, both of English."""
    labelled, _ = librispeech.labelled_folders(args.corpora, into / "data")
    encoder, recogniser = into / "pretrained", into / "recogniser"
    if not (encoder / "model").exists():
        rows = librispeech.english(args.corpora, args.data, into / "data")
        train("wav2vec2_tiny", librispeech.subset(rows, 28, into / "data"), encoder)
    train("ctc_1h", labelled, recogniser, "--init", str(encoder), *FIVE_HOURS)
    return encoder, recogniser


def folders(target: str, args: Namespace, into: Path) -> tuple[Path, Path, list[str]]:
    """Return the prepared folders with the splits train and dev, and test, and options of training."""
    if target not in SPEAKERS:
        folder = cross_lingual.prepare(target, args.data, into)
        return folder, folder, ["--labels.lm", "none"]
    speaker = SPEAKERS[target]
    labelled, test = same_speaker.folders(Namespace(**vars(args), speaker=speaker), into / "data" / speaker)
    if target != "eng":
        return labelled, test, []
    texts = texts_without(test, sorted((args.data / "text-english").glob("*.xz")), into / "data" / speaker)
    return labelled, test, ["--labels.texts", f"[{texts}]"]


def report(into: Path) -> None:
    """Write and print the error rates of all recognisers scored so far, and the paired changes over all seeds."""
    found: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for path in sorted(into.glob("*_*_*/test_*.json")):
        target, arm, seed = path.parent.name.split("_")
        found.setdefault((target, path.stem.removeprefix("test_"), arm), {})[int(seed)] = read_json(path)
    rows: list[dict[str, Any]] = []
    for (target, decoding, arm), seeds in found.items():
        row: dict[str, Any] = {"target": target, "decoding": decoding, "arm": arm, "seeds": list(seeds)}
        row |= {unit: [one[unit] for one in seeds.values()] for unit in ("cer", "wer")}
        row["against"] = {}
        for other in ARMS[: ARMS.index(arm)]:
            others = found.get((target, decoding, other), {})
            both = seeds.keys() & others.keys()
            if both:
                sides = [[scored(of[seed]) for seed in sorted(both)] for of in (seeds, others)]
                row["against"][other] = {unit: asdict(one) for unit, one in compare(*sides).items()}
        rows.append(row)
        rates = ", ".join(
            f"{unit.upper()} " + " / ".join(f"{one['rate']:.1%}" for one in row[unit]) for unit in ("cer", "wer")
        )
        print(f"{target} {decoding:6} {arm:10} {rates}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": "python benchmarks/transfer.py",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    write_json(RESULTS / "transfer.json", about | {"rows": rows})


def scored(stored: dict[str, Any]) -> ErrorReport:
    """Return the report of a stored evaluation."""
    rows = stored["utterances"]
    texts = ([row["reference"] for row in rows], [row["hypothesis"] for row in rows])
    return error_rates(*texts, [row.get("speaker") for row in rows])


if __name__ == "__main__":
    main()
