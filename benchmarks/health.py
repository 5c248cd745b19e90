"""Count how many seeds of `tiny` are lost on real speech, and how often runs went back to a healthy checkpoint.

    python benchmarks/health.py --data DATA --into runs/health --seeds 20

Short runs on the real English sets, one after the other. A run is lost if it was stopped (`Diverged`), or if at its
end the loss is less than 0.3 nats below chance level (ln 101) or 5 % or more of the distractors equal the target. The
same command continues; seeds that have not been trained are left out. `--minutes` ends it after the seed that is being
trained. Writes `benchmarks/results/health.json`.

    python benchmarks/health.py --reference RUN [RUN ...] --about TEXT [TEXT ...]

Instead writes the reports of healthy runs, thinned, to `src/sori/plots/reference_curves.json`, which `sori plot` draws
behind the curves of runs of the same recipe.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from low_resource import PRETRAINING, RESULTS, prepare, sori_train

import sori
from sori import recipes
from sori.models.wav2vec2 import Wav2Vec2
from sori.training.metrics import read_metrics

CURVES = Path(__file__).parents[1] / "src" / "sori" / "plots" / "reference_curves.json"
KEPT = ("hours", "contrastive", "loss", "correct", "code_perplexity")
NUM_POINTS = 60


def main() -> None:
    """Train seeds and count, or write reference curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/health"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--reference", type=Path, nargs="+", help="finished runs")
    parser.add_argument("--about", nargs="*", default=[], help="what each of them was trained on")
    args = parser.parse_args()
    if args.reference:
        found = [curve(run, about) for run, about in zip(args.reference, args.about, strict=True)]
        CURVES.write_text(json.dumps(found) + "\n", encoding="utf-8")
        return
    until = time.monotonic() + 60 * args.minutes
    english = prepare([args.data / name / "manifest.jsonl" for name in PRETRAINING], args.into / "english")
    for seed in range(args.seeds):
        if time.monotonic() > until:
            break
        try:
            sori_train("wav2vec2_tiny", english, args.into / f"seed_{seed}", *changes(args.steps, seed))
        except subprocess.CalledProcessError:
            print(f"seed {seed}: stopped")
    rows = [row(args.into / f"seed_{seed}", seed, args.steps) for seed in range(args.seeds)]
    report([row for row in rows if row], args)


def changes(steps: int, seed: int) -> list[str]:
    """Return the changes to the recipe: a short run with the same final Gumbel temperature as the long one."""
    decay = 0.25 ** (1 / (0.7 * steps))
    changed = ["--train.num-steps", str(steps), "--train.seed", str(seed), "--system.gumbel-decay", f"{decay:.6f}"]
    return [*changed, "--train.save-every-steps", "100"]


def row(folder: Path, seed: int, steps: int) -> dict[str, Any]:
    """Return what became of a seed; empty if it has not been trained to its end, and has not been stopped either."""
    rows = read_metrics(folder / "metrics.jsonl")
    reports = [row for row in rows if row["kind"] == "train"]
    log = folder.parent / f"{folder.name}.log"
    stopped = log.is_file() and "collapse: the codebook has collapsed" in log.read_text(encoding="utf-8")[-3000:]
    if not reports or (reports[-1]["step"] < steps and not stopped):
        return {}
    last = reports[-1]
    chance = Wav2Vec2(recipes.by_name("wav2vec2_tiny").system).chance_nats
    healthy = last["step"] == steps and last["contrastive"] < chance - 0.3 and last["equal_share"] < 0.05
    kept = ("contrastive", "correct", "code_perplexity", "equal_share", "hours")
    back = [row for row in rows if row["kind"] == "rollback"]
    return {"seed": seed, "lost": not healthy, "rollbacks": len(back), **{k: round(last[k], 4) for k in kept}}


def report(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Write and print the rows."""
    print(
        f"{sum(row['lost'] for row in rows)} of {len(rows)} seeds lost, {sum(r['rollbacks'] for r in rows)} rollbacks"
    )
    data = json.loads((args.into / f"seed_{rows[0]['seed']}" / "data.json").read_text(encoding="utf-8")) if rows else {}
    about = {
        "command": f"python benchmarks/health.py --steps {args.steps} --seeds {args.seeds}",
        "data": {name: data[name] for name in ("hours", "utterances") if name in data},
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": sys.version.split()[0]},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "health.json").write_text(json.dumps({**about, "seeds": rows}, indent=1) + "\n", encoding="utf-8")


def curve(run: Path, about: str) -> dict[str, Any]:
    """Return the reports of a run, thinned, with what it was trained on."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"]
    if any(row["kind"] in {"warning", "rollback"} for row in read_metrics(run / "metrics.jsonl")):
        raise ValueError(f"{run} has warnings, so it is no reference")
    default = recipes.by_name(recipe["name"])
    changed = {"train.num-steps": "train.num_steps", "data.batch-seconds": "data.batch_seconds"}
    changed["system.gumbel-decay"] = "system.gumbel_decay"
    settings = ""
    for option, name in changed.items():
        part, key = name.split(".")
        if recipe[part][key] != getattr(getattr(default, part), key):
            settings += f" --{option} {recipe[part][key]}"
    step = max(1, len(rows) // NUM_POINTS)
    thinned = rows[step - 1 :: step]
    return {
        "recipe": recipe["name"],
        "command": f"sori train {recipe['name']}{settings} --data PREPARED --into RUN",
        "data": f"{about}: {data['hours']:.2f} h, {data['utterances']} utterances",
        **{key: [round(row[key], 4) for row in thinned] for key in KEPT if key in thinned[0]},
    }


if __name__ == "__main__":
    main()
