"""Run real systems in one of several processes: `python several.py` reads orders as `toy.py` does.

An argument is a JSON list of jobs, which are run one after the other in one process group: `{"system": ..., "into":
..., ...}` with settings of `TrainConfig`. A job leaves its weights in `INTO/rank0.pt`, and the numbers of the
micro-batches that each process used in `INTO/used.RANK`. A job with `data`, a prepared folder, trains on crops of its
utterances, otherwise on noise; `files`, the folder that its shards were made from, reads the same crops from there.
"""

import importlib.util
import json
import os
import signal
from pathlib import Path

import torch
from torch import nn

from sori import recipes
from sori.core import distributed
from sori.core.batch import TextBatch, TokenBatch, WaveformBatch
from sori.core.run_folder import RunFolder
from sori.data.batches.loader import CropBatches, FileReader
from sori.data.batches.sampler import DataConfig
from sori.data.manifest import open_manifest
from sori.models import factory
from sori.models.bert import Bert
from sori.text.vocabulary import Vocabulary
from sori.training.loop import TrainConfig, train
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig
from sori.training.watch import WatchConfig

NUM_SAMPLES = 8_000
LETTERS = "abdelnos"
VOCABULARY = Vocabulary.fit([LETTERS])
STEPS = 10
LIMIT = 9.4e-3
"""Sum of learning rates at which the codebook of `toy.Drifting` collapses: reached at the full rate and at half."""


def build(name: str) -> nn.Module:
    """Return a smoke system with what makes several processes hard: LayerDrop, dropout, a frozen phase."""
    torch.manual_seed(0)
    kind = name.removesuffix("_plain")
    recipe = recipes.by_name(f"{kind}_smoke")
    if kind == "wav2vec2":
        drops = {} if name.endswith("_plain") else {"layerdrop": 0.4, "dropout": 0.1}
        return factory.build(recipe.system.model_copy(update=drops))
    if kind == "ctc":
        encoder = recipe.encoder.model_copy(update={"layerdrop": 0.4, "dropout": 0.1})
        config = recipe.system.model_copy(update={"freeze_steps": 2})
        return factory.build(config, encoder=encoder, vocabulary=VOCABULARY)
    if kind == "bert":
        return Bert(recipe.system.model_copy(update={"num_tokens": 20, "cls": 2, "sep": 3, "mask": 4}))
    return factory.build(recipe.system)


class Noted:
    """A batch that writes down its number when the loop takes it."""

    def __init__(self, batch, index, batches):
        self.batch, self.index, self.batches = batch, index, batches
        self.seconds = batch.seconds

    def to(self, device):
        number = signal.SIGKILL if self.batches.kill else signal.SIGTERM
        with self.batches.path.open("a") as file:
            file.write(f"{self.index}\n")
        if self.index == self.batches.stop_at:
            os.kill(os.getpid(), number)
        return self.batch.to(device)


class Noise:
    """Random inputs; their number depends on the number of the batch."""

    def __init__(self, kind, into, *, stop_at=None, kill=False):
        self.kind, self.stop_at, self.kill = kind, stop_at, kill
        self.path = into / f"used.{distributed.rank()}"

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        rows = 2 + index % 2
        if self.kind == "bert":
            ids = torch.randint(6, 12, (rows, 12), generator=generator)
            ids[:, 0], ids[:, 6], ids[:, 11] = 2, 3, 3
            parts = (torch.arange(12) > 6).long().expand(rows, -1).clone()
            labels = torch.randint(0, 2, (rows, 1), generator=generator)
            return Noted(TokenBatch(ids, parts, torch.full((rows,), 12), labels), index, self)
        waveform, lengths = 0.1 * torch.randn(rows, NUM_SAMPLES, generator=generator), torch.full((rows,), NUM_SAMPLES)
        if self.kind == "ctc":
            labels = torch.randint(1, len(VOCABULARY), (rows, 4), generator=generator)
            return Noted(TextBatch(waveform, lengths, labels, torch.full((rows,), 4)), index, self)
        return Noted(WaveformBatch(waveform, lengths), index, self)


def speech(data, files=None):
    """Return crops of the utterances of a prepared folder; `files` is another folder with the same utterances."""
    utterances, config = open_manifest(Path(data)), DataConfig(batch_seconds=2, min_seconds=0.1, max_crop_seconds=0.5)
    if files is None:
        return CropBatches(utterances, config, seed=0)
    before = {utterance.id: utterance for utterance in open_manifest(Path(files))}
    return CropBatches(utterances, config, seed=0, reader=FileReader([before[one.id] for one in utterances]))


def run(job: dict) -> nn.Module:
    """Run a job; return the system."""
    job = dict(job)
    name, into = job.pop("system"), Path(job.pop("into"))
    into.mkdir(parents=True, exist_ok=True)
    system = toy().Drifting(LIMIT, layerdrop=0.0) if name == "drifting" else build(name)
    settings = {"num_steps": STEPS, "precision": "float32", "log_every": 2, "save_every_steps": 5, "shard": False}
    names = TrainConfig.model_fields
    settings |= {key: job.pop(key) for key in list(job) if key in names}
    errors = iter(job.pop("errors", ()))
    kind = name.removesuffix("_plain")
    batches = speech(job.pop("data"), job.pop("files", None)) if "data" in job else Noise(kind, into, **job)
    system.finished = train(
        system,
        batches,
        train=TrainConfig(**settings),
        optim=OptimConfig(lr=1e-3, max_norm=1.0),
        schedule=ScheduleConfig(warmup_fraction=0.1),
        folder=RunFolder(into),
        evaluations=[lambda _: {"dev_cer": next(errors)}] if settings.get("evaluate_every") else [],
        watch=WatchConfig(num_reports=2 if name == "drifting" else 3),
    )
    if distributed.rank() == 0:
        torch.save(system.state_dict(), into / "rank0.pt")
    return system


def toy():
    """Return the module beside this one."""
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: list[str]) -> None:
    """Run jobs in the process group of the environment."""
    with distributed.process_group():
        for job in json.loads(arguments[0]):
            run(job)


if __name__ == "__main__":
    toy().serve(main)
