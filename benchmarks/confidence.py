"""Does confidence come true? Fitted on the dev split, judged on the test split, for every recogniser given.

    python benchmarks/confidence.py --data PREPARED --models runs/a runs/b --lm language.arpa.gz

Reads each text as the likeliest symbol of each frame and, with `--lm`, by beam search. Besides the calibrated
confidence and its two baselines, the table has: confidence without each of its features, from one feature alone;
for the first recogniser, confidence as it was fitted on the words of long recordings (all test utterances of a speaker
strung together, 0.6 s of silence between them), and what it costs to transcribe ten minutes with confidence. Model
folders are only read. Writes `benchmarks/results/confidence.json`.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sori
from sori.checkpoints import store
from sori.core.audio import SAMPLE_RATE, read
from sori.data.manifest import Utterance
from sori.data.utterances import transcribed
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.confidence import Confidence, feature_names
from sori.evaluation import recognition
from sori.evaluation.confidence_fit import logistic, measure, right_words
from sori.inference import calibrate, lm_fusion, transcribe
from sori.models.ctc import Ctc

RESULTS = Path(__file__).parent / "results"
SILENCE_SECONDS, MINUTES = 0.6, 10


def main() -> None:
    """Fit, judge, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with splits dev and test")
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--lm", type=Path)
    parser.add_argument("--lm-weight", type=float, default=0.75)
    parser.add_argument("--word-score", type=float, default=3.0)
    parser.add_argument("--beam-size", type=int, default=50)
    asked = parser.parse_args()
    config = BeamConfig(lm_weight=asked.lm_weight, word_score=asked.word_score, beam_size=asked.beam_size)
    splits = {split: transcribed(asked.data, split) for split in ("dev", "test")}
    rows, costs = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, name in enumerate(asked.models):
        model = recognition.require_recogniser(store.load(name), str(name))
        search = lm_fusion.decoder(model, asked.lm, config) if asked.lm else None
        for way, decoder in (("greedy", None), ("language model", search)) if search else (("greedy", None),):
            found, confidence = judged(model, splits, decoder, strung=number == 0)
            rows += [{"model": name.name, "read": way, **row} for row in found]
            for row in found:
                shown = "  ".join(f"{key} {row[key]:.3f}" for key in ("ece", "brier", "nce", "auc"))
                print(f"{name.name} {way}, {row['confidence']}: {row['words']:,} words  {shown}", flush=True)
            if number == 0:
                costs.append({"read": way, **cost(model, splits["test"], decoder, confidence)})
                print(costs[-1], flush=True)
            write({"search": config.model_dump(mode="json"), "rows": rows, "costs": costs})


def write(found: dict[str, Any]) -> None:
    """All that is known so far, with what it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": "python benchmarks/confidence.py",
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    (RESULTS / "confidence.json").write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")


def judged(
    model: Ctc, splits: dict[str, list[Utterance]], decoder: BeamDecoder | None, *, strung: bool
) -> tuple[list[dict[str, Any]], Confidence]:
    """Measures of confidence, baselines and parts; and the confidence."""
    dev, test = (calibrate.hear(model, splits[split], decoder) for split in ("dev", "test"))
    confidence = calibrate.fit(dev, decoder, {})
    stated = calibrate.judge(confidence, test).stated
    names = feature_names(decoder)
    means, scales = dev.features.mean(0), dev.features.std(0)
    for number, name in enumerate(names):
        rest = [other for other in range(len(names)) if other != number]
        for label, chosen in ((f"without {name}", rest), (f"{name} alone", [number])):
            first, second = (((one.features - means) / scales)[:, chosen] for one in (dev, test))
            weights, bias = logistic(first, dev.right)
            stated[label] = 1 / (1 + np.exp(-(second @ weights + bias)))
    parts = [name for name in stated if "alone" in name or "without" in name]  # intervals for what is compared only
    rows = [row(name, one, test, num_draws=1 if name in parts else 1000) for name, one in stated.items()]
    if strung:
        long = hear_strung(model, splits["test"], decoder)
        rows.append(row("calibrated, strung together", confidence.probability(long.features), long))
    return rows, confidence


def row(name: str, stated: np.ndarray, heard: calibrate.Heard, *, num_draws: int = 1000) -> dict[str, Any]:
    """One line of the table."""
    measured = asdict(measure(stated, heard.right, heard.groups, num_draws=num_draws))
    if num_draws == 1:
        del measured["ece_interval"], measured["nce_interval"]
    rounded = {key: np.round(value, 4).tolist() for key, value in measured.items()}
    return {"confidence": name, "words": len(heard.right), "right": round(float(heard.right.mean()), 4), **rounded}


def strung_together(utterances: Sequence[Utterance]) -> torch.Tensor:
    """One recording of many."""
    silence = torch.zeros(round(SILENCE_SECONDS * SAMPLE_RATE))
    waveforms = [read(u.path, start=u.start, duration=u.duration_seconds) for u in utterances]
    return torch.cat([part for waveform in waveforms for part in (waveform, silence)])


def hear_strung(model: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None) -> calibrate.Heard:
    """The words of each speaker's utterances as one recording."""
    assert model.vocabulary is not None
    normalise, features, right, groups = model.vocabulary.normalise, [], list[bool](), list[str]()
    for speaker in sorted({str(u.speaker) for u in utterances}):
        mine = [u for u in utterances if str(u.speaker) == speaker]
        waveform = strung_together(mine)
        found = list(transcribe.passages(model, waveform, sample_rate=SAMPLE_RATE, decoder=decoder, features=True))
        features += [one.features for one in found if one.features is not None]
        words = [normalise(word.text) for one in found for word in one.words]
        right += right_words(" ".join(normalise(u.text or "") for u in mine), words)
        groups += [speaker] * len(words)
    return calibrate.Heard(np.concatenate(features), np.array(right), groups, "speakers")


def cost(
    model: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None, confidence: Confidence
) -> dict[str, float]:
    """Processor seconds to transcribe ten minutes without and with confidence: the best of three, taken in turns."""
    waveform = strung_together(utterances)[: MINUTES * 60 * SAMPLE_RATE]
    best = {"without": float("inf"), "with": float("inf")}
    for _ in range(3):
        for name, one in (("without", None), ("with", confidence)):
            start = time.process_time()
            transcribe.transcribe(model, waveform, sample_rate=SAMPLE_RATE, decoder=decoder, confidence=one)
            best[name] = min(best[name], time.process_time() - start)
    return {f"seconds_{name}": round(seconds, 2) for name, seconds in best.items()}


if __name__ == "__main__":
    main()
