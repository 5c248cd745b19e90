"""A small system for the tests of the loop, and a script that trains it: `python toy.py FOLDER [key=value ...]`.

`python toy.py` alone reads such commands from its input and forks for each, so that imports are done only once.

It covers what makes resuming hard: dropout, blocks that are sometimes skipped, varying numbers of targets.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from sori.core import distributed
from sori.core.batch import WaveformBatch
from sori.core.config import Config
from sori.core.run_folder import RunFolder
from sori.models.protocols import LossSum
from sori.training.loop import TrainConfig, train
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig

DIM = 16


class ToyConfig(Config):
    dropout: float = 0.1
    layerdrop: float = 0.5


class Toy(nn.Module):
    """Regress a linear map of frames through blocks that are sometimes skipped."""

    def __init__(self, *, poison: frozenset[int] = frozenset(), **settings) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.config = config = ToyConfig(**settings)
        self.poison = poison
        self.first = nn.Linear(DIM, DIM)
        self.blocks = nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(3))
        self.head = nn.Linear(DIM, DIM)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("target", torch.randn(DIM, DIM, generator=generator))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))

    def loss(self, batch, *, step, rng):
        x = batch.waveform.view(len(batch.waveform), -1, DIM)
        hidden = self.first(x)
        for block in self.blocks:
            if not self.training or torch.rand((), generator=rng["layerdrop"]) >= self.config.layerdrop:
                hidden = hidden + torch.tanh(block(self.dropout(hidden)))
        noise = 0.01 * torch.randn(x.shape, generator=rng["noise"])
        error = (self.head(hidden) - x @ self.target + noise).float().square().mean(-1)
        total = error.sum()
        if step in self.poison:
            total = total * torch.inf
        count = torch.tensor(error.numel())
        return LossSum(total, count, {"contrastive": total.detach(), "correct": (error < 0.1).sum()})


class Drifting(Toy):
    """The toy with a codebook that collapses once the learning rates sum up to a limit.

    One parameter has a constant gradient, and AdamW then moves it by the learning rate: a pure function of the weights.
    """

    max_code_perplexity = 640.0

    def __init__(self, limit, **settings) -> None:
        super().__init__(**settings)
        self.limit = limit
        self.drift = nn.Parameter(torch.zeros(1))

    def loss(self, batch, *, step, rng):
        part = super().loss(batch, step=step, rng=rng)
        part.terms["equal_share"] = part.count * (self.drift.detach() < -self.limit).float().sum()
        part.terms["code_perplexity"] = part.count * 100.0
        return LossSum(part.total + part.count * self.drift.sum(), part.count, part.terms)


class ToyBatches:
    """Noise; the number of rows depends on the number of the batch."""

    def __init__(self, *, pause=0.0):
        self.pause = pause

    def __getitem__(self, index):
        time.sleep(self.pause)
        generator = torch.Generator().manual_seed(index)
        rows = 2 + index % 3
        return WaveformBatch(torch.randn(rows, DIM * 8, generator=generator), torch.full((rows,), DIM * 8))


def run(
    into: Path, *, num_steps=40, num_accumulate=1, pause=0.0, system=None, optim=None, schedule=None, **settings
) -> Toy:
    """Train the toy system and return it."""
    names = TrainConfig.model_fields
    base = {"num_steps": num_steps, "num_accumulate": num_accumulate, "precision": "float32", "log_every": 5}
    into.mkdir(parents=True, exist_ok=True)
    system = system or Toy()
    system.finished = train(
        system,
        ToyBatches(pause=pause),
        train=TrainConfig(**base | {k: v for k, v in settings.items() if k in names}),
        optim=optim or OptimConfig(lr=1e-2, max_norm=1.0),
        schedule=schedule or ScheduleConfig(warmup_fraction=0.1),
        folder=RunFolder(into),
        **{k: v for k, v in settings.items() if k not in names},
    )
    return system


def main(arguments: list[str]) -> None:
    settings = {}
    for argument in arguments[1:]:
        name, value = argument.split("=")
        settings[name] = float(value) if "." in value else int(value)
    with distributed.process_group():
        system = run(Path(arguments[0]), **settings)
        torch.save(system.state_dict(), Path(arguments[0]) / f"rank{distributed.rank()}.pt")


def serve(main=main) -> None:
    """Read orders, one JSON object per line: `{"start": [argument, ...], "environment": {...}}` or `{"wait": id}`.

    Prints the process id for `start` and the exit code for `wait`.
    """
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
            continue
        process = os.fork()
        if process == 0:
            os.environ.update(order["environment"])
            main(order["start"])
            sys.exit()
        print(process, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:]) if sys.argv[1:] else serve()
