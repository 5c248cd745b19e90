"""Measure the time of ABX on synthetic phones and vectors, at the size of LibriSpeech dev-clean and with its caps.

    python benchmarks/abx_speed.py [--dims 768 39] [--ms 20 10] [--threads 2] [--hours 5.4]

Words are made of 40 phones and drawn with Zipf's frequencies, by 40 speakers; phones last 80 ms on average. The vector
of a frame is the sum of a phone vector, a speaker vector and noise. Writes distances, triples, seconds and error rates
for each width and frame shift, and the load of the machine, to `benchmarks/results/abx_speed.json`.
"""

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sori
from sori.evaluation.abx import Abx, Plan, find_items, plan, score, spans_of

RESULTS = Path(__file__).parent / "results" / "abx_speed.json"
NUM_PHONES, NUM_SPEAKERS, NUM_WORDS = 40, 40, 8000
UTTERANCE_SECONDS, PHONE_SECONDS, PAUSE_SHARE = 7.2, 0.08, 0.15


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[768, 39], help="width of the vectors in each run")
    parser.add_argument("--ms", type=int, nargs="+", default=[20, 10], help="frame shift in milliseconds in each run")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--hours", type=float, default=5.4)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    phones, speakers = speech(random, args.hours)
    start = time.perf_counter()
    planned = plan(find_items(phones, speakers))
    planning = time.perf_counter() - start
    print(f"{len(phones):,} utterances, {len(planned.chosen):,} items, planned in {planning:.1f} s", flush=True)
    rows = [
        timed(planned, phones, speakers, dim=dim, ms=ms, threads=args.threads, random=random)
        for dim, ms in zip(args.dims, args.ms, strict=True)
    ]
    about: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load": [round(x, 2) for x in os.getloadavg()],
        "versions": {"sori": sori.__version__, "python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "numba")},
        "hours": args.hours,
        "speakers": NUM_SPEAKERS,
        "phones": sum(one[2] >= 0 for row in phones for one in row),
        "items": len(planned.chosen),
        "seconds_to_plan": round(planning, 2),
        "rows": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(f"written: {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS.name}")


def speech(random: np.random.Generator, hours: float) -> tuple[list[list[tuple[float, float, int]]], list[int]]:
    """Generate the phones of each utterance with their times, and its speaker."""
    frequency = 1 / np.arange(3, NUM_PHONES + 3)
    words = [random.choice(NUM_PHONES, random.integers(2, 8), p=frequency / frequency.sum()) for _ in range(NUM_WORDS)]
    use = 1 / np.arange(3, NUM_WORDS + 3)
    use /= use.sum()
    phones, speakers = [], []
    for number in range(round(hours * 3600 / UTTERANCE_SECONDS)):
        row: list[tuple[float, float, int]] = []
        here = 0.0
        while here < UTTERANCE_SECONDS:
            silent = random.random() < PAUSE_SHARE / 2
            for phone in [-1] if silent else words[random.choice(NUM_WORDS, p=use)]:
                end = here + max(0.03, PHONE_SECONDS * random.gamma(4.0) / 4)
                row.append((here, end, int(phone)))
                here = end
        phones.append(row)
        speakers.append(number % NUM_SPEAKERS)
    return phones, speakers


def timed(
    planned: Plan,
    phones: list[list[tuple[float, float, int]]],
    speakers: list[int],
    *,
    dim: int,
    ms: int,
    threads: int,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Measure one width and frame shift."""
    counts = np.array([int(row[-1][1] * 1000 / ms) for row in phones])
    middles = {number: (np.arange(count) + 0.5) * ms / 1000 for number, count in enumerate(counts)}
    frames = vectors(phones, speakers, middles, dim=dim, random=random)
    start = time.perf_counter()
    spans = spans_of(planned.chosen, middles, np.cumsum(counts) - counts)
    spanned = time.perf_counter() - start
    score(plan([]), frames, np.zeros((0, 2), dtype=np.int64), num_threads=threads)
    small = plan(planned.chosen[:2000])
    score(small, frames, spans_of(small.chosen, middles, np.cumsum(counts) - counts), num_threads=threads)  # compiles
    start, work = time.perf_counter(), time.process_time()
    found: Abx = score(planned, frames, spans, num_threads=threads)
    wall, work = time.perf_counter() - start, time.process_time() - work
    assert found.within is not None
    assert found.across is not None
    row: dict[str, Any] = {"dim": dim, "frame_ms": ms, "frames": len(frames), "threads": threads}
    row |= {"frames_per_item": round(float(np.diff(spans, axis=1).mean()), 1), "seconds_for_spans": round(spanned, 2)}
    row |= {"seconds": round(wall, 1), "processor_seconds": round(work, 1)}
    for name, one in (("within", found.within), ("across", found.across)):
        row |= {f"{name}_distances": one.num_distances, f"{name}_triples": one.num_triples}
        row |= {f"{name}_cells": one.num_cells, f"{name}_error": round(one.error.value, 4)}
    print(json.dumps(row), flush=True)
    return row


def vectors(
    phones: list[list[tuple[float, float, int]]],
    speakers: list[int],
    middles: dict[int, NDArray[np.float64]],
    *,
    dim: int,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Generate vectors, `frame dim`: the sum of a phone vector, a speaker vector and noise."""
    phone_vectors, speaker_vectors = (
        random.standard_normal((num, dim)).astype(np.float32) for num in (NUM_PHONES + 1, NUM_SPEAKERS)
    )
    ends = np.cumsum([len(times) for times in middles.values()])
    found = np.empty((int(ends[-1]), dim), dtype=np.float32)
    for number, row in enumerate(phones):
        here = found[ends[number] - len(middles[number]) : ends[number]]
        random.standard_normal(out=here, dtype=np.float32)
        place = np.searchsorted([end for _, end, _ in row], middles[number], side="right").clip(max=len(row) - 1)
        here *= 3
        here += phone_vectors[np.array([phone for _, _, phone in row])[place]] + 0.5 * speaker_vectors[speakers[number]]
    return found


if __name__ == "__main__":
    main()
