"""The training loop.

An update is a pure function of the weights, the optimiser state, the seed and the update's number. The checkpoint holds
weights and optimiser state, so a run that was interrupted, even killed at any moment, ends with bit-identical weights
to one that was not (on the same machine, with the same number of threads).

Optional attributes of a system, beside `loss` (see `models.protocols.System`):

- `lr_factors() -> dict[str, float]`: learning-rate factors by dotted prefix of its parameter names;
- `chance_nats`, `max_code_perplexity`: reference values for the screen and for `watch.Watch`;
- `recover(rng=...) -> str`: leave the blank plateau and return a description of what was done. It may change only
  parameters and buffers, so that the checkpoint holds its effect. The optimiser state of changed parameters is dropped.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, final

import torch
from pydantic import Field
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sori.core import distributed
from sori.core.config import Config
from sori.core.precision import Precision, chosen
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng, derive
from sori.core.shapes import Tensor
from sori.data.batches.loader import Batches, prefetch
from sori.training import checkpoint
from sori.training.metrics import Reporter, Window, read_metrics
from sori.training.optim import OptimConfig, make_optimizer, scale_and_clip, set_lr
from sori.training.schedule import ScheduleConfig, factor
from sori.training.watch import (
    Diverged,
    Facts,
    Finding,
    Watch,
    WatchConfig,
    evaluation_failed,
    non_finite_error,
)

ERRORS = ("dev_cer", "dev_wer", "held_out_mlm")
"""Numbers by which evaluations are compared, the first that there is; less is better."""
Evaluation = Callable[[Any], Mapping[str, float]]
"""Takes the system in eval mode and returns named numbers; runs only in the first process."""


class TrainConfig(Config):
    """Length and precision of training, and when to report and save."""

    num_steps: int = Field(ge=1)
    """Number of updates of the weights in the whole run."""
    num_accumulate: int = Field(default=1, ge=1)
    """Number of micro-batches that a process accumulates per update. 2 is equivalent to two processes with 1 each."""
    precision: Precision = "bfloat16"
    """`bfloat16`: matrix products in bfloat16 (autocast), weights and sums in float32, where the device computes in
    bfloat16 when the run begins; otherwise all in float32, which is faster there. A run keeps what it began with."""
    seed: int = 0
    """Seed of all random numbers and of the order of the data."""
    max_skipped: int = Field(default=5, ge=1)
    """Number of consecutive updates skipped because loss or gradient is not finite, after which the run stops."""
    log_every: int = Field(default=25, ge=1)
    """Number of updates between two reports."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Number of updates between two evaluations; None: only after the last update."""
    save_every_steps: int = Field(default=1000, ge=1)
    """Number of updates between two checkpoints."""
    save_every_minutes: float = Field(default=10.0, gt=0)
    """Minutes between two checkpoints; whichever of the two limits is reached first counts."""
    keep_checkpoints: int = Field(default=2, ge=1, le=1000)
    """Number of checkpoints to keep: the newest, from which a run is continued, and earlier ones in `checkpoints/`. The
    best one by an error that the evaluations measure (`dev_cer`) is kept in addition."""
    num_loader_threads: int = Field(default=1, ge=1, le=1024)
    """Number of threads that prefetch audio."""


def train(
    system: Any,
    batches: Batches,
    *,
    train: TrainConfig,
    optim: OptimConfig,
    schedule: ScheduleConfig,
    folder: RunFolder,
    evaluations: Sequence[Evaluation] = (),
    watch: WatchConfig = WatchConfig(),  # noqa: B008 - frozen
) -> bool:
    """Train a system, or continue a run that was interrupted.

    Args:
        system: Module that follows `models.protocols.System`; trained in place, on `distributed.device()`.
        batches: Micro-batches by global number; update `step` uses numbers `step * num_parts` to
            `(step + 1) * num_parts - 1`.
        train: Length, precision, reports, checkpoints.
        optim: Optimiser.
        schedule: Learning-rate schedule.
        folder: Run folder, initialised with `RunFolder.begin`. Several processes must share it.
        evaluations: Run every `train.evaluate_every` updates and after the last one, always after a save: an evaluation
            that fails is reported, and training continues.
        watch: Thresholds for detecting known failures in the reports.

    Returns:
        Whether all updates are done; False after SIGTERM or Ctrl-C, with the state saved.

    Raises:
        ValueError: The folder holds a run of another system, or with another number of micro-batches per update.
        Diverged: The loss stayed infinite or NaN, or the codebook collapsed; the message gives cause and cure.
        OSError: A checkpoint cannot be written; the last one is intact.
    """
    run = _Run(system, train=train, optim=optim, schedule=schedule, folder=folder, watch=watch)
    run.resume()
    is_first = distributed.rank() == 0
    with Reporter(folder, step=run.step, facts=run.watch.facts, active=is_first) as reporter, StopSignals() as stop:
        if run.step and _due(train.evaluate_every, run.step, train.num_steps):
            run.evaluate(evaluations, reporter, once=True)  # the run may have been stopped before its evaluation
        if run.step >= train.num_steps:
            reporter.message(f"{folder.path} is finished ({run.step} updates); nothing to do")
            return True
        reporter.message(run.beginning())
        with contextlib.closing(prefetch(batches, run.indices(), num_threads=train.num_loader_threads)) as stream:
            while run.step < train.num_steps:
                stopping = run.update(stream, stop_requested=stop.requested)
                reporter.tick(run.step)
                if run.step % train.log_every == 0 or run.step == train.num_steps:
                    run.report(reporter)
                evaluate = bool(evaluations) and _due(train.evaluate_every, run.step, train.num_steps)
                if stopping or evaluate or run.save_is_due():
                    run.save()
                if evaluate and not stopping:
                    run.evaluate(evaluations, reporter)
                if stopping and run.step < train.num_steps:
                    reporter.message(f"saved after update {run.step}; repeat the command to continue")
                    return False
    return True


@final
class _Run:
    """State of a run; `step` counts finished updates."""

    def __init__(
        self,
        system: Any,
        *,
        train: TrainConfig,
        optim: OptimConfig,
        schedule: ScheduleConfig,
        folder: RunFolder,
        watch: WatchConfig,
    ) -> None:
        self.train, self.optim, self.schedule = train, optim, schedule
        self.folder, self.path = folder, folder.checkpoint
        self.device = distributed.device()
        self.system: Any = system.to(self.device)
        self.system.train()
        lr_factors: dict[str, float] = getattr(system, "lr_factors", dict)()
        self.optimizer = make_optimizer(self.system, optim, lr_factors=lr_factors)
        self.model: nn.Module = _Objective(self.system)
        self.num_parts = train.num_accumulate * distributed.world_size()
        facts = (getattr(system, name, None) for name in Facts._fields[1:])
        self.watch = Watch(watch, Facts(train.num_steps, *facts))
        self.window = Window()
        self.step, self.seconds, self.skipped_in_row = 0, 0.0, 0
        self.precision = chosen(train.precision, self.device)
        self.lr = self.waited = 0.0
        self.saved_step = 0
        self.saved_at = time.monotonic()
        self.reported = (self.saved_at, 0, 0.0)
        """Time of this process's last report (or start), and `step` and `seconds` then: for the speeds."""

    def beginning(self) -> str:
        """Return a message about how the run begins or continues."""
        begins = f"continuing {self.folder.path} after update {self.step}" if self.step else "training"
        other = (
            f": this device does not compute in {self.train.precision}"
            if self.train.precision != self.precision
            else ""
        )
        return f"{begins}, matrix products in {self.precision}{other}"

    def indices(self) -> Iterator[int]:
        """Yield the global numbers of this process's micro-batches, from the next update on."""
        for step in range(self.step, self.train.num_steps):
            for accumulated in range(self.train.num_accumulate):
                yield step * self.num_parts + self._part(accumulated)

    def _part(self, accumulated: int) -> int:
        return accumulated * distributed.world_size() + distributed.rank()

    def resume(self) -> None:
        """Restore the checkpoint, if there is one, and synchronise the processes."""
        if self.path.exists():
            found = checkpoint.load(self.path)
            state = found.state
            if state["num_parts"] != self.num_parts:
                raise ValueError(
                    f"{self.path.parent} was started with {state['num_parts']} micro-batches per update (processes x "
                    f"train.num_accumulate), got {self.num_parts}; change train.num_accumulate so that the product "
                    "stays the same"
                )
            checkpoint.restore(found, system=self.system, optimizer=self.optimizer)
            self.step, self.seconds, self.skipped_in_row = state["step"], state["seconds"], state["skipped_in_row"]
            self.saved_step = self.step
            self.precision = state.get("precision", self.train.precision)  # before it was stored, it was the setting
            self.window, self.watch.state = Window(**state["window"]), state["watch"]
        self.reported = (time.monotonic(), self.step, self.seconds)
        steps = distributed.all_reduce_sum(torch.tensor(float(self.step), device=self.device))
        if float(steps) != self.step * distributed.world_size():
            raise ValueError(
                f"the processes do not see the same checkpoint: {self.path.parent} must be a shared folder"
            )
        halves = distributed.all_reduce_sum(torch.tensor(float(self.precision == "bfloat16"), device=self.device))
        if float(halves) < distributed.world_size():
            self.precision = "float32"  # in all processes, if one of them is on another processor
        if distributed.world_size() > 1:
            # LayerDrop, frozen phases and rarely used parts leave parameters without a gradient in some updates.
            self.model = DistributedDataParallel(self.model, find_unused_parameters=True)

    def save(self) -> None:
        """Write the checkpoint, in the first process only: the state is the same in all of them."""
        if distributed.rank() == 0:
            state = {
                "step": self.step,
                "num_parts": self.num_parts,
                "seconds": self.seconds,
                "skipped_in_row": self.skipped_in_row,
                "precision": self.precision,
                "window": self.window.to_state(),
                "watch": self.watch.state,
            }
            if self.saved_step != self.step:
                number = self.train.keep_checkpoints - 1
                checkpoint.keep_earlier(self.path, self.saved_step, self.folder.earlier, number=number)
            checkpoint.save(self.path, system=self.system, optimizer=self.optimizer, state=state)
        self.saved_at, self.saved_step = time.monotonic(), self.step

    def save_is_due(self) -> bool:
        """Return whether to save now: by updates, by minutes, or at the end."""
        minutes = (time.monotonic() - self.saved_at) / 60
        return _due(self.train.save_every_steps, self.step, self.train.num_steps) or (
            minutes >= self.train.save_every_minutes
        )

    def update(self, stream: Iterator[Any], *, stop_requested: bool) -> bool:
        """Update the weights once; return whether any process received a stop signal."""
        sums = self._over_processes({**self._gradients(stream), "stop": float(stop_requested)})
        seconds, stopping = sums.pop("seconds"), sums.pop("stop") > 0
        # DDP averages the gradients over processes; the update needs their sum divided by the global count.
        scale = distributed.world_size() / sums["count"] if sums["count"] > 0 else math.nan
        grad_norm = scale_and_clip(self.system, scale=scale, max_norm=self.optim.max_norm)
        finite = math.isfinite(grad_norm) and math.isfinite(sums["total"])  # the same in all processes
        self.lr = self.optim.lr * factor(self.schedule, self.step, self.train.num_steps)
        if finite:
            set_lr(self.optimizer, self.lr)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped_in_row = 0 if finite else self.skipped_in_row + 1
        if self.skipped_in_row >= self.train.max_skipped:
            raise Diverged(f"{non_finite_error(self.skipped_in_row, self.step)} {_where_saved(self.folder)}")
        self.step += 1
        self.seconds += seconds
        self.window.add(sums, seconds=seconds, grad_norm=grad_norm, skipped=not finite)
        return stopping

    def _gradients(self, stream: Iterator[Any]) -> dict[str, Tensor | float]:
        """Run forward and backward over this process's micro-batches; sum total, count, terms and seconds of audio."""
        sums: dict[str, Any] = {"seconds": 0.0}
        for accumulated in range(self.train.num_accumulate):
            before = time.monotonic()
            batch = next(stream)
            self.waited += time.monotonic() - before
            sums["seconds"] += batch.seconds
            part = self._part(accumulated)
            torch.manual_seed(derive(self.train.seed, self.step, part, "dropout"))
            rng = Rng(self.train.seed, self.step, part, self.device)
            last = accumulated == self.train.num_accumulate - 1
            bfloat16 = self.precision == "bfloat16"
            with self._communicating(last):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
                    total, count, terms = self.model(batch.to(self.device), step=self.step, rng=rng)
                total.backward()
            for name, value in {"total": total.detach(), "count": count, **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double()
        return sums

    def _communicating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context in which processes exchange gradients only for the last micro-batch of an update."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _over_processes(self, sums: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Sum numbers over all processes, in one all-reduce with one device synchronisation."""
        names = sorted(sums)
        values = [torch.as_tensor(sums[n], dtype=torch.float64, device=self.device) for n in names]
        return dict(zip(names, distributed.all_reduce_sum(torch.stack(values)).tolist(), strict=True))

    def report(self, reporter: Reporter) -> None:
        """Report the updates since the last report, check them for known failures, and act on the findings."""
        now = time.monotonic()
        then, step, seconds = self.reported
        elapsed = max(now - then, 1e-9)
        numbers = {
            "step": self.step,
            **self._references(),
            **self.window.means(),
            "lr": self.lr,
            "hours": self.seconds / 3600,
            "hours_per_hour": (self.seconds - seconds) / elapsed,
            "seconds_left": (self.train.num_steps - self.step) * elapsed / (self.step - step),
            "wait_share": min(1.0, self.waited / elapsed),
        }
        reporter.report(numbers)
        self.window, self.waited, self.reported = Window(), 0.0, (now, self.step, self.seconds)
        for finding in self.watch.check(numbers):
            reporter.warn(self.step, finding)
            self._act(finding, reporter)

    def _references(self) -> dict[str, float]:
        """Return the reference values that are stored with a report."""
        facts = self.watch.facts
        known = {"chance": facts.chance_nats, "max_code_perplexity": facts.max_code_perplexity}
        return {name: value for name, value in known.items() if value is not None}

    def _act(self, finding: Finding, reporter: Reporter) -> None:
        if finding.action == "stop":
            raise Diverged(f"stopped at update {self.step}, {finding} {_where_saved(self.folder)}")
        if finding.action == "recover" and hasattr(self.system, "recover"):
            before = {p: p.detach().clone() for p in self.system.parameters()}
            done = self.system.recover(rng=Rng(self.train.seed, self.step, 0, self.device))
            reporter.message(f"recovery at update {self.step}: {done}")
            for parameter, old in before.items():
                if not torch.equal(parameter, old):
                    self.optimizer.state.pop(parameter, None)

    def evaluate(self, evaluations: Sequence[Evaluation], reporter: Reporter, *, once: bool = False) -> None:
        """Run the evaluations in the first process; the others wait.

        Args:
            evaluations: Evaluations to run.
            reporter: Receives their results.
            once: Do nothing if the metrics hold an evaluation of this update. The first process decides, since the
                others may read the file before or after it is changed.
        """
        if evaluations and distributed.rank() == 0 and not (once and self._is_evaluated()):
            self.system.eval()
            with torch.no_grad():
                for evaluation in evaluations:
                    self._evaluate(evaluation, reporter)
            self.system.train()
        if evaluations:
            distributed.barrier()

    def _evaluate(self, evaluation: Evaluation, reporter: Reporter) -> None:
        """Run one evaluation; keep the checkpoint if it is the best so far."""
        try:
            numbers = evaluation(self.system)
        except Exception as error:  # noqa: BLE001 - whatever fails, hours of training are not to be lost with it
            reporter.warn(self.step, evaluation_failed(error))
            return
        earlier = [row for row in read_metrics(self.folder.metrics) if row["kind"] == "evaluation"]
        reporter.evaluation(self.step, numbers)
        for name in ERRORS:
            if name in numbers:
                best = min((row[name] for row in earlier if row.get(name) is not None), default=math.inf)
                if numbers[name] < best:
                    checkpoint.keep(self.path, self.folder.earlier / "best.safetensors")
                return

    def _is_evaluated(self) -> bool:
        """Return whether the metrics hold an evaluation of this update."""
        return any(r["step"] == self.step for r in read_metrics(self.folder.metrics) if r["kind"] == "evaluation")


@final
class _Objective(nn.Module):
    """Calls the loss inside `forward`.

    DDP synchronises gradients only for calls through its own `forward`: calling `loss` directly would let the replicas
    diverge silently.
    """

    def __init__(self, system: Any) -> None:
        super().__init__()
        self.system = system

    def forward(self, batch: Any, *, step: int, rng: Rng) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the parts of a `LossSum` as a tuple, which DDP can traverse."""
        part = self.system.loss(batch, step=step, rng=rng)
        return part.total, part.count, part.terms


@final
class StopSignals:
    """Stop after the current update on SIGTERM, Ctrl-C or a closed terminal; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # not on Windows
            hangup = [s for s in hangup if signal.getsignal(s) is not signal.SIG_IGN]  # as `nohup` sets it
            self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT, *hangup)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # os.write because print is not re-entrant: the signal may arrive during a print.
        os.write(2, b"\nfinishing this update, then saving; press Ctrl-C again to stop at once without saving\n")


def _where_saved(folder: RunFolder) -> str:
    """Return a sentence on the states from which the run can be continued."""
    if not folder.checkpoint.is_file():
        return "No checkpoint was saved yet."
    earlier = sorted(path.name for path in folder.earlier.glob("*.safetensors")) if folder.earlier.is_dir() else []
    if not earlier:
        return "The last checkpoint is unchanged."
    return (
        f"The last checkpoint is unchanged, and earlier ones are in {folder.earlier} ({', '.join(earlier)}); copy one "
        f"of them over {folder.checkpoint.name} to continue from there."
    )


def _due(every: int | None, step: int, num_steps: int) -> bool:
    return step == num_steps or (every is not None and step % every == 0)
