"""Train Word2Vec: threads process pieces of the text, shuffled in each epoch.

A piece is 10,000 words (word2vec.c updates the learning rate as often). Its learning rate and random numbers are a pure
function of (seed, number of the piece), so an interrupted run can be continued; with one thread it ends with
bit-identical vectors. Threads update shared rows without locks (Hogwild, Niu et al. 2011), so runs with several threads
are not reproducible. Sentences are cut at the end of a piece.
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
from sori.training.metrics import Reporter
from sori.training.stop_signals import StopSignals
from sori.training.watch import Diverged, Facts, Report
from sori.training.word2vec_kernel import MODES, Rows, Shape, Tables, Workspace, train_piece, workspace_for, zero_rows

PIECE = 10_000
"""Number of tokens of a piece, ends of sentences included."""
_ROUND = 64  # pieces between two checks of the time
_LOSS_EVERY = 50  # the loss is measured for every N-th job
_LEAST_RATE = 1e-4  # lowest learning rate as a fraction of the first one (word2vec.c)


class WordTrainConfig(Config):
    """Length and rate of training, and when to report and save."""

    epochs: int = Field(default=5, ge=1)
    """Number of passes over the text (-iter)."""
    lr: float = Field(default=0.025, gt=0)
    """First learning rate; falls linearly to 1/10,000 (-alpha). word2vec.c: 0.025 for skip-gram, 0.05 for CBOW."""
    num_threads: int | None = Field(default=None, ge=1, le=1024)
    """Number of threads (-threads); None: one per core. With 1, runs are reproducible bit for bit."""
    shuffle: bool = True
    """Whether to shuffle the pieces in each epoch; word2vec.c: no, in the order of the text."""
    seed: int = 0
    """Seed of all random numbers."""
    report_every_seconds: float = Field(default=10.0, gt=0)
    """Seconds between two lines of `metrics.jsonl`."""
    save_every_minutes: float = Field(default=10.0, gt=0)
    """Minutes between two checkpoints; one is also saved at the end and after Ctrl-C."""


class Learner(NamedTuple):
    """Data shared by the threads."""

    rows: Rows
    tables: Tables
    shape: Shape


def train(system: Word2Vec, tokens: NDArray[np.int32], *, train: WordTrainConfig, folder: RunFolder) -> bool:
    """Train in place, continuing from a checkpoint if there is one.

    Args:
        system: Word2Vec; its vectors are drawn here (`Word2Vec.start`).
        tokens: Text as word ids, 0 after each sentence.
        train: Settings.
        folder: Run folder.

    Returns:
        Whether all epochs are done; False after SIGTERM or Ctrl-C, with the state saved.

    Raises:
        ValueError: The checkpoint belongs to another run.
        Diverged: The vectors became infinite.
        OSError: A checkpoint cannot be written; the last one is intact.
    """
    run = _Run(system, tokens, train, folder)
    run.resume()
    facts = Facts(run.num_pieces * train.epochs, None, None)
    with Reporter(folder, step=run.step, facts=facts) as reporter, StopSignals() as stop, run.threads:
        if run.step >= run.num_steps:
            reporter.message(f"{folder.path} is finished ({train.epochs} epochs); nothing to do")
            return True
        if run.step:
            reporter.message(f"continuing {folder.path} after {run.step * PIECE / len(tokens):.2f} epochs")
        while run.step < run.num_steps:
            run.round()
            reporter.tick(run.step)
            last = run.step == run.num_steps
            if last or time.monotonic() - run.reported[0] >= train.report_every_seconds:
                run.report(reporter)
            if last or stop.requested or time.monotonic() - run.saved_at >= 60 * train.save_every_minutes:
                run.save()
            if stop.requested and not last:
                reporter.message(f"saved after {run.step / run.num_pieces:.2f} epochs; repeat the command to continue")
                return False
    return True


def learner(system: Word2Vec) -> Learner:
    """Move the system's matrices to memory aligned to cache lines, and make the tables for random draws."""
    config, counts = system.config, system.vocabulary.counts
    row = row_floats(config.dim)
    rows = Rows(*(_aligned(matrix, row) for matrix in (system.inputs, system.outputs, system.inner)))
    noise = noise_table(noise_probabilities(counts, config.noise_exponent))
    leaf_counts = np.concatenate([[0], counts[1:]])  # the end of a sentence is never predicted
    none = Tree(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint8))
    tree = huffman(leaf_counts) if config.hierarchical else none
    keep = keep_thresholds(counts, config.sample)
    tables = Tables(keep, noise.thresholds, noise.aliases, tree.starts, tree.nodes, tree.bits)
    return Learner(rows, tables, shape_of(config))


def shape_of(config: Word2VecConfig) -> Shape:
    """Return the settings for the compiled code."""
    cbow = config.architecture == "cbow"
    return Shape(
        MODES["cbow" if cbow else config.updates],
        config.window,
        config.negatives,
        int(config.hierarchical),
        int(cbow and config.divide_error),
        _LOSS_EVERY,
    )


def _aligned(matrix: nn.Parameter | None, row: int) -> NDArray[np.float32]:
    if matrix is None:
        return zero_rows(0, row)
    rows = zero_rows(len(matrix), row)
    rows[:, : matrix.shape[1]] = matrix.detach().numpy()
    matrix.data = torch.from_numpy(rows)[:, : matrix.shape[1]]
    return rows


@final
class _Run:
    """State of a run; `step` counts finished pieces."""

    def __init__(self, system: Word2Vec, tokens: NDArray[np.int32], train: WordTrainConfig, folder: RunFolder) -> None:
        self.system, self.tokens, self.train, self.path = system, tokens, train, folder.checkpoint
        self.learner = learner(system)
        num_threads = train.num_threads or os.cpu_count() or 1
        shared = self.learner
        self.workspaces = [workspace_for(shared.shape, shared.rows, shared.tables) for _ in range(num_threads)]
        self.threads = ThreadPoolExecutor(num_threads)
        self.num_pieces = -(-len(tokens) // PIECE)
        self.num_steps, self.step = self.num_pieces * train.epochs, 0
        self.order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))
        # Plain SGD has no state: the checkpoint needs only the parameter names.
        self.optimizer = torch.optim.SGD(system.parameters())
        self.optimizer.param_groups[0]["names"] = [name for name, _ in system.named_parameters()]
        self.saved_at = time.monotonic()
        self.reported = (self.saved_at, 0)
        """Time of the last report, and `step` then."""
        train_piece(tokens[:0], 0, 0.0, shared.tables, shared.shape, self.workspaces[0])  # compiles

    def resume(self) -> None:
        """Restore the checkpoint, or draw the initial vectors if there is none."""
        self.system.start(self.train.seed)
        if self.path.exists():
            found = checkpoint.load(self.path)
            if found.state["num_tokens"] != len(self.tokens):
                raise ValueError(
                    f"{self.path} was trained on {found.state['num_tokens']:,} words, got {len(self.tokens):,}; likely "
                    "the folder's text was replaced: train into a new folder"
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
        """Train on the next pieces; each thread takes the next piece when it has finished one."""
        last = min(self.step + _ROUND, self.num_steps)
        steps = iter([(step, self._position(step)) for step in range(self.step, last)])

        def work(workspace: Workspace) -> None:
            for step, position in steps:
                piece = self.tokens[position * PIECE : (position + 1) * PIECE]
                seed = derive(self.train.seed, step, "word2vec draws")
                train_piece(piece, seed, self.rate(step), self.learner.tables, self.learner.shape, workspace)

        for _ in self.threads.map(work, self.workspaces):
            pass
        self.step = last

    def rate(self, step: int) -> float:
        """Return the learning rate of a piece."""
        return self.train.lr * max(_LEAST_RATE, 1 - step / self.num_steps)

    def _position(self, step: int) -> int:
        """Return the position of a piece in the text."""
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
            Diverged: The loss is not finite.
        """
        now, loss = time.monotonic(), np.sum([workspace.loss for workspace in self.workspaces], axis=0)
        speed = (self.step - self.reported[1]) * PIECE / max(now - self.reported[0], 1e-9)
        numbers = {
            "step": self.step,
            "epochs": self.step / self.num_pieces,
            "loss": float(loss[0] / loss[1]) if loss[1] else math.nan,
            "lr": self.rate(min(self.step, self.num_steps - 1)),
            "words_per_second": speed,
            "seconds_left": (self.num_steps - self.step) * PIECE / speed,
        }
        for workspace in self.workspaces:
            workspace.loss[:] = 0
        reporter.report(numbers, line=format_line(numbers, self.train.epochs))
        self.reported = (now, self.step)
        if loss[1] and not math.isfinite(numbers["loss"]):
            raise Diverged(
                f"the loss is not finite after {numbers['epochs']:.2f} epochs: the learning rate {self.train.lr:g} is "
                "too high for this text; start again in a new folder with half of it (`--lr`). The last checkpoint is "
                "unchanged"
            )


def format_line(numbers: Report, epochs: int) -> str:
    """Return a report as one line for the screen."""
    minutes, seconds = divmod(max(0, round(numbers["seconds_left"])), 60)
    return (
        f"epoch {numbers['epochs']:.2f} of {epochs} | loss {numbers['loss']:.3f} nats per pair | "
        f"lr {numbers['lr']:.2g} | "
        f"{numbers['words_per_second'] / 1e6:.2f} M words/s | {minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
    )
