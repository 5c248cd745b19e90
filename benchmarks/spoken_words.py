"""What vectors of spoken words are worth: do they tell words apart, and does the decoder need them at all?

    python benchmarks/spoken_words.py segments MBOSHI PREPARED    # its own alignments -> PREPARED/segments.jsonl
    python benchmarks/spoken_words.py measure RUN... --data PREPARED [--splits dev test]

For each run, on the words of the splits together: average precision of the same-different test over all pairs and over
pairs of different speakers, for the model, for random weights, and for cepstra; and the mean squared error of the
neighbours when the decoder begins with the right vector, with that of a random other segment, and with zeros. Results
are written to `benchmarks/results/spoken_words.json`.
"""

import argparse
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import torch

from sori.checkpoints import store
from sori.core.shapes import Frames
from sori.data.batches.sampler import DataConfig
from sori.data.batches.segment_pairs import SegmentBatches, SegmentConfig, keep
from sori.data.word_segments import SEGMENTS, Segment, write_segments
from sori.embeddings import spoken_words
from sori.evaluation.same_different import same_different
from sori.models.speech2vec import Speech2Vec
from sori.runs.tasks.word_segments import locate

RESULTS = Path(__file__).parent / "results" / "spoken_words.json"
STARTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "right vector": lambda z: z,
    "another's vector": lambda z: z[torch.randperm(len(z))],
    "zeros": torch.zeros_like,
}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    convert = verbs.add_parser("segments")
    convert.add_argument("mboshi", type=Path)
    convert.add_argument("prepared", type=Path)
    measured = verbs.add_parser("measure")
    measured.add_argument("runs", nargs="+", type=Path)
    measured.add_argument("--data", type=Path, required=True)
    measured.add_argument("--splits", nargs="+", default=["dev", "test"])
    asked = parser.parse_args()
    if asked.verb == "segments":
        with lzma.open(asked.mboshi / "alignments.jsonl.xz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        found = [Segment(row["id"], *times, word) for row in rows for *times, word in row["words"] if word != "SIL"]
        write_segments(asked.prepared / SEGMENTS, found)
        return
    report = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for run in asked.runs:
        report[run.name] = {"data": asked.data.name, "splits": asked.splits} | measure(run, asked.data, asked.splits)
        print(run.name, json.dumps(report[run.name], indent=1))
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(run: Path, data: Path, splits: list[str]) -> dict[str, object]:
    """All figures of one run."""
    system = spoken_words.needs_words(store.load(run), str(run))
    torch.manual_seed(0)
    fresh = Speech2Vec(system.config).eval()
    kinds = {"model": [spoken_words.hear(system, data=[data], split=split) for split in splits]}
    kinds["untrained"] = [spoken_words.hear(fresh, data=[data], split=split) for split in splits]
    said = [str(one.word) for heard in kinds["model"] for one in heard.segments]
    voices = [heard.utterances[one.utterance].speaker for heard in kinds["model"] for one in heard.segments]
    told: dict[str, object] = {"segments": len(said), "parameters": sum(p.numel() for p in system.parameters())}
    vectors = {name: torch.cat([heard.vectors for heard in parts]) for name, parts in kinds.items()}
    vectors |= cepstra(fresh, data, splits)
    for name, x in vectors.items():
        centred = x - x.mean(0)
        for how, y in (("", x), (", centred", centred)):
            everyone = same_different(y.numpy(), said)
            across = same_different(y.numpy(), said, speakers=voices)
            told[name + how] = {"all": everyone._asdict(), "across speakers": across._asdict()}
    return told | {"error": reconstruction(system, data, splits)}


def cepstra(system: Speech2Vec, data: Path, splits: list[str]) -> dict[str, torch.Tensor]:
    """What costs nothing: cepstra at ten places of each segment, and their mean, in the order of `words.hear`."""
    found: dict[str, list[torch.Tensor]] = {"sampled cepstra": [], "mean cepstra": []}
    for split in splits:
        heard = spoken_words.hear(system, data=[data], split=split)
        own: dict[str, list[Segment]] = {name: [] for name in heard.utterances}
        for one in heard.segments:
            own[one.utterance].append(one)
        for batch in spoken_words.batches(list(heard.utterances.values()), list(own.values())):
            x = system.segments(batch)
            found["sampled cepstra"].append(spoken_words.sampled(x))
            found["mean cepstra"].append(spoken_words.mean(x))
    return {name: torch.cat(parts) for name, parts in found.items()}


def reconstruction(system: Speech2Vec, data: Path, splits: list[str]) -> dict[str, float]:
    """Mean squared error of neighbours, by what the decoder begins with."""
    utterances, own = locate([data], SegmentConfig())
    rows = [row for row, u in enumerate(utterances) if u.split in splits]
    kept = keep([utterances[row] for row in rows], [own[row] for row in rows], SegmentConfig())
    batches = SegmentBatches(kept, SegmentConfig(), DataConfig(batch_seconds=60.0), seed=0)
    sums: dict[str, float] = {}
    for index in range(batches.num_batches):
        batch = batches[index]
        segments: Frames = system.segments(batch)
        torch.manual_seed(index)
        for name, change in STARTS.items():
            handle = system.decoder.register_forward_pre_hook(lambda _, given, f=change: (f(given[0]), *given[1:]))
            with torch.no_grad():
                found = system.objective(segments, batch.pairs)
            handle.remove()
            sums[name] = sums.get(name, 0.0) + float(found.total)
        for name, value in {"count": found.count, **found.terms}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return {name: value / sums["count"] for name, value in sums.items() if name != "count"}


if __name__ == "__main__":
    main()
