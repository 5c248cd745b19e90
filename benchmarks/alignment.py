"""Compare the word boundaries of `align_words` with published forced alignments.

    python benchmarks/alignment.py MODEL --sets english-tiny
    python benchmarks/alignment.py MODEL --sets "mboshi dev" "mboshi test"

The references are not manual: english-tiny, five read utterances aligned by pocketsphinx; mboshi, forced alignments of
its authors (one speaker each in dev and test). A set is skipped if its characters are not in the recogniser's
vocabulary. Reported for each set:

- median distance of starts and ends in milliseconds, median lag, fraction within 50 and 100 ms;
- where reference words are adjacent, the distance from their boundary to the middle of the gap between the aligned
  words, because CTC leaves gaps;
- as a baseline, the same for words spread over the recording in proportion to their number of characters;
- for several skip penalties: after a word from another utterance is inserted into each text, how often it is left out,
  and how many spoken words are left out.

Seconds are those of alignment alone. Writes `benchmarks/results/alignment.json`, in which the results of other sets are
kept.
"""

import argparse
import json
import lzma
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from sori.checkpoints import store
from sori.core import audio
from sori.decoding.forced_alignment import align_words
from sori.decoding.greedy import Word
from sori.models.ctc import Ctc

RESULTS = Path(__file__).parent / "results" / "alignment.json"
PENALTIES = (5.0, 10.0, 20.0, 40.0)
MIN_WRITABLE = 0.95


def model_size(model: Ctc) -> str:
    """Describe the size of the recogniser."""
    return f"{sum(p.numel() for p in model.parameters()):,} parameters, {model.num_classes} classes"


class Reference(NamedTuple):
    """An utterance with its reference alignment."""

    path: Path
    text: str
    words: list[Word]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=sorted(SETS), help="reference alignments")
    parser.add_argument("--utterances", type=int, help="maximum number of utterances of each set")
    args = parser.parse_args()
    model = store.load(args.model)
    if not isinstance(model, Ctc) or model.vocabulary is None:
        raise SystemExit(f"{args.model} is not a recogniser")
    model.eval()
    report = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    about = {"command": " ".join(["python benchmarks/alignment.py", Path(args.model).name, *sys.argv[2:]])}
    about |= {"model": model_size(model), "frame_ms": model.logit_hop_samples / 16}
    for penalty in (None, 1.0):  # compile
        align_words(torch.zeros(9, len(model.vocabulary)), "a", model.vocabulary, hop_samples=1.0, skip_penalty=penalty)
    for name in args.sets:
        references = list(SETS[name](args.data))[: args.utterances]
        symbols = [symbol for reference in references for symbol in model.vocabulary.split(reference.text)]
        writable = sum(symbol in model.vocabulary.symbols for symbol in symbols) / len(symbols)
        if writable < MIN_WRITABLE:
            print(f"{name} is skipped: only {writable:.0%} of its symbols are in the recogniser's vocabulary")
            continue
        report[name] = about | _measure(model, references)
        print(name, json.dumps(report[name], indent=1))
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _english_tiny(folder: Path) -> Iterator[Reference]:
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if (path := folder / "align" / f"{Path(row['audio']).stem}.phone.json").is_file():
            found = json.loads(path.read_text(encoding="utf-8"))["w"]
            spoken = [w for w in found if not w["t"].startswith(("<", "["))]
            words = [Word(w["t"].split("(")[0], float(w["b"]), float(w["b"] + w["d"])) for w in spoken]
            yield Reference(folder / row["audio"], " ".join(w.text for w in words), words)


def _mboshi(folder: Path, split: str) -> Iterator[Reference]:
    with lzma.open(folder / "alignments.jsonl.xz", "rt", encoding="utf-8") as file:
        aligned = {row["id"]: row["words"] for row in map(json.loads, file)}
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        words = [Word(text, start, end) for start, end, text in aligned.get(row["id"], ()) if text != "SIL"]
        if row["split"] == split and words and len(words) == len(row["text"].split()):
            yield Reference(folder / row["audio"], row["text"], words)


SETS: dict[str, Callable[[Path], Iterator[Reference]]] = {
    "english-tiny": lambda data: _english_tiny(data / "english-tiny"),
    "mboshi dev": lambda data: _mboshi(data / "mboshi", "dev"),
    "mboshi test": lambda data: _mboshi(data / "mboshi", "test"),
}


def _measure(model: Ctc, references: list[Reference]) -> dict[str, object]:
    assert model.vocabulary is not None
    ours, spread, confidence, between, between_spread = [], [], [], [], []
    seconds, recorded = 0.0, 0.0
    logits = []
    for reference in references:
        waveform = audio.read(reference.path)
        with torch.no_grad():
            logits.append(model.logits(waveform[None], torch.tensor([len(waveform)])).data[0])
        begin = time.perf_counter()
        found = align_words(logits[-1], reference.text, model.vocabulary, hop_samples=model.logit_hop_samples)
        seconds, recorded = seconds + time.perf_counter() - begin, recorded + len(waveform) / 16_000
        assert not found.skipped
        ours += list(zip(found.words, reference.words, strict=True))
        between += _between(found.words, reference.words)
        evenly = _spread(reference, len(waveform) / 16_000)
        spread += list(zip(evenly, reference.words, strict=True))
        between_spread += _between(evenly, reference.words)
        confidence += found.confidence
    return {
        "utterances": len(references),
        "words": len(ours),
        "recorded_seconds": round(recorded, 1),
        "alignment_seconds": round(seconds, 3),
        "median_confidence": round(statistics.median(confidence), 3),
        "aligned": _distances(ours) | _middle(between),
        "spread_evenly": _distances(spread) | _middle(between_spread),
        "planted_words": _planted(model, references, logits),
    }


def _spread(reference: Reference, duration: float) -> list[Word]:
    letters = [len(word.text) for word in reference.words]
    edges = [duration * sum(letters[:n]) / sum(letters) for n in range(len(letters) + 1)]
    return [Word(w.text, a, b) for w, a, b in zip(reference.words, edges, edges[1:], strict=False)]


def _between(own: list[Word], other: list[Word]) -> list[float]:
    """Return milliseconds from boundaries of adjacent reference words to the middle between the aligned words."""
    pairs = zip(own, own[1:], other, other[1:], strict=False)
    return [500 * (a.end + b.start) - 1000 * y.start for a, b, x, y in pairs if abs(x.end - y.start) < 1e-6]


def _middle(distances: list[float]) -> dict[str, float]:
    if not distances:
        return {}
    return {
        "borders": len(distances),
        "border_median_ms": round(statistics.median(map(abs, distances)), 1),
        "border_lag_ms": round(statistics.median(distances), 1),
    }


def _distances(pairs: list[tuple[Word, Word]]) -> dict[str, float]:
    starts = [1000 * (own.start - other.start) for own, other in pairs]
    ends = [1000 * (own.end - other.end) for own, other in pairs]
    both = [abs(distance) for distance in starts + ends]
    return {
        "median_ms": round(statistics.median(both), 1),
        "start_median_ms": round(statistics.median(map(abs, starts)), 1),
        "end_median_ms": round(statistics.median(map(abs, ends)), 1),
        "start_lag_ms": round(statistics.median(starts), 1),
        "end_lag_ms": round(statistics.median(ends), 1),
        "within_50_ms": round(sum(distance <= 50 for distance in both) / len(both), 3),
        "within_100_ms": round(sum(distance <= 100 for distance in both) / len(both), 3),
    }


def _planted(model: Ctc, references: list[Reference], all_logits: list[torch.Tensor]) -> list[dict[str, float]]:
    """Insert a word of another utterance into each text, five times, and count the words left out."""
    assert model.vocabulary is not None
    rows = []
    for penalty in PENALTIES:
        rng = random.Random(0)  # noqa: S311 - the same insertions for every penalty
        caught, lost, planted, spoken = 0, 0, 0, 0
        for reference, logits in zip(references * 5, all_logits * 5, strict=True):
            own = reference.text.split()
            foreign = rng.choice([w for r in references for w in r.text.split() if w not in own])
            place = rng.randrange(len(own) + 1)
            text = " ".join([*own[:place], foreign, *own[place:]])
            found = align_words(
                logits, text, model.vocabulary, hop_samples=model.logit_hop_samples, skip_penalty=penalty
            )
            caught += foreign in found.skipped
            lost += sum(word != foreign for word in found.skipped)
            planted, spoken = planted + 1, spoken + len(own)
        fractions = {"planted_skipped": round(caught / planted, 3), "spoken_skipped": round(lost / spoken, 3)}
        rows.append({"penalty_nats": penalty, **fractions})
    return rows


if __name__ == "__main__":
    main()
