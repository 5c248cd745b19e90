"""Evaluate vectors of spoken words: same-different test, and whether the decoder depends on them.

    python benchmarks/spoken_words.py segments MBOSHI PREPARED    # its alignments -> PREPARED/segments.jsonl
    python benchmarks/spoken_words.py measure RUN... --data PREPARED [--splits dev test]

For each run, on the words of all given splits: the average precision of the same-different test over all pairs and over
pairs of different speakers, for the model, for random weights, and for cepstra; and the mean squared error of predicted
neighbours when the decoder starts from the right vector, from that of a random other segment, and from zeros. Writes
`benchmarks/results/spoken_words.json`.
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
    """Parse, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    convert = verbs.add_parser("segments")
    convert.add_argument("mboshi", type=Path)
    convert.add_argument("prepared", type=Path)
    measured = verbs.add_parser("measure")
    measured.add_argument("runs", nargs="+", type=Path)
    measured.add_argument("--data", type=Path, required=True)
    measured.add_argument("--splits", nargs="+", default=["dev", "test"])
    args = parser.parse_args()
    if args.verb == "segments":
        with lzma.open(args.mboshi / "alignments.jsonl.xz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        found = [Segment(row["id"], *times, word) for row in rows for *times, word in row["words"] if word != "SIL"]
        write_segments(args.prepared / SEGMENTS, found)
        return
    report = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for run in args.runs:
        report[run.name] = {"data": args.data.name, "splits": args.splits} | measure(run, args.data, args.splits)
        print(run.name, json.dumps(report[run.name], indent=1))
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(run: Path, data: Path, splits: list[str]) -> dict[str, object]:
    """Measure one run."""
    system = spoken_words.require_speech2vec(store.load(run), str(run))
    torch.manual_seed(0)
    fresh = Speech2Vec(system.config).eval()
    kinds = {"model": [spoken_words.embed_segments(system, data=[data], split=split) for split in splits]}
    kinds["untrained"] = [spoken_words.embed_segments(fresh, data=[data], split=split) for split in splits]
    words = [str(one.word) for part in kinds["model"] for one in part.segments]
    speakers = [part.utterances[one.utterance].speaker for part in kinds["model"] for one in part.segments]
    results: dict[str, object] = {"segments": len(words), "parameters": sum(p.numel() for p in system.parameters())}
    vectors = {name: torch.cat([part.vectors for part in parts]) for name, parts in kinds.items()}
    vectors |= cepstra(fresh, data, splits)
    for name, x in vectors.items():
        centred = x - x.mean(0)
        for how, y in (("", x), (", centred", centred)):
            overall = same_different(y.numpy(), words)
            across = same_different(y.numpy(), words, speakers=speakers)
            results[name + how] = {"all": overall._asdict(), "across speakers": across._asdict()}
    return results | {"error": reconstruction(system, data, splits)}


def cepstra(system: Speech2Vec, data: Path, splits: list[str]) -> dict[str, torch.Tensor]:
    """Compute the baselines: ten cepstra of each segment, and their mean, in the order of `embed_segments`."""
    found: dict[str, list[torch.Tensor]] = {"sampled cepstra": [], "mean cepstra": []}
    for split in splits:
        embedded = spoken_words.embed_segments(system, data=[data], split=split)
        own: dict[str, list[Segment]] = {name: [] for name in embedded.utterances}
        for one in embedded.segments:
            own[one.utterance].append(one)
        for batch in spoken_words.batches(list(embedded.utterances.values()), list(own.values())):
            x = system.segments(batch)
            found["sampled cepstra"].append(spoken_words.sampled(x))
            found["mean cepstra"].append(spoken_words.mean(x))
    return {name: torch.cat(parts) for name, parts in found.items()}


def reconstruction(system: Speech2Vec, data: Path, splits: list[str]) -> dict[str, float]:
    """Compute the mean squared error of predicted neighbours, by the vector that the decoder starts from."""
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
