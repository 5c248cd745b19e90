"""A run of Word2Vec: threads take pieces of the text, in an order drawn for each epoch.

A piece is 10,000 words (word2vec.c renews the learning rate as often). Its learning rate and its draws are a pure
function of (seed, number of the piece), so a run continues where it was interrupted, and with one thread ends with the
same bits. Threads change the same rows without asking each other (Niu et al. 2011): with several, no two runs agree.
A sentence ends where its piece does.
"""

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from sori.core.config import Config
from sori.core.run_folder import RunFolder
from sori.core.seeds import derive
from sori.models.word2vec import Word2Vec, Word2VecConfig
from sori.nn.huffman import Tree, huffman
from sori.nn.word_draws import keep_thresholds, noise_probabilities, noise_table
from sori.nn.word_update import row_floats
from sori.training import checkpoint
from sori.training.loop import StopSignals
from sori.training.metrics import Reporter
from sori.training.watch import Diverged, Facts, Report
from sori.training.word2vec_kernel import MODES, Room, Rows, Shape, Tables, room_for, train_piece, zero_rows

PIECE = 10_000
"""Words, ends of sentences counted."""
_ROUND = 64  # pieces between two looks at the clock
_LOOK = 50  # of so many jobs, the loss of one is measured
_LEAST_RATE = 1e-4  # word2vec.c: of the first learning rate


class WordTrainConfig(Config):
    """How long and how fast to learn, and when to report and save."""

    epochs: int = Field(default=5, ge=1)
    """Passes over the text (-iter)."""
    lr: float = Field(default=0.025, gt=0)
    """At the beginning; falls linearly to a ten-thousandth (-alpha). word2vec.c: 0.025 for skip-gram, 0.05 for CBOW."""
    num_threads: int | None = Field(default=None, ge=1, le=1024)
    """None: one for each core. With 1, the same command gives the same bits (-threads)."""
    shuffle: bool = True
    """Pieces come in another order in each epoch; word2vec.c: in the order of the text."""
    seed: int = 0
    """All draws follow from it."""
    report_every_seconds: float = Field(default=10.0, gt=0)
    """Between two lines of `metrics.jsonl`."""
    save_every_minutes: float = Field(default=10.0, gt=0)
    """Between two checkpoints; at the end and after Ctrl-C there is one anyway."""


class Learner(NamedTuple):
    """What the threads work with."""

    rows: Rows
    tables: Tables
    shape: Shape


def train(system: Word2Vec, tokens: NDArray[np.int32], *, train: WordTrainConfig, folder: RunFolder) -> bool:
    """Train in place, continuing a checkpoint where there is one.

    Args:
        system: with random weights (`start`).
        tokens: the text as numbers of its words, 0 after each sentence.
        train: how.
        folder: of the run.

    Returns:
        Whether all epochs are done; False after SIGTERM or Ctrl-C, when the state was saved.

    Raises:
        ValueError: the checkpoint is not of this run.
        Diverged: the vectors became infinite.
        OSError: a checkpoint cannot be written; the last one is whole.
    """
    run = _Run(system, tokens, train, folder)
    run.resume()
    facts = Facts(run.num_pieces * train.epochs, None, None)
    with Reporter(folder, step=run.step, facts=facts) as reporter, StopSignals() as stop, run.threads:
        if run.step >= run.num_steps:
            reporter.say(f"{folder.path} is finished ({train.epochs} epochs); nothing to do")
            return True
        if run.step:
            reporter.say(f"continuing {folder.path} after {run.step * PIECE / len(tokens):.2f} epochs")
        while run.step < run.num_steps:
            run.round()
            reporter.tick(run.step)
            last = run.step == run.num_steps
            if last or time.monotonic() - run.reported[0] >= train.report_every_seconds:
                run.report(reporter)
            if last or stop.requested or time.monotonic() - run.saved_at >= 60 * train.save_every_minutes:
                run.save()
            if stop.requested and not last:
                reporter.say(f"saved after {run.step / run.num_pieces:.2f} epochs; repeat the command to continue")
                return False
    return True


def learner(system: Word2Vec) -> Learner:
    """Matrices in whole lines of the cache, which from now on are the system's own, and the tables of the draws."""
    config, counts = system.config, system.vocabulary.counts
    row = row_floats(config.dim)
    rows = Rows(*(_laid_out(matrix, row) for matrix in (system.inputs, system.outputs, system.inner)))
    noise = noise_table(noise_probabilities(counts, config.noise_exponent))
    never_said = np.concatenate([[0], counts[1:]])
    none = Tree(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint8))
    tree = huffman(never_said) if config.hierarchical else none
    keep = keep_thresholds(counts, config.sample)
    tables = Tables(keep, noise.thresholds, noise.aliases, tree.starts, tree.nodes, tree.bits)
    return Learner(rows, tables, shape_of(config))


def shape_of(config: Word2VecConfig) -> Shape:
    """The settings as the compiled code wants them."""
    cbow = config.architecture == "cbow"
    return Shape(
        MODES["cbow" if cbow else config.updates],
        config.window,
        config.negatives,
        int(config.hierarchical),
        int(cbow and config.divide_error),
        _LOOK,
    )


def _laid_out(matrix: nn.Parameter | None, row: int) -> NDArray[np.float32]:
    if matrix is None:
        return zero_rows(0, row)
    rows = zero_rows(len(matrix), row)
    rows[:, : matrix.shape[1]] = matrix.detach().numpy()
    matrix.data = torch.from_numpy(rows)[:, : matrix.shape[1]]
    return rows


@final
class _Run:
    """A text being learnt from; `step` counts finished pieces."""

    def __init__(self, system: Word2Vec, tokens: NDArray[np.int32], train: WordTrainConfig, folder: RunFolder) -> None:
        self.system, self.tokens, self.train, self.path = system, tokens, train, folder.checkpoint
        self.learner = learner(system)
        num_threads = train.num_threads or os.cpu_count() or 1
        self.rooms = [room_for(self.learner.shape, self.learner.rows, self.learner.tables) for _ in range(num_threads)]
        self.threads = ThreadPoolExecutor(num_threads)
        self.num_pieces = -(-len(tokens) // PIECE)
        self.num_steps, self.step = self.num_pieces * train.epochs, 0
        self.order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))
        # Plain gradient descent has nothing to remember: the checkpoint needs the names alone.
        self.optimizer = torch.optim.SGD(system.parameters())
        self.optimizer.param_groups[0]["names"] = [name for name, _ in system.named_parameters()]
        self.saved_at = time.monotonic()
        self.reported = (self.saved_at, 0)
        """When the last report was, and `step` then."""
        train_piece(tokens[:0], 0, 0.0, self.learner.tables, self.learner.shape, self.rooms[0])  # compiles

    def resume(self) -> None:
        """Take up the checkpoint, where there is one, or draw the first vectors."""
        self.system.start(self.train.seed)
        if self.path.exists():
            found = checkpoint.load(self.path)
            if found.state["num_tokens"] != len(self.tokens):
                raise ValueError(
                    f"{self.path} was made on {found.state['num_tokens']:,} words, and now there are "
                    f"{len(self.tokens):,}; likely the folder's text was replaced: train into a new folder"
                )
            checkpoint.restore(found, system=self.system, optimizer=self.optimizer)
            self.step = found.state["step"]
        self.reported = (time.monotonic(), self.step)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {"step": self.step, "num_tokens": len(self.tokens)}
        checkpoint.save(self.path, system=self.system, optimizer=self.optimizer, state=state)
        self.saved_at = time.monotonic()

    def round(self) -> None:
        """Learn from some pieces, each thread taking the next when it is done with one."""
        steps = iter([(step, self._place(step)) for step in range(self.step, min(self.step + _ROUND, self.num_steps))])

        def work(room: Room) -> None:
            for step, place in steps:
                piece = self.tokens[place * PIECE : (place + 1) * PIECE]
                seed = derive(self.train.seed, step, "word2vec draws")
                train_piece(piece, seed, self.rate(step), self.learner.tables, self.learner.shape, room)

        for _ in self.threads.map(work, self.rooms):
            pass
        self.step = min(self.step + _ROUND, self.num_steps)

    def rate(self, step: int) -> float:
        """Learning rate of a piece."""
        return self.train.lr * max(_LEAST_RATE, 1 - step / self.num_steps)

    def _place(self, step: int) -> int:
        """Where in the text a piece lies."""
        epoch, index = divmod(step, self.num_pieces)
        if not self.train.shuffle:
            return index
        if self.order[0] != epoch:
            random = np.random.default_rng(derive(self.train.seed, epoch, "word2vec order"))
            self.order = (epoch, random.permutation(self.num_pieces))
        return int(self.order[1][index])

    def report(self, reporter: Reporter) -> None:
        """Show speed and loss since the last report.

        Raises:
            Diverged: the loss is not finite.
        """
        now, loss = time.monotonic(), np.sum([room.loss for room in self.rooms], axis=0)
        speed = (self.step - self.reported[1]) * PIECE / max(now - self.reported[0], 1e-9)
        numbers = {
            "step": self.step,
            "epochs": self.step / self.num_pieces,
            "loss": float(loss[0] / loss[1]) if loss[1] else math.nan,
            "lr": self.rate(min(self.step, self.num_steps - 1)),
            "words_per_second": speed,
            "seconds_left": (self.num_steps - self.step) * PIECE / speed,
        }
        for room in self.rooms:
            room.loss[:] = 0
        reporter.report(numbers, line=format_line(numbers, self.train.epochs))
        self.reported = (now, self.step)
        if loss[1] and not math.isfinite(numbers["loss"]):
            raise Diverged(
                f"the loss is not finite after {numbers['epochs']:.2f} epochs: the learning rate {self.train.lr:g} is "
                "too high for this text; begin anew in another folder with `--lr` halved. The last checkpoint was left"
            )


def format_line(numbers: Report, epochs: int) -> str:
    """A report as one line for people."""
    minutes, seconds = divmod(max(0, round(numbers["seconds_left"])), 60)
    return (
        f"epoch {numbers['epochs']:.2f} of {epochs} | loss {numbers['loss']:.3f} nats a pair | "
        f"lr {numbers['lr']:.2g} | "
        f"{numbers['words_per_second'] / 1e6:.2f} M words/s | {minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
    )
