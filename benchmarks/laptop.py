"""Measure time, memory and disk of the recipe that fine-tunes a public model of 300 M parameters on a laptop.

    python benchmarks/laptop.py --data PREPARED --into FOLDER [--updates 24] [--minutes 10] [--cores 2]

PREPARED is speechocean762 (`sori prepare speechocean762/manifest.jsonl PREPARED`). The model has the layout of XLS-R
0.3B and random weights, which change neither time nor memory. One process with one thread computes the frozen blocks of
`--minutes` of the labels at each speed, makes `--updates` updates of `ctc_10min_xlsr_laptop`, and evaluates part of the
dev split; all else is as in the recipe. The hours of the whole recipe are extrapolated from the processor seconds of
that thread, because other processes may use the same core.

Writes `benchmarks/results/laptop.json`.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any, Self

import torch

import sori
from sori import recipes
from sori.checkpoints import store
from sori.core.audio import SAMPLE_RATE
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng, derive
from sori.data.batches import frame_cache
from sori.data.utterances import training_utterances
from sori.evaluation.recognition import scored
from sori.models.wav2vec2 import Wav2Vec2
from sori.recipes import sizes
from sori.runs import run
from sori.runs.tasks import fine_tuning
from sori.training.optim import make_optimizer, scale_and_clip, set_lr

RECIPE = "ctc_10min_xlsr_laptop"
RESULTS = Path(__file__).parent / "results"
EVALUATED = 12
"""Number of dev utterances on which an evaluation is timed."""


class Clock:
    """Processor and wall seconds of a `with` block."""

    def __enter__(self) -> Self:
        """Begin."""
        self.began = time.process_time(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.cpu, self.wall = time.process_time() - self.began[0], time.monotonic() - self.began[1]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared speechocean762")
    parser.add_argument("--into", type=Path, required=True, help="folder for model and cache, 2 GB")
    parser.add_argument("--updates", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=10.0, help="of labels; fewer take less time")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--frozen-blocks", type=int, help="instead of the recipe's number")
    args = parser.parse_args()
    torch.set_num_threads(1)
    init = args.into / "random_300m"
    if not init.exists():
        torch.manual_seed(0)
        store.save(Wav2Vec2(sizes.xlsr_300m()), init)
    recipe = recipes.recogniser(RECIPE)
    if args.frozen_blocks is not None:
        recipe = recipe.override({"system.frozen_blocks": args.frozen_blocks})
    recipe = recipe.override({"labels.minutes": args.minutes})
    recipe = run.complete(recipe, args.data, init)
    found = measure(recipe, RunFolder(args.into / f"run_{recipe.system.frozen_blocks}"), args.updates)
    found |= extrapolated(found, recipe, args.cores)
    for name, value in found.items():
        print(f"{name:28} {value}")
    about = {
        "command": f"python benchmarks/laptop.py --data PREPARED --into FOLDER --updates {args.updates} "
        f"--minutes {args.minutes:g}",
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "laptop.json").write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")


def measure(recipe: Any, folder: RunFolder, num_updates: int) -> dict[str, Any]:
    """Build the cache, time updates and an evaluation; processor seconds unless it says wall."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with Clock() as caching:
        task = fine_tuning.recognition(recipe, training_utterances(recipe.corpora, recipe.held_out), folder)
    assert isinstance(task.batches, frame_cache.FrameBatches)
    system, after_cache = task.system.train(), peak_gib()
    optimizer = make_optimizer(system, recipe.optim, lr_factors=system.lr_factors())
    set_lr(optimizer, recipe.optim.lr)
    updates, seconds = [], []
    for step in range(num_updates):
        with Clock() as update:
            batch = task.batches[step]
            torch.manual_seed(derive(recipe.train.seed, step, 0, "dropout"))
            with torch.autocast("cpu", torch.bfloat16):
                loss = system.loss(batch, step=step, rng=Rng(recipe.train.seed, step))
            loss.total.backward()
            scale_and_clip(system, scale=1 / len(batch.labels), max_norm=recipe.optim.max_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        updates.append(update)
        seconds.append(batch.seconds)
        print(f"update {step}: {update.cpu:.2f} s CPU, {update.wall:.2f} s, {batch.seconds:.1f} s of audio", flush=True)
    dev = fine_tuning._dev_utterances(recipe, recipe.labels)  # noqa: SLF001 - what the run evaluates on
    with Clock() as evaluation, torch.no_grad():
        scored(system.eval(), dev[:EVALUATED])
    evaluated = sum(u.num_samples for u in dev[:EVALUATED]) / SAMPLE_RATE
    cache = sum(path.stat().st_size for path in folder.frozen_frames.glob("*.safetensors"))
    cached = sum(len(frames) for frames in task.batches.frames.values()) * 320 / SAMPLE_RATE
    return {
        "frozen_blocks": recipe.system.frozen_blocks,
        "minutes": recipe.labels.minutes,
        "cached_audio_seconds": round(cached, 1),
        "cache_mib_per_minute": round(cache / 2**20 / (cached / 60), 2),
        "cache_cpu_seconds": round(caching.cpu, 1),
        "cache_cpu_per_audio": round(caching.cpu / cached, 3),
        "updates_timed": num_updates,
        "update_cpu_seconds": round(statistics.mean(one.cpu for one in updates[2:]), 2),
        "update_wall_seconds": round(statistics.mean(one.wall for one in updates[2:]), 2),
        "update_audio_seconds": round(statistics.mean(seconds[2:]), 1),
        "evaluation_cpu_per_audio": round(evaluation.cpu / evaluated, 3),
        "peak_gib_after_cache": after_cache,
        "peak_gib": peak_gib(),
        "trained_parameters": sum(p.numel() for p in system.parameters() if p.requires_grad),
    }


def extrapolated(found: dict[str, Any], recipe: Any, cores: int) -> dict[str, Any]:
    """Return the time of the whole recipe, without its language model."""
    num_evaluations = -(-recipe.train.num_steps // (recipe.train.evaluate_every or recipe.train.num_steps))
    evaluations = num_evaluations * recipe.labels.dev_minutes * 60 * found["evaluation_cpu_per_audio"]
    # As if every batch were full: a little too much, as the optimiser's part does not depend on the batch.
    full = recipe.data.batch_seconds / found["update_audio_seconds"]
    updates = recipe.train.num_steps * found["update_cpu_seconds"] * full
    audio = 600 * len(recipe.labels.speeds)
    caching = audio * found["cache_cpu_per_audio"]
    total = caching + updates + evaluations
    return {
        "cache_mib": round(audio / 60 * found["cache_mib_per_minute"]),
        "updates": recipe.train.num_steps,
        "core_hours": round(total / 3600, 2),
        "of_these_caching": round(caching / 3600, 2),
        "of_these_updates": round(updates / 3600, 2),
        "of_these_evaluations": round(evaluations / 3600, 2),
        f"hours_on_{cores}_cores_at_best": round(total / 3600 / cores, 2),
    }


def peak_gib() -> float:
    """Return the peak resident size of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


if __name__ == "__main__":
    main()
