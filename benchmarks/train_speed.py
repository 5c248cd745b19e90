"""Compare the time of a pre-training step of BASE in sori and in transformers.

    python benchmarks/train_speed.py [--batch 4] [--seconds 10] [--threads 2] [--pairs 5]

A step is forward, backward, clipping and AdamW under bfloat16 autocast, with the published dropouts (LayerDrop off, so
that all steps cost the same). Each pair runs both in one process, in alternating order; the result is the median ratio
of the pairs, which is robust to other load. Then profiles one step of sori and measures the speed of `tiny`. Writes
`benchmarks/results/train_speed_<cpu>_<yyyymm>.json`.
"""

import argparse
import datetime as dt
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

import sori
from sori.core.batch import WaveformBatch
from sori.core.seeds import Rng
from sori.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from sori.recipes import sizes

RESULTS = Path(__file__).parent / "results"
Step = Callable[[int], None]

# Operations by kind; all others are "other".
KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "convolution": ("convolution", "mkldnn_convolution", "convolution_backward"),
    "activations and softmax": ("gelu", "softmax", "log_softmax", "logsumexp", "exp"),
    "normalisation": ("layer_norm", "linalg_vector_norm", "group_norm"),
    "random numbers": ("random", "exponential", "bernoulli", "ge"),
    "optimiser": ("fused_adamw", "foreach"),
    "copies and casts": ("copy", "clone", "cat", "contiguous", "fill", "zero", "empty", "to"),
    "sums and products": ("add", "mul", "div", "sum", "sub", "neg", "pow", "mean"),
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="print only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    audio = args.batch * args.seconds
    samples = round(args.seconds * 16_000)
    base = sizes.base().model_copy(update={"layerdrop": 0.0})
    ours, theirs = our_step(base, args.batch, samples), their_step(args.batch, samples)
    pairs = in_turns(ours, theirs, args.pairs)
    ratios = [their_seconds / our_seconds for our_seconds, their_seconds in pairs]
    result: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "cpu": cpu_name(),
        "threads": args.threads,
        "versions": {
            "sori": sori.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "step": f"BASE, {args.batch} x {args.seconds:g} s, bfloat16 autocast, forward + backward + AdamW",
        "seconds_ours": [round(pair[0], 2) for pair in pairs],
        "seconds_transformers": [round(pair[1], 2) for pair in pairs],
        "times_faster_median": round(statistics.median(ratios), 2),
        "times_faster_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "times_real_time_ours": round(audio / statistics.median(pair[0] for pair in pairs), 1),
        "times_real_time_transformers": round(audio / statistics.median(pair[1] for pair in pairs), 1),
        "share_of_our_step": profiled(ours),
    }
    del ours, theirs
    result["tiny_times_real_time"] = round(tiny_speed(), 1)
    print(json.dumps(result, indent=2))
    if not args.no_write:
        RESULTS.mkdir(exist_ok=True)
        slug = re.sub(r"[^a-z0-9]+", "_", cpu_name().lower()).strip("_")
        path = RESULTS / f"train_speed_{slug}_{dt.datetime.now(tz=dt.UTC):%Y%m}.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print("wrote", path)


def our_step(config: Wav2Vec2Config, batch_size: int, samples: int) -> Step:
    """Return a function that runs one update of sori."""
    model = Wav2Vec2(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    batch = WaveformBatch(0.1 * torch.randn(batch_size, samples), torch.full((batch_size,), samples))

    def step(number: int) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            out = model.loss(batch, step=number, rng=Rng(0, number))
        update(out.total / out.count, model, optimizer)

    return step


def their_step(batch_size: int, samples: int) -> Step:
    """Return a function that runs one update of transformers, with its helpers for masks and distractors."""
    config = transformers.Wav2Vec2Config(
        hidden_dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.0,
        feat_proj_dropout=0.1,
        feat_quantizer_dropout=0.1,
        layerdrop=0.0,
    )
    model = transformers.Wav2Vec2ForPreTraining(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    waveform = 0.1 * torch.randn(batch_size, samples)
    shape = (batch_size, (samples - 400) // 320 + 1)

    def step(number: int) -> None:
        model.set_gumbel_temperature(2.0 * 0.999995**number)
        mask = _compute_mask_indices(shape, 0.65, 10, min_masks=2)
        negatives = _sample_negative_indices(shape, 100, mask)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(
                waveform,
                mask_time_indices=torch.from_numpy(mask),
                sampled_negative_indices=torch.from_numpy(negatives),
            )
        update(out.loss / mask.sum(), model, optimizer)

    return step


def update(loss: torch.Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Run backward, clipping and AdamW."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def in_turns(ours: Step, theirs: Step, num_pairs: int) -> list[tuple[float, float]]:
    """Return seconds of ours and of theirs, pair by pair, after a warm-up step of each."""
    for step in (ours, theirs):
        step(0)
    pairs = []
    for number in range(1, num_pairs + 1):
        seconds = {}
        for step in (ours, theirs) if number % 2 else (theirs, ours):
            begin = time.perf_counter()
            step(number)
            seconds[step] = time.perf_counter() - begin
        pairs.append((seconds[ours], seconds[theirs]))
        print(f"pair {number}: ours {seconds[ours]:.2f} s, transformers {seconds[theirs]:.2f} s", flush=True)
    return pairs


def profiled(step: Step) -> dict[str, float]:
    """Return the fraction of a step's time by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        step(0)
    totals = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in record.key_averages():
        name = event.key.removeprefix("aten::").strip("_").removesuffix("_data").removesuffix("_backward")
        name = name.removeprefix("native_").strip("_")
        kind = next((kind for kind, names in KINDS.items() if name in names), "other")
        totals[kind] += event.self_cpu_time_total
    whole = sum(totals.values())
    return {kind: round(value / whole, 3) for kind, value in totals.items()}


def tiny_speed() -> float:
    """Return seconds of audio that `tiny` processes per second of training: batches of 96 s, median of ten updates."""
    step = our_step(sizes.tiny(), 12, 8 * 16_000)
    step(0)
    seconds = []
    for number in range(10):
        begin = time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - begin)
    return 96 / statistics.median(seconds)


def cpu_name() -> str:
    """Return the name of the CPU from the operating system."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
