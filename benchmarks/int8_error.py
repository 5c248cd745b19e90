"""Compare error rates of a recogniser with a low error rate in float32, bfloat16 and 8-bit integers.

    python benchmarks/int8_error.py --into runs/int8

8-bit integers are for the Transformer of wav2vec 2.0, which `tiny` does not have. So this trains a recogniser with six
of its blocks on synthetic Swahili with transcripts (28 voices; 19 minutes on a core that another program used as well),
and scores it on eight other voices and other sentences, greedily. The same command continues. Writes
`benchmarks/results/int8_error.json`.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

import sori
from sori.checkpoints import store
from sori.core.precision import has_bfloat16, has_int8
from sori.core.processor import processor_name
from sori.data.preparation.prepare import prepare
from sori.evaluation import recognition
from sori.evaluation.error_rate import ErrorReport, compare
from sori.inference import eight_bits
from sori.inference.lower_precision import set_precision
from sori.models.ctc import Ctc
from sori.recipes import ctc, sizes
from sori.recipes.recipe import RecogniserRecipe
from sori.runs import run
from sori.synth import CorpusSize, speak_corpus

RESULTS = Path(__file__).parent / "results" / "int8_error.json"
SIZE = CorpusSize(num_labelled_voices=24, num_labelled_sentences=62, num_test_sentences=40)


def main() -> None:
    """Synthesise, train, score, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path("runs/int8"))
    into: Path = parser.parse_args().into
    recordings = into / "recordings"
    if not recordings.exists():
        speak_corpus(recordings, SIZE)
    for part in ("train", "dev", "test"):
        if not (into / part / "report.md").exists():
            prepare(recordings / part, into / part)
    run.train(recipe(), into=into / "recogniser", data=[into / "train", into / "dev"])
    exact = score(into)
    rounded = {"bfloat16": score(into, "bfloat16")} if has_bfloat16(torch.device("cpu")) else {}
    rounded |= {"int8": score(into, "int8")} if has_int8(torch.device("cpu")) else {}
    write(exact, rounded)


def recipe() -> RecogniserRecipe:
    """Return that of `tiny`, with blocks of a Transformer instead of convolutions, for all transcripts."""
    changes = {"labels.minutes": 120, "labels.speeds": [1.0], "labels.lm": "none"}
    changes |= {"train.num_steps": 2000, "train.evaluate_every": 500}
    blocks = {"conv_blocks": None, "num_layers": 6, "num_heads": 4, "ffn_dim": 576}
    blocks |= {"position_kernel": 31, "position_norm": True, "init": "width"}
    encoder = sizes.tiny().model_copy(update=blocks)
    return ctc.ctc_1h_scratch().override(changes).model_copy(update={"encoder": encoder})


def score(into: Path, precision: str = "float32") -> ErrorReport:
    """Return the error rates in one precision."""
    model = store.load(into / "recogniser")
    assert isinstance(model, Ctc)
    if precision == "int8":
        eight_bits.convert(model)
    elif precision == "bfloat16":
        set_precision(model, "bfloat16")
    return recognition.evaluate(model, data=into / "test", split=None, decoder=None)


def write(exact: ErrorReport, rounded: dict[str, ErrorReport]) -> None:
    """Print and write error rates, and their changes from those in float32."""
    rows: dict[str, Any] = {"float32": rates(exact)}
    for name, report in rounded.items():
        found = compare([report], [exact])
        texts = sum(a.hypothesis != b.hypothesis for a, b in zip(report.utterances, exact.utterances, strict=True))
        changed = {unit: [100 * part for part in found[unit].absolute] for unit in ("wer", "cer")}
        rows[name] = rates(report) | {"points_more": changed, "texts_that_differ": texts}
    about = {
        "command": "python benchmarks/int8_error.py",
        "machine": processor_name(),
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "utterances": len(exact.utterances),
        "words": exact.wer.edits.total,
    }
    print(json.dumps(rows, indent=1))
    RESULTS.write_text(json.dumps(about | {"precisions": rows}, indent=1) + "\n", encoding="utf-8")


def rates(report: ErrorReport) -> dict[str, float]:
    """Return the word and character error rates."""
    return {"wer": report.wer.rate, "cer": report.cer.rate}


if __name__ == "__main__":
    main()
