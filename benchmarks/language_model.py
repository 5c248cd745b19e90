"""Measure the benefit of a language model for recognisers of several seeds on one test set.

    python benchmarks/language_model.py RUN [RUN ...] --prepared PREPARED --texts TEXT [TEXT ...]

The 4-gram model is built from the transcripts of the train split and the given texts (n-grams of order 3 and 4 that
occur once are dropped). Its weights are tuned on dev with the last recogniser, and all recognisers are scored on test.
The interval of the change is from a paired bootstrap over speakers and seeds.

Writes `benchmarks/results/language_model.json`.
"""

import argparse
import json
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

import sori
from sori.checkpoints import store
from sori.data.manifest import read_manifest
from sori.data.utterances import transcribed
from sori.decoding.beam import BeamConfig
from sori.evaluation import lm_tuning, recognition
from sori.evaluation.error_rate import ErrorReport, compare
from sori.inference import lm_fusion
from sori.lm.fusion import FusionConfig
from sori.lm.kneser_ney import build

RESULTS = Path(__file__).parent / "results"
BEAM = 50


def main() -> None:
    """Build, tune, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="recognisers, one per seed")
    parser.add_argument("--prepared", type=Path, required=True, help="folder with splits train, dev and test")
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help=".txt, .gz, .xz")
    args = parser.parse_args()
    systems = [recognition.require_recogniser(store.load(name), name) for name in args.models]
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "words.arpa"
        transcripts = Path(folder) / "train.txt"
        lines = [u.text for u in read_manifest(args.prepared) if u.split == "train" and u.text]
        transcripts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        vocabulary = systems[-1].vocabulary
        built = build([transcripts, *args.texts], order=4, into=arpa, vocabulary=vocabulary, prune=(0, 0, 1))
        print(built.table())
        search = lm_fusion.decoder(systems[-1], arpa, BeamConfig(beam_size=BEAM))
        tuned = lm_tuning.tune(systems[-1], search, transcribed(args.prepared, "dev"))
        print(tuned.table())
        search = search.with_config(tuned.config)
        without = [recognition.evaluate(system, data=args.prepared, decoder=None) for system in systems]
        with_lm = [recognition.evaluate(system, data=args.prepared, decoder=search) for system in systems]
    change = compare(with_lm, without)
    for name, difference in change.items():
        low, high = difference.relative[1:]
        print(
            f"{name}: {difference.second:.1%} without, {difference.first:.1%} with: {difference.relative[0]:+.1%} "
            f"({low:+.1%} to {high:+.1%})"
        )
    about = {
        "command": "python benchmarks/language_model.py",
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "weights": {name: getattr(tuned.config, name) for name in (*FusionConfig.model_fields, "beam_size")},
        "without": [rates(report) for report in without],
        "with": [rates(report) for report in with_lm],
        "change": {name: asdict(difference) for name, difference in change.items()},
    }
    (RESULTS / "language_model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def rates(report: ErrorReport) -> dict[str, float]:
    """Return both error rates."""
    return {"wer": report.wer.rate, "cer": report.cer.rate}


if __name__ == "__main__":
    main()
