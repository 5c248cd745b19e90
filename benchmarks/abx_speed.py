"""Time of ABX on a task of the size of LibriSpeech dev-clean: synthetic phones and vectors, real caps.

    python benchmarks/abx_speed.py [--dims 768 39] [--ms 20 10] [--threads 2] [--hours 5.4]

Words of 40 phones, drawn as often as words are (Zipf), by 40 speakers; phones of 80 ms on average; the vector of each
frame is that of its phone, plus that of its speaker, plus noise. Distances, triples, seconds and error rates of each
width and frame rate, and the load of the machine, are stored in `benchmarks/results/abx_speed.json`.
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
    """Time, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[768, 39], help="width of the vectors, for each run")
    parser.add_argument("--ms", type=int, nargs="+", default=[20, 10], help="from frame to frame, for each run")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--hours", type=float, default=5.4)
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    phones, speakers = speech(random, asked.hours)
    start = time.perf_counter()
    planned = plan(find_items(phones, speakers))
    planning = time.perf_counter() - start
    print(f"{len(phones):,} utterances, {len(planned.chosen):,} items, planned in {planning:.1f} s", flush=True)
    rows = [
        timed(planned, phones, speakers, dim=dim, ms=ms, threads=asked.threads, random=random)
        for dim, ms in zip(asked.dims, asked.ms, strict=True)
    ]
    about: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load": [round(x, 2) for x in os.getloadavg()],
        "versions": {"sori": sori.__version__, "python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "numba")},
        "hours": asked.hours,
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
    """Phones of each utterance with times, and its speaker."""
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
    """One width and frame rate."""
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
    """`frame dim`: phone, speaker and noise."""
    sounds, voices = (random.standard_normal((num, dim)).astype(np.float32) for num in (NUM_PHONES + 1, NUM_SPEAKERS))
    ends = np.cumsum([len(times) for times in middles.values()])
    found = np.empty((int(ends[-1]), dim), dtype=np.float32)
    for number, row in enumerate(phones):
        here = found[ends[number] - len(middles[number]) : ends[number]]
        random.standard_normal(out=here, dtype=np.float32)
        place = np.searchsorted([end for _, end, _ in row], middles[number], side="right").clip(max=len(row) - 1)
        here *= 3
        here += sounds[np.array([phone for _, _, phone in row])[place]] + 0.5 * voices[speakers[number]]
    return found


if __name__ == "__main__":
    main()
