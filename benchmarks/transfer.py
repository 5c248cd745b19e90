"""Ask what ten minutes of a language are worth after other languages with transcripts, and without.

    python benchmarks/transfer.py --corpora CORPORA --data DATA --into runs/transfer --targets deu kor mdw eng

The case of a language with ten minutes of transcripts, beside one with hours of them. Arms:

- `scratch`: `ctc_10min_scratch`;
- `encoder`: `ctc_10min` from `tiny`, pre-trained on 28 h of English without transcripts (`librispeech.py`);
- `recogniser`: `ctc_10min` from a recogniser: the same encoder, trained on the 5.0 h with transcripts of Mini
  LibriSpeech (`ctc_1h` with all minutes and 6,000 updates). The rows of its output layer go on for letters that both
  languages have;
- `many`: likewise, from a recogniser trained on 17.7 h: also the transcribed part of Common Voice English,
  speechocean762, and 52 other languages of Common Voice (7 minutes of each; no German, and no Chinese and Japanese
  because of their thousands of characters; 8,000 updates).

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
from librispeech import RESULTS, evaluate, keep, prepare, texts_without, train

import cross_lingual
import sori
from sori.core.files import read_json, write_json
from sori.data.manifest import read_with_headers
from sori.evaluation.error_rate import ErrorReport, compare, error_rates

TARGETS = ("deu", "kor", "mdw", "eng")
SPEAKERS = {"deu": "kerstin", "eng": "kathleen"}
ARMS = ("scratch", "encoder", "recogniser", "many")
TRAINING = {"recogniser": ("300", "6000"), "many": ("1200", "8000")}
"""Minutes, more than there are, and updates of the recognisers to start from."""
NOT_AMONG_MANY = ("deu", "cmn", "yue", "jpn")


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
    starts = models(args, into / "english")
    for seed in args.seeds:
        for target in args.targets:
            labelled, test, more = folders(target, args, into)
            for arm in args.arms:
                folder = into / f"{target}_{arm}_{seed}"
                options = ["--train.seed", str(seed), *more]
                if arm == "scratch":
                    train("ctc_10min_scratch", labelled, folder, *options)
                else:
                    train("ctc_10min", labelled, folder, "--init", str(starts[arm]), *options)
                evaluate(folder, test, folder / "test_greedy.json", "--lm", "none")
                if target in SPEAKERS:
                    evaluate(folder, test, folder / "test_lm.json")
            report(into)
    report(into)


def models(args: Namespace, into: Path) -> dict[str, Path]:
    """Return the models that the arms start from, trained where they are missing."""
    labelled, _ = librispeech.labelled_folders(args.corpora, into / "data")
    found = {"encoder": into / "pretrained"}
    if not (found["encoder"] / "model").exists():
        rows = librispeech.english(args.corpora, args.data, into / "data")
        train("wav2vec2_tiny", librispeech.subset(rows, 28, into / "data"), found["encoder"])
    for name, (minutes, updates) in TRAINING.items():
        if name in args.arms:
            data = labelled if name == "recogniser" else many_languages(args, labelled, into / "data")
            settings = ("--labels.minutes", minutes, "--train.num-steps", updates, "--labels.lm", "none")
            found[name] = into / name
            train("ctc_1h", data, found[name], "--init", str(found["encoder"]), *settings)
    return found


def many_languages(args: Namespace, labelled: Path, into: Path) -> Path:
    """Write all transcribed speech of the arm `many` as a prepared folder; its dev split is that of `labelled`."""
    folder = into / "many"
    if not folder.exists():
        others = [
            prepare(args.corpora / "common-voice-english", into / "common-voice-english"),
            prepare(args.data / "speechocean762" / "manifest.jsonl", into / "speechocean762"),
            prepare(args.corpora / "common-voice-59", into / "common-voice-59"),
        ]
        rows = [(u._replace(id=f"labelled/{u.id}", language="eng"), file) for u, file in read_with_headers(labelled)]
        rows += [
            (u._replace(id=f"{other.name}/{u.id}", split="train"), file)
            for other in others
            for u, file in read_with_headers(other)
            if (u.text or "").strip()
            and u.language not in NOT_AMONG_MANY
            and not (u.split or "").startswith(("dev", "test"))
        ]
        keep(folder, rows)
    return folder


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
