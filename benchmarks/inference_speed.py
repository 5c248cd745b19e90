"""Compare the time to transcribe in sori's precisions with transformers, and one core with all of them.

    python benchmarks/inference_speed.py [--threads 2] [--pairs 5] [--size base|xlsr_300m] [--into FILE]
    python benchmarks/inference_speed.py --model RECOGNISER --files FOLDER

Without `--model`: the forward pass of BASE or XLS-R 0.3B with a CTC head, random weights, 4 x 10 s, in each precision
that the processor computes in, in turns with transformers (in float32 and converted to bfloat16; 8-bit integers are
compared with the latter), and the limit: the same number of operations at the speed of a matrix product measured beside
it. Times are processor time with `--threads 1`, which other processes disturb less, else wall-clock time. With
`--model`: a folder of recordings (at most 200), transcribed by one thread of one core and by one for each core,
greedily, in each precision, in wall-clock time. Prints medians; adds them to a file, by default
`benchmarks/results/inference_speed.json`.
"""

import argparse
import copy
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
from sori.core.precision import has_bfloat16, has_int8
from sori.core.threads import num_at_a_time
from sori.inference.eight_bits import EightBitLinear, is_supported
from sori.inference.lower_precision import Int8Result, set_precision
from sori.inference.transcribe import transcribe_files
from sori.models import factory
from sori.models.ctc import Ctc, CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.eight_bit_rows import quantise
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

BATCH, SECONDS = 4, 10
MOST_FILES = 200
UNTESTED = Int8Result(words=0, wer=(0.0, 0.0), cer=(0.0, 0.0), times_faster=1.0)
"""What is measured here is the time alone."""
RESULT = Path(__file__).parent / "results" / "inference_speed.json"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--files", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--size", choices=["base", "xlsr_300m"], default="base")
    parser.add_argument("--into", type=Path, default=RESULT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    before = json.loads(args.into.read_text()) if args.into.exists() else {}
    if args.model is None:
        found = {args.size: forward(args.size, args.pairs)}
    else:
        found = {"folder": folder(args.model, args.files, args.pairs)}
    about = {"cpu": cpu_name(), "threads": args.threads, "torch": torch.__version__, "sori": sori.__version__}
    write_text(args.into, json.dumps(before | {name: about | part for name, part in found.items()}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def forward(size: str, pairs: int) -> dict[str, Any]:
    """Return the speeds of a forward pass in times real time, and their ratios."""
    torch.manual_seed(0)
    waveform = torch.randn(BATCH, SECONDS * SAMPLE_RATE)
    lengths = torch.full((BATCH,), SECONDS * SAMPLE_RATE)
    config = getattr(sizes, size)()
    runs: dict[str, Callable[[], object]] = {}
    limits: dict[str, float] = {}
    opponents = {"float32": "float32"}
    if has_bfloat16(waveform.device):
        opponents["bfloat16"] = "bfloat16"
    if has_int8(waveform.device):
        opponents["int8"] = "bfloat16" if "bfloat16" in opponents else "float32"
    exact = recogniser(config)
    for name, opponent in opponents.items():
        ours = copy.deepcopy(exact)
        set_precision(ours, name, int8=UNTESTED)
        runs[f"sori {name}"] = lambda ours=ours: ours.logits(waveform, lengths)
        if name == opponent:
            theirs, dtype = counterpart(config).to(getattr(torch, name)), getattr(torch, name)
            runs[f"transformers {name}"] = lambda theirs=theirs, dtype=dtype: theirs(waveform.to(dtype))
        limits[name] = round(product_speed(name, config) / gigaflop_per_second(config), 1)
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for _ in range(pairs + 1):
            for name, run in runs.items():
                times[name].append(seconds(run))
    speeds = {name: round(BATCH * SECONDS / statistics.median(column[1:]), 1) for name, column in times.items()}
    ratios = {}
    for name, opponent in opponents.items():
        columns = zip(times[f"sori {name}"][1:], times[f"transformers {opponent}"][1:], strict=True)
        ratios[name] = round(statistics.median(theirs / ours for ours, theirs in columns), 2)
    with torch.inference_mode():
        expected = exact.logits(waveform, lengths).data
        spread = (expected - expected.mean((0, 1))).norm()
        differences = {
            name: round(float((runs[f"sori {name}"]().data - expected).norm() / spread), 4) for name in opponents
        }
    return {"times_real_time": speeds, "limit": limits, "times_transformers": ratios, "difference": differences}


def recogniser(config: Wav2Vec2Config) -> Ctc:
    """Return an encoder with a CTC head and random weights."""
    letters = Vocabulary.fit(["abcdefghijklmnopqrstuvwxyz ' "])
    made = factory.build(CtcConfig(), encoder=config, vocabulary=letters)
    assert isinstance(made, Ctc)
    return made.eval()


def counterpart(config: Wav2Vec2Config) -> transformers.Wav2Vec2ForCTC:
    """Return the model of transformers with the same layers."""
    assert isinstance(config.front, ConvConfig)
    settings = transformers.Wav2Vec2Config(
        hidden_size=config.dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.ffn_dim,
        feat_extract_norm=config.front.norm,
        conv_bias=config.front.bias,
        do_stable_layer_norm=config.pre_norm,
    )
    return transformers.Wav2Vec2ForCTC(settings).eval()


def gigaflop_per_second(config: Wav2Vec2Config) -> float:
    """Return the number of operations for a second of audio, in 1e9, without activations and normalisations."""
    assert isinstance(config.front, ConvConfig)
    rate, inputs, total, dim = float(SAMPLE_RATE), 1, 0.0, config.dim
    for kernel, stride in zip(config.front.kernels, config.front.strides, strict=True):
        rate /= stride
        total += 2 * rate * kernel * inputs * config.front.dim
        inputs = config.front.dim
    total += 2 * rate * config.position_kernel * dim * dim / config.position_groups
    block = 2 * rate * (4 * dim * dim + 2 * dim * config.ffn_dim) + 4 * rate * rate * SECONDS * dim
    return (total + config.num_layers * block) / 1e9


def product_speed(precision: str, config: Wav2Vec2Config) -> float:
    """Return the speed of a product of the blocks, in 1e9 operations per second."""
    shape = 2000, config.dim, config.ffn_dim
    left, right = torch.randn(shape[0], shape[1]), torch.randn(shape[2], shape[1])
    if precision == "int8":
        layer, rows = EightBitLinear(right, None), quantise(left)
        times = [seconds(lambda: layer.sums(rows)) for _ in range(20)]
    else:
        left, right = left.to(getattr(torch, precision)), right.to(getattr(torch, precision))
        times = [seconds(lambda: torch.nn.functional.linear(left, right)) for _ in range(20)]
    return 2 * shape[0] * shape[1] * shape[2] / statistics.median(times[5:]) / 1e9


def folder(model: Path, files: Path, pairs: int) -> dict[str, Any]:
    """Return the times to transcribe a folder, in seconds of wall clock."""
    paths = sorted(path for path in files.rglob("*") if path.suffix in (".flac", ".wav", ".mp3"))[:MOST_FILES]
    audio = sum(info(path).num_samples for path in paths) / SAMPLE_RATE
    result: dict[str, Any] = {"files": len(paths), "audio_seconds": round(audio)}
    names = ["float32", *(["bfloat16"] if has_bfloat16(torch.device("cpu")) else [])]
    names += ["int8"] if has_int8(torch.device("cpu")) and is_supported(sori.load(model)) else []
    for name in names:
        loaded = sori.load(model)
        set_precision(loaded, name, int8=UNTESTED)
        cores = torch.get_num_threads()
        times: dict[int, list[float]] = {1: [], num_at_a_time(loaded): []}
        for _ in range(pairs):
            for threads, column in times.items():
                torch.set_num_threads(1)
                run = lambda n=threads, m=loaded: list(transcribe_files(m, paths, decoder=None, num_threads=n))  # noqa: E731
                column.append(seconds(run, time.perf_counter))
        torch.set_num_threads(cores)
        result[name] = {f"{n} at a time": round(statistics.median(column), 2) for n, column in times.items()}
        one, several = times.values()
        result[name]["ratio"] = round(statistics.median(a / b for a, b in zip(one, several, strict=True)), 2)
    return result


def seconds(run: Callable[[], object], clock: Callable[[], float] | None = None) -> float:
    """Return the seconds of a call; without a clock, of the one for forward passes."""
    if clock is None:
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    run()
    return clock() - began


if __name__ == "__main__":
    main()
