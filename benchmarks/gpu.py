"""Measure sori on one GPU: pre-training, fine-tuning and inference of the published sizes, with compiled blocks or not.

    python benchmarks/gpu.py [--minutes 8] [--sizes base large xlsr_300m]
    python benchmarks/gpu.py --device cpu --sizes smoke       # to see that the script runs through

First runs the tests marked `gpu` (not with `--device cpu`). Then measures, for each size, until the time is up:

- a pre-training step (forward, backward, clipping, AdamW; bfloat16 autocast): seconds, hours of audio per hour, peak
  memory, and MFU, the counted floating-point operations of the step divided by time and by what the device can do;
- the same with the blocks compiled by `torch.compile`;
- a fine-tuning step on utterances of different lengths;
- recognition of one utterance, and of 64.

A measurement that fails is recorded with its error, and the others go on. Writes `benchmarks/results/gpu_<device>.json`
and prints it.
"""

import argparse
import json
import math
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import sori
from sori.core.batch import TextBatch, WaveformBatch
from sori.core.seeds import Rng
from sori.models.ctc import Ctc, CtcConfig
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.mask import MaskConfig
from sori.recipes import sizes
from sori.training.optim import OptimConfig, make_optimizer, scale_and_clip

RESULTS = Path(__file__).parent / "results"
SIZES = {
    "smoke": (sizes.smoke, 4, 4.0),
    "base": (sizes.base, 6, 14.6),
    "large": (sizes.large, 5, 15.0),
    "xlsr_300m": (sizes.xlsr_300m, 5, 15.0),
    "xlsr_1b": (sizes.xlsr_1b, 2, 15.0),
}
"""Configuration, utterances in a micro-batch, and seconds of each: the published micro-batches (1.3 M samples)."""
PEAK_TERAFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "RTX 4090": 165.0}
"""Dense bfloat16 products a second of NVIDIA's data sheets (SXM modules), by a word of the device's name."""
NUM_CLASSES = 32
WARM_UP, REPEATS = 3, 10
Step = Callable[[int], None]


def main() -> None:
    """Measure everything, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["base", "large", "xlsr_300m"])
    parser.add_argument("--minutes", type=float, default=8.0, help="no further measurement begins after these")
    parser.add_argument("--no-write", action="store_true", help="print only")
    args = parser.parse_args()
    device, end = torch.device(args.device), time.monotonic() + 60 * args.minutes
    torch.manual_seed(0)
    tests = None if device.type == "cpu" else run_tests()
    measured: dict[str, dict[str, Any]] = {}
    for size in args.sizes:
        for name, measure in MEASUREMENTS.items():
            if time.monotonic() < end:
                measured.setdefault(size, {})[name] = attempt(measure, size, device)
                print(size, name, measured[size][name], file=sys.stderr, flush=True)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "device": device_name(device),
        "peak_teraflops": peak(device),
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "tests": tests,
        "measured": measured,
    }
    print(json.dumps(result, indent=1))
    if not args.no_write:
        RESULTS.mkdir(exist_ok=True)
        slug = re.sub(r"[^a-z0-9]+", "_", device_name(device).lower()).strip("_")
        (RESULTS / f"gpu_{slug}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run_tests() -> str:
    """Run the tests marked `gpu` and return pytest's last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    return (found.stdout.strip().splitlines() or [found.stderr[-300:]])[-1]


def attempt(measure: Callable[[str, torch.device], dict[str, Any]], size: str, device: torch.device) -> dict[str, Any]:
    """Return what was measured, or the error."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        found = measure(size, device)
    except Exception as error:  # noqa: BLE001 - the others are to be measured all the same
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    if device.type == "cuda":
        found["peak_gibibytes"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


def pretraining(size: str, device: torch.device, *, compiled: bool = False) -> dict[str, Any]:
    """Measure a pre-training step."""
    config, rows, seconds = SIZES[size]
    model = Wav2Vec2(config().model_copy(update={"layerdrop": 0.0})).to(device).train()
    if compiled:
        for block in model.transformer.blocks:
            block.compile()
    samples = round(16_000 * seconds)
    batch = WaveformBatch(noise(rows, samples, device), torch.full((rows,), samples, device=device))
    step = update(model, lambda number: model.loss(batch, step=number, rng=Rng(0, number, 0, device)), device)
    return timed(step, device, audio=rows * seconds, count=not compiled)


def compiled_pretraining(size: str, device: torch.device) -> dict[str, Any]:
    """Measure a pre-training step with compiled blocks."""
    return pretraining(size, device, compiled=True)


def fine_tuning(size: str, device: torch.device) -> dict[str, Any]:
    """Measure a fine-tuning step on utterances of different lengths."""
    config, rows, seconds = SIZES[size]
    encoder = Wav2Vec2(config().model_copy(update={"layerdrop": 0.0}))
    model = Ctc(CtcConfig(mask=MaskConfig(time_prob=0.5)), encoder, num_classes=NUM_CLASSES).to(device).train()
    lengths = torch.linspace(0.6, 1.0, rows).mul(16_000 * seconds).long()
    letters = (lengths // 16_000 * 12).clamp(min=1)
    labels = torch.randint(1, NUM_CLASSES, (rows, int(letters.max())))
    waveform = noise(rows, int(lengths.max()), device)
    batch = TextBatch(waveform, lengths.to(device), labels.to(device), letters.to(device))
    step = update(model, lambda number: model.loss(batch, step=number, rng=Rng(0, number, 0, device)), device)
    return timed(step, device, audio=float(lengths.sum()) / 16_000)


def recognition(size: str, device: torch.device) -> dict[str, Any]:
    """Measure the recognition of one utterance of 10 s and of 64 (4 on a CPU)."""
    model = Ctc(CtcConfig(), Wav2Vec2(SIZES[size][0]()), num_classes=NUM_CLASSES).to(device).eval()
    found = {}
    for rows in (1, 64 if device.type == "cuda" else 4):
        waveform, lengths = noise(rows, 160_000, device), torch.full((rows,), 160_000, device=device)

        def step(_: int, waveform: torch.Tensor = waveform, lengths: torch.Tensor = lengths) -> None:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                model.logits(waveform, lengths).data.argmax(-1).cpu()

        found[f"batch of {rows}"] = timed(step, device, audio=10.0 * rows)
    return found


MEASUREMENTS: dict[str, Callable[[str, torch.device], dict[str, Any]]] = {
    "pre-training": pretraining,
    "pre-training, compiled": compiled_pretraining,
    "fine-tuning": fine_tuning,
    "recognition": recognition,
}


def noise(rows: int, samples: int, device: torch.device) -> torch.Tensor:
    """Return quiet noise as waveforms."""
    return 0.1 * torch.randn(rows, samples, device=device)


def update(model: torch.nn.Module, loss: Callable[[int], Any], device: torch.device) -> Step:
    """Return a function that updates the model once, as the training loop does."""
    optimizer = make_optimizer(model, OptimConfig(lr=1e-4))

    def step(number: int) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            found = loss(number)
        found.total.backward()
        scale_and_clip(model, scale=1 / float(found.count), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def timed(step: Step, device: torch.device, *, audio: float, count: bool = True) -> dict[str, Any]:
    """Return the median time of a step, its speed, and the fraction of the device's peak."""
    for number in range(WARM_UP):
        step(number)
    formulas = {torch.ops.aten.convolution_backward: conv_backward}
    with FlopCounterMode(display=False, custom_mapping=formulas) if count else nullcontext() as counter:
        step(WARM_UP)
    times = []
    for number in range(REPEATS):
        wait(device)
        began = time.perf_counter()
        step(WARM_UP + 1 + number)
        wait(device)
        times.append(time.perf_counter() - began)
    seconds = statistics.median(times)
    found: dict[str, Any] = {"seconds": round(seconds, 4), "hours_per_hour": round(audio / seconds, 1)}
    if counter is not None:
        teraflops = counter.get_total_flops() / seconds / 1e12
        found["teraflops"] = round(teraflops, 3)
        if (limit := peak(device)) is not None:
            found["mfu"] = round(teraflops / limit, 3)
    return found


def conv_backward(grad: list[int], _input: list[int], weight: list[int], *others: Any, **_: Any) -> int:
    """Return the operations of the gradients of a convolution: for each that is wanted, as many as forwards.

    torch 2.13 counts the weight's gradient as if the convolution had one group: the positional convolution of BASE,
    with 16 groups, would add a sixth to the operations of a step.

    Args:
        grad: shape of the gradient of the output, (batch, channel, frame ...).
        _input: shape of the input.
        weight: shape, (channel, input channels of a group, kernel ...).
        others: settings, of which the eighth tells whether the gradients of input and weight are wanted.
    """
    wanted = others[7]
    return 2 * grad[0] * math.prod(grad[2:]) * math.prod(weight) * (wanted[0] + wanted[1])


def wait(device: torch.device) -> None:
    """Wait for what the device has been asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or `cpu`."""
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type


def peak(device: torch.device) -> float | None:
    """Return the peak of the device in TFLOP/s, if it is known."""
    name = device_name(device)
    return next((limit for word, limit in PEAK_TERAFLOPS.items() if re.search(rf"\b{word}\b", name)), None)


if __name__ == "__main__":
    main()
