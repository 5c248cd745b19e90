"""Test whether pre-training is healthy for every seed: five short runs of `tiny` on the real English sets.

    python benchmarks/seeds.py --data DATA --into runs/seeds

A run is healthy if, at its end, the loss is at least 0.3 nats below chance level (ln 101), the code perplexity over the
held-out dev split is more than half its maximum, and fewer than 5 % of the distractors equal the target. (The log shows
the code perplexity of one micro-batch, which has hardly more masked frames than there are codebook entries.) The same
command continues an interrupted benchmark. Writes `benchmarks/results/seeds.json`.
"""

import argparse
import json
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from low_resource import PRETRAINING, RESULTS, prepare, sori_train

import sori
from sori import recipes
from sori.checkpoints import store
from sori.core import audio
from sori.data.manifest import read_manifest
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.losses import perplexity
from sori.training.metrics import read_metrics


def main() -> None:
    """Train, evaluate, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    parser.add_argument("--into", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2, help="parallel runs, with one thread each")
    args = parser.parse_args()

    english = prepare([args.data / name / "manifest.jsonl" for name in PRETRAINING], args.into / "english")
    model = Wav2Vec2(recipes.by_name("wav2vec2_tiny").system)
    folders = [args.into / f"seed_{seed}" for seed in range(5)]
    with ThreadPoolExecutor(args.jobs) as pool:
        for done in [
            pool.submit(sori_train, "wav2vec2_tiny", english, folder, *changes(args.steps, seed))
            for seed, folder in enumerate(folders)
        ]:
            done.result()
    rows = []
    for seed, folder in enumerate(folders):
        reports = [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "train"]
        last = reports[-1] | {"dev_code_perplexity": code_perplexity(folder, english)}
        healthy = (
            last["contrastive"] < model.chance_nats - 0.3
            and last["dev_code_perplexity"] > model.max_code_perplexity / 2
            and last["equal_share"] < 0.05
        )
        kept = ("contrastive", "correct", "code_perplexity", "dev_code_perplexity", "equal_share", "hours")
        speeds = sorted(row["hours_per_hour"] for row in reports)
        rows.append({"seed": seed, "healthy": healthy, **{k: round(last[k], 4) for k in kept}})
        rows[-1]["median_hours_per_hour"] = round(speeds[len(speeds) // 2], 1)
        rows[-1]["max_wait_share"] = round(max(row["wait_share"] for row in reports[1:]), 4)
        print(rows[-1], flush=True)
    print(f"{sum(row['healthy'] for row in rows)} of {len(rows)} seeds healthy")
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": f"python benchmarks/seeds.py --steps {args.steps}",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"sori": sori.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "chance_nats": model.chance_nats,
        "max_code_perplexity": model.max_code_perplexity,
    }
    (RESULTS / "seeds.json").write_text(json.dumps({**about, "seeds": rows}, indent=1) + "\n", encoding="utf-8")


def changes(steps: int, seed: int) -> list[str]:
    """Return the changes to the recipe: a short run with the same final Gumbel temperature as the long one."""
    decay = 0.25 ** (1 / (0.7 * steps))
    return ["--train.num-steps", str(steps), "--train.seed", str(seed), "--system.gumbel-decay", f"{decay:.6f}"]


def code_perplexity(folder: Path, data: Path) -> float:
    """Return the effective number of codebook entries used in the first 200 dev utterances, both codebooks together."""
    model = store.load(folder)
    assert isinstance(model, Wav2Vec2)
    assert model.targets is not None
    uses = torch.zeros(model.config.num_groups, model.config.num_codes)
    with torch.no_grad():
        for utterance in [u for u in read_manifest(data) if u.split == "dev"][:200]:
            waveform = audio.read(utterance.path)[None]
            targets = model.targets(waveform, torch.tensor([waveform.shape[1]])).data
            units = model.quantizer(targets).units[0]
            uses += torch.stack([torch.bincount(c, minlength=uses.shape[1]) for c in units.unbind(1)])
    return float(perplexity(uses / uses.sum(1, keepdim=True)))


if __name__ == "__main__":
    main()
