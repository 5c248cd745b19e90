"""Compare linear probes of image encoders: random weights, SimCLR, and supervised training.

    python benchmarks/simclr_images.py IMAGES --into runs/simclr_images --json benchmarks/results/simclr_images.json

IMAGES is a folder with `train|test/CLASS/*.jpg`, or with an `images.zip` of these. The same network (that of the recipe
`simclr_images_tiny`) is used three times: with random weights; trained without labels by the recipe, for the given
number of updates; and trained with labels for as many updates with the same batch size, on images that are cropped and
mirrored, but keep their colours. A linear classifier is then fitted to the vectors h of five sixths of the training
images (the rest selects its penalty) and evaluated on the test images. A run takes about 0.6 s per update. The same
command continues an interrupted benchmark (`cpu_seconds` are then those of the last call alone).
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sori import recipes
from sori.checkpoints import store
from sori.core.config import Config
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng, derive
from sori.data.batches.image_views import ImageViewsConfig, draw, view
from sori.data.sources.images import Images, read_images
from sori.evaluation.linear_probe import Part, fit
from sori.models import factory
from sori.models.protocols import LossSum
from sori.models.simclr import SimClrImages
from sori.nn.resnet import ResNet, ResNetConfig
from sori.recipes.recipe import Recipe
from sori.runs import run
from sori.training import loop

INTERRUPTED = "interrupted and saved; repeat the command to continue"
CROPPED = ImageViewsConfig(min_area=0.3, colour=0.0)


class Labelled(NamedTuple):
    """Images and their class indices."""

    images: torch.Tensor
    labels: torch.Tensor
    seconds: float = 0.0

    def to(self, device: torch.device) -> "Labelled":
        """Move the batch to a device."""
        return Labelled(self.images.to(device), self.labels.to(device))


class LabelledBatches:
    """Batches of cropped and mirrored images, a pure function of seed and index."""

    def __init__(self, images: Images, size: int, seed: int) -> None:
        self.images, self.size, self.seed = images, size, seed
        self.num_batches = len(images.labels) // size

    def __getitem__(self, index: int) -> Labelled:
        """Return micro-batch `index`."""
        epoch, position = divmod(index, self.num_batches)
        shuffle = torch.Generator().manual_seed(derive(self.seed, epoch, "order"))
        order = torch.randperm(len(self.images.labels), generator=shuffle)
        rows = order[position * self.size : (position + 1) * self.size]
        generator = torch.Generator().manual_seed(derive(self.seed, index, "views"))
        pixels = self.images.pixels[rows].float() / 255
        return Labelled(view(pixels, draw(CROPPED, self.size, generator), size=32), self.images.labels[rows])


class Supervised(nn.Module):
    """The network with a linear classifier, trained with labels."""

    def __init__(self, config: ResNetConfig, num_classes: int) -> None:
        super().__init__()
        self.config: Config = config
        self.encoder = ResNet(config)
        self.classifier = nn.Linear(self.encoder.dim, num_classes)

    def loss(self, batch: Labelled, *, step: int, rng: Rng) -> LossSum:
        """Compute the cross-entropy."""
        del step, rng
        logits = self.classifier(self.encoder(batch.images)).float()
        total = functional.cross_entropy(logits, batch.labels, reduction="sum")
        found = (logits.argmax(1) == batch.labels).sum()
        return LossSum(total, torch.tensor(len(logits)), {"correct": found})


@torch.no_grad()
def vectors(encoder: ResNet, images: Images) -> torch.Tensor:
    """Compute the vector h of every image, without augmentation."""
    return torch.cat([encoder(part.float() / 255) for part in images.pixels.split(500)])


def probe(encoder: nn.Module, train: Images, test: Images) -> dict[str, float]:
    """Fit a linear classifier on h and return its accuracy on the test images."""
    assert isinstance(encoder, ResNet)
    encoder.eval()
    x, y = vectors(encoder, train), train.labels
    dev = torch.arange(len(y)) % 6 == 5  # images are sorted by class: a sixth of each
    found = fit(Part(x[~dev], y[~dev]), Part(x[dev], y[dev]), num_classes=len(train.classes))
    right = found.predict(vectors(encoder, test)) == test.labels
    return {"linear_probe": float(right.double().mean()), "penalty": found.penalty}


def random_weights(recipe: Recipe, seed: int) -> SimClrImages:
    """Build the system with random weights."""
    torch.manual_seed(derive(seed, "weights"))
    system = factory.build(recipe.system)
    assert isinstance(system, SimClrImages)
    return system


def with_views(recipe: Recipe, seed: int, data: Path, into: Path) -> tuple[SimClrImages, dict[str, float]]:
    """Train with the recipe; return the system and its last report."""
    if not run.train(recipe.override({"train.seed": seed}), into=into, data=data).finished:
        raise SystemExit(INTERRUPTED)
    system, last = store.load(into), loop_reports(into)[-1]
    assert isinstance(system, SimClrImages)
    return system, {name: last[name] for name in ("loss", "chance", "correct")}


def with_labels(
    recipe: Recipe, seed: int, train: Images, test: Images, into: Path
) -> tuple[Supervised, dict[str, float]]:
    """Train as many updates with labels; return the system and the accuracy of its classifier."""
    config = random_weights(recipe, seed).config.encoder
    torch.manual_seed(derive(seed, "weights"))
    system = Supervised(config, len(train.classes))
    batches = LabelledBatches(train, recipe.images.batch_size, seed)
    settings = recipe.train.model_copy(update={"seed": seed})
    into.mkdir(parents=True, exist_ok=True)
    if not loop.train(
        system, batches, train=settings, optim=recipe.optim, schedule=recipe.schedule, folder=RunFolder(into)
    ):
        raise SystemExit(INTERRUPTED)
    last = loop_reports(into)[-1]
    system.eval()
    with torch.no_grad():
        right = system.classifier(vectors(system.encoder, test)).argmax(1) == test.labels
    return system, {"train_loss": last["loss"], "own_classifier": float(right.double().mean())}


def loop_reports(folder: Path) -> list[dict[str, float]]:
    """Read the training reports of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] == "train"]


def main() -> None:
    """Measure, print, and write the results after every step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--into", type=Path, default=Path("runs/simclr_images"), help="folder for the runs")
    parser.add_argument("--steps", type=int, default=4600, help="number of updates of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    images = read_images(args.images)
    train, test = images.of_split("train"), images.of_split("test")
    changes = {"train.num_steps": args.steps, "train.log_every": max(1, args.steps // 10)}
    recipe = recipes.by_name("simclr_images_tiny").override(changes)
    found: dict[str, object] = {
        "recipe": recipe.model_dump(mode="json"),
        "train_images": len(train.names),
        "test_images": len(test.names),
        "threads": torch.get_num_threads(),
        "versions": store.versions(),
        "rows": (rows := list[dict[str, object]]()),
    }
    for seed in args.seeds:
        for name in ("random weights", "simclr", "labels"):
            begun, into = time.process_time(), args.into / f"{name}_{args.steps}_{seed}"
            more: dict[str, float] = {}
            if name == "random weights":
                encoder: nn.Module = random_weights(recipe, seed).encoder
            elif name == "simclr":
                system, more = with_views(recipe, seed, args.images, into)
                encoder = system.encoder
            else:
                supervised, more = with_labels(recipe, seed, train, test, into)
                encoder = supervised.encoder
            row = {"trained": name, "seed": seed, **probe(encoder, train, test), **more}
            rows.append({**row, "cpu_seconds": round(time.process_time() - begun, 1)})
            print(rows[-1], flush=True)
            if args.json:
                args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
