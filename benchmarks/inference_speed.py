"""Compare the time to transcribe in sori's precisions with transformers, and one core with all of them.

    python benchmarks/inference_speed.py [--threads 2] [--pairs 5]
    python benchmarks/inference_speed.py --model RECOGNISER --files FOLDER

Without `--model`: the forward pass of BASE with a CTC head, random weights, 4 x 10 s, in float32 and, where the
processor computes in it, in bfloat16, in turns with transformers (whose model is converted to bfloat16), and the limit:
the same number of operations at the speed of a matrix product measured beside it. With `--model`: a folder of
recordings (at most 200), transcribed by one thread of one core and by one for each core, greedily, in each precision.
Prints medians; writes `benchmarks/results/inference_speed.json`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from train_speed import cpu_name

import sori
from sori.core.audio import SAMPLE_RATE, info
from sori.core.files import write_text
from sori.core.precision import has_bfloat16
from sori.core.threads import num_at_a_time
from sori.inference.lower_precision import set_precision
from sori.inference.transcribe import transcribe_files
from sori.models import factory
from sori.models.ctc import Ctc, CtcConfig
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

BATCH, SECONDS = 4, 10
GIGAFLOP_PER_SECOND = 14.0
"""Operations of BASE for a second of audio, in 1e9: seven convolutions 7.2, positions 0.5, twelve blocks 6.3."""
MOST_FILES = 200
RESULT = Path(__file__).parent / "results" / "inference_speed.json"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--files", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found = {"base": base(args.pairs)} if args.model is None else {"folder": folder(args.model, args.files, args.pairs)}
    about = {"cpu": cpu_name(), "threads": args.threads, "torch": torch.__version__, "sori": sori.__version__}
    write_text(RESULT, json.dumps(before | {name: about | part for name, part in found.items()}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def base(pairs: int) -> dict[str, Any]:
    """Return the speeds of BASE in times real time, and their ratios."""
    torch.manual_seed(0)
    waveform = torch.randn(BATCH, SECONDS * SAMPLE_RATE)
    lengths = torch.full((BATCH,), SECONDS * SAMPLE_RATE)
    runs: dict[str, Callable[[], object]] = {}
    limits = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        if dtype is torch.bfloat16 and not has_bfloat16(waveform.device):
            continue
        ours, theirs = recogniser(), transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config()).eval().to(dtype)
        set_precision(ours, name)
        runs[f"sori {name}"] = lambda ours=ours: ours.logits(waveform, lengths)
        runs[f"transformers {name}"] = lambda theirs=theirs, dtype=dtype: theirs(waveform.to(dtype))
        limits[name] = round(product_speed(dtype) / GIGAFLOP_PER_SECOND, 1)
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for _ in range(pairs + 1):
            for name, run in runs.items():
                times[name].append(seconds(run))
    speeds = {name: round(BATCH * SECONDS / statistics.median(column[1:]), 1) for name, column in times.items()}
    ratios = {
        name: round(
            statistics.median(b / a for a, b in zip(times[f"sori {name}"], times[f"transformers {name}"], strict=True)),
            2,
        )
        for name in limits
    }
    return {"times_real_time": speeds, "limit": limits, "times_transformers": ratios}


def recogniser() -> Ctc:
    """Return BASE with a CTC head and random weights."""
    letters = Vocabulary.fit(["abcdefghijklmnopqrstuvwxyz ' "])
    made = factory.build(CtcConfig(), encoder=sizes.base(), vocabulary=letters)
    assert isinstance(made, Ctc)
    return made.eval()


def product_speed(dtype: torch.dtype) -> float:
    """Return the speed of a product of the blocks, in 1e9 operations per second."""
    left, right = torch.randn(2000, 768).to(dtype), torch.randn(768, 3072).to(dtype)
    times = [seconds(lambda: left @ right) for _ in range(20)]
    return 2 * 2000 * 768 * 3072 / statistics.median(times[5:]) / 1e9


def folder(model: Path, files: Path, pairs: int) -> dict[str, Any]:
    """Return the times to transcribe a folder, in seconds of wall clock."""
    paths = sorted(path for path in files.rglob("*") if path.suffix in (".flac", ".wav", ".mp3"))[:MOST_FILES]
    audio = sum(info(path).num_samples for path in paths) / SAMPLE_RATE
    result: dict[str, Any] = {"files": len(paths), "audio_seconds": round(audio)}
    for name in ("float32", "bfloat16") if has_bfloat16(torch.device("cpu")) else ("float32",):
        loaded = sori.load(model)
        set_precision(loaded, name)
        cores = torch.get_num_threads()
        times: dict[int, list[float]] = {1: [], num_at_a_time(loaded): []}
        for _ in range(pairs):
            for threads, column in times.items():
                torch.set_num_threads(1)
                column.append(
                    seconds(lambda n=threads, m=loaded: list(transcribe_files(m, paths, decoder=None, num_threads=n)))
                )
        torch.set_num_threads(cores)
        result[name] = {f"{n} at a time": round(statistics.median(column), 2) for n, column in times.items()}
        one, several = times.values()
        result[name]["ratio"] = round(statistics.median(a / b for a, b in zip(one, several, strict=True)), 2)
    return result


def seconds(run: Callable[[], object]) -> float:
    """Return the wall-clock seconds of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
