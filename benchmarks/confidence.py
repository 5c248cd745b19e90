"""Evaluate the calibration of word confidence, fitted on the dev split, on the test split, for each recogniser.

    python benchmarks/confidence.py --data PREPARED --models runs/a runs/b --lm language.arpa.gz

Decodes greedily and, with `--lm`, by beam search. Besides the calibrated confidence and its two baselines, the table
has confidence without each feature and with one feature alone. For the first recogniser, it also has the calibrated
confidence on long recordings (all test utterances of a speaker concatenated with 0.6 s of silence) and the time to
transcribe ten minutes with confidence. Model folders are not changed. Writes `benchmarks/results/confidence.json`.
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
    """Fit, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with splits dev and test")
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--lm", type=Path)
    parser.add_argument("--lm-weight", type=float, default=0.75)
    parser.add_argument("--word-score", type=float, default=3.0)
    parser.add_argument("--beam-size", type=int, default=50)
    args = parser.parse_args()
    config = BeamConfig(lm_weight=args.lm_weight, word_score=args.word_score, beam_size=args.beam_size)
    splits = {split: transcribed(args.data, split) for split in ("dev", "test")}
    rows, costs = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, name in enumerate(args.models):
        model = recognition.require_recogniser(store.load(name), str(name))
        search = lm_fusion.decoder(model, args.lm, config, known_words_only=True) if args.lm else None
        for decoding, decoder in (("greedy", None), ("language model", search)) if search else (("greedy", None),):
            found, confidence = evaluate(model, splits, decoder, with_long=number == 0)
            rows += [{"model": name.name, "read": decoding, **row} for row in found]
            for row in found:
                shown = "  ".join(f"{key} {row[key]:.3f}" for key in ("ece", "brier", "nce", "auc"))
                print(f"{name.name} {decoding}, {row['confidence']}: {row['words']:,} words  {shown}", flush=True)
            if number == 0:
                costs.append({"read": decoding, **cost(model, splits["test"], decoder, confidence)})
                print(costs[-1], flush=True)
            write({"search": config.model_dump(mode="json"), "rows": rows, "costs": costs})


def write(found: dict[str, Any]) -> None:
    """Write all results so far, with the machine and the versions."""
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": "python benchmarks/confidence.py",
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    (RESULTS / "confidence.json").write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")


def evaluate(
    model: Ctc, splits: dict[str, list[Utterance]], decoder: BeamDecoder | None, *, with_long: bool
) -> tuple[list[dict[str, Any]], Confidence]:
    """Return the metrics of the confidence, its baselines and ablations; and the confidence."""
    dev, test = (calibrate.recognise(model, splits[split], decoder) for split in ("dev", "test"))
    confidence = calibrate.fit(dev, decoder, {})
    probabilities = calibrate.evaluate(confidence, test).probabilities
    names = feature_names(decoder)
    means, scales = dev.features.mean(0), dev.features.std(0)
    for number, name in enumerate(names):
        rest = [other for other in range(len(names)) if other != number]
        for label, chosen in ((f"without {name}", rest), (f"{name} alone", [number])):
            first, second = (((one.features - means) / scales)[:, chosen] for one in (dev, test))
            weights, bias = logistic(first, dev.correct)
            probabilities[label] = 1 / (1 + np.exp(-(second @ weights + bias)))
    ablations = [name for name in probabilities if "alone" in name or "without" in name]  # these need no intervals
    rows = [row(name, one, test, num_draws=1 if name in ablations else 1000) for name, one in probabilities.items()]
    if with_long:
        long = recognise_long(model, splits["test"], decoder)
        rows.append(row("calibrated, strung together", confidence.probability(long.features), long))
    return rows, confidence


def row(
    name: str, probabilities: np.ndarray, words: calibrate.RecognisedWords, *, num_draws: int = 1000
) -> dict[str, Any]:
    """Compute one row of the table."""
    measured = asdict(measure(probabilities, words.correct, words.groups, num_draws=num_draws))
    if num_draws == 1:
        del measured["ece_interval"], measured["nce_interval"]
    rounded = {key: np.round(value, 4).tolist() for key, value in measured.items()}
    return {"confidence": name, "words": len(words.correct), "right": round(float(words.correct.mean()), 4), **rounded}


def concatenated(utterances: Sequence[Utterance]) -> torch.Tensor:
    """Concatenate utterances with silence between them."""
    silence = torch.zeros(round(SILENCE_SECONDS * SAMPLE_RATE))
    waveforms = [read(u.path, start=u.start, duration=u.duration_seconds) for u in utterances]
    return torch.cat([part for waveform in waveforms for part in (waveform, silence)])


def recognise_long(
    model: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None
) -> calibrate.RecognisedWords:
    """Recognise the utterances of each speaker as one long recording."""
    assert model.vocabulary is not None
    normalise, features, correct, groups = model.vocabulary.normalise, [], list[bool](), list[str]()
    for speaker in sorted({str(u.speaker) for u in utterances}):
        own = [u for u in utterances if str(u.speaker) == speaker]
        chunks = list(
            transcribe.transcribe_chunks(
                model, concatenated(own), sample_rate=SAMPLE_RATE, decoder=decoder, features=True
            )
        )
        features += [chunk.features for chunk in chunks if chunk.features is not None]
        words = [normalise(word.text) for chunk in chunks for word in chunk.words]
        correct += right_words(" ".join(normalise(u.text or "") for u in own), words)
        groups += [speaker] * len(words)
    return calibrate.RecognisedWords(np.concatenate(features), np.array(correct), groups, "speakers")


def cost(
    model: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None, confidence: Confidence
) -> dict[str, float]:
    """Measure CPU seconds to transcribe ten minutes without and with confidence: the best of three, alternating."""
    waveform = concatenated(utterances)[: MINUTES * 60 * SAMPLE_RATE]
    best = {"without": float("inf"), "with": float("inf")}
    for _ in range(3):
        for name, one in (("without", None), ("with", confidence)):
            start = time.process_time()
            transcribe.transcribe(model, waveform, sample_rate=SAMPLE_RATE, decoder=decoder, confidence=one)
            best[name] = min(best[name], time.process_time() - start)
    return {f"seconds_{name}": round(seconds, 2) for name, seconds in best.items()}


if __name__ == "__main__":
    main()
