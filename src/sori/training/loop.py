"""The training loop.

An update is a pure function of the weights, the optimiser state, the seed and the update's number. The checkpoint holds
weights and optimiser state, so a run that was interrupted, even killed at any moment, ends with bit-identical weights
to one that was not (on the same machine, with the same number of threads).

Optional attributes of a system, beside `loss` (see `models.protocols.System`):

- `lr_factors() -> dict[str, float]`: learning-rate factors by dotted prefix of its parameter names;
- `chance_nats`, `max_code_perplexity`: reference values for the screen and for `watch.Watch`;
- `uses_every_parameter: bool`: every micro-batch gives every parameter a gradient, so that DDP need not search for
  parameters without one;
- `recover(rng=...) -> str`: leave the blank plateau and return a description of what was done. It may change only
  parameters and buffers, so that the checkpoint holds its effect. The optimiser state of changed parameters is dropped.
"""

import contextlib
import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from pydantic import Field

from sori.core import distributed
from sori.core.config import Config
from sori.core.precision import Precision, chosen
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng, derive
from sori.core.shapes import Tensor
from sori.data.batches.loader import Batches, prefetch
from sori.training.evaluations import Evaluation
from sori.training.evaluations import run as run_evaluations
from sori.training.history import History
from sori.training.metrics import Reporter, Window
from sori.training.optim import OptimConfig, make_optimizer, scale_and_clip, set_lr
from sori.training.processes import Shard, Shared, is_sharded
from sori.training.schedule import ScheduleConfig, factor
from sori.training.stop_signals import StopSignals
from sori.training.watch import (
    Diverged,
    Facts,
    Finding,
    Watch,
    WatchConfig,
    non_finite_error,
)

NUM_HEALTHY = 2
"""Number of checkpoints to which a run can go back: if the first leads to a collapse again, the one before."""


class TrainConfig(Config):
    """Length and precision of training, and when to report and save."""

    num_steps: int = Field(ge=1)
    """Number of updates of the weights in the whole run."""
    num_accumulate: int = Field(default=1, ge=1)
    """Number of micro-batches that a process accumulates per update. 2 is equivalent to two processes with 1 each. A
    run that is continued with another number of processes keeps its number of micro-batches per update."""
    shard: Shard = "auto"
    """Under `torchrun`: whether each process holds only its part of weights and moments (FSDP2) and computes blocks
    again in the backward pass; `auto`: from 250 M parameters on."""
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
        system: Module that follows `models.protocols.System`; trained in place, on `distributed.device()`. If its
            weights are shared among processes, it gets them at the end, in the first process and on its host.
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
        reporter.rolled_back(run.step, run.rollbacks)
        due = bool(run.step) and _due(train.evaluate_every, run.step, train.num_steps)
        if due and not run.evaluate(evaluations, reporter, stop, once=True):
            return False  # the run was stopped in its evaluation before, and now again
        if run.step >= train.num_steps:
            reporter.message(f"{folder.path} is finished ({run.step} updates); nothing to do")
            run.shared.gather()
            return True
        reporter.message(run.beginning())
        while run.step < train.num_steps:
            with contextlib.closing(prefetch(batches, run.indices(), num_threads=train.num_loader_threads)) as stream:
                if not run.advance(stream, evaluations, reporter, stop):
                    reporter.message(f"saved after update {run.step}; repeat the command to continue")
                    return False
        run.shared.gather()
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
        distributed.barrier()  # the first process may have prepared data alone, for hours
        self.train, self.optim, self.schedule, self.folder = train, optim, schedule, folder
        self.device = distributed.device()
        facts = (getattr(system, name, None) for name in Facts._fields[1:])
        self.watch = Watch(watch, Facts(train.num_steps, *facts))
        self.shared = Shared(system, sharded=is_sharded(system, train.shard, optimizer=optim.kind))
        self.system = self.shared.trained
        lr_factors: dict[str, float] = getattr(system, "lr_factors", dict)()
        self.optimizer = make_optimizer(self.system, optim, lr_factors=lr_factors)
        self.history = History(folder, number=train.keep_checkpoints, sharded=self.shared.sharded)
        self.num_accumulate = train.num_accumulate
        self.window = Window()
        self.step, self.seconds, self.skipped_in_row = 0, 0.0, 0
        self.rollbacks: list[dict[str, Any]] = []
        """Where the run went back after a collapse: `from_step`, `step`, `lr_factor`."""
        self.healthy: list[int] = []
        """Updates whose checkpoints are kept to go back to."""
        self.precision = chosen(train.precision, self.device)
        self.lr = self.waited = 0.0
        self.saved_at = time.monotonic()
        self.reported = (self.saved_at, 0, 0.0)
        """Time of this process's last report (or start), and `step` and `seconds` then: for the speeds."""

    @property
    def num_parts(self) -> int:
        """Number of micro-batches of an update over all processes."""
        return self.num_accumulate * distributed.world_size()

    def beginning(self) -> str:
        """Return a message about how the run begins or continues."""
        begins = f"continuing {self.folder.path} after update {self.step}" if self.step else "training"
        other = (
            f": this device does not compute in {self.train.precision}"
            if self.train.precision != self.precision
            else ""
        )
        how = f", shared among {distributed.world_size()} processes" if self.shared.sharded else ""
        return f"{begins}{how}, matrix products in {self.precision}{other}"

    def indices(self) -> Iterator[int]:
        """Yield the global numbers of this process's micro-batches, from the next update on."""
        for step in range(self.step, self.train.num_steps):
            for accumulated in range(self.num_accumulate):
                yield step * self.num_parts + self._part(accumulated)

    def _part(self, accumulated: int) -> int:
        return accumulated * distributed.world_size() + distributed.rank()

    def resume(self) -> None:
        """Restore the checkpoint, if there is one, and synchronise the processes."""
        path = self.history.newest()
        if path is not None:
            self._restore(path)
        self.reported = (time.monotonic(), self.step, self.seconds)
        steps = distributed.all_reduce_sum(torch.tensor(float(self.step), device=self.device))
        if float(steps) != self.step * distributed.world_size():
            raise ValueError(
                f"the processes do not see the same checkpoint: {self.folder.path} must be a shared folder"
            )
        halves = distributed.all_reduce_sum(torch.tensor(float(self.precision == "bfloat16"), device=self.device))
        if float(halves) < distributed.world_size():
            self.precision = "float32"  # in all processes, if one of them is on another processor
        self.shared.replicate()
        if path is None and self.watch.facts.max_code_perplexity is not None:
            self.save(wait=True)  # a run whose codebook collapses early goes back to its beginning

    def _restore(self, path: Path) -> None:
        """Set the state of the run to that of a checkpoint."""
        state = self.history.restore(path, system=self.system, optimizer=self.optimizer)
        self.num_accumulate = _num_accumulate(self.train.num_accumulate, state, self.folder.path)
        self.step, self.seconds, self.skipped_in_row = state["step"], state["seconds"], state["skipped_in_row"]
        self.precision = state.get("precision", self.train.precision)  # before it was stored, it was the setting
        self.window, self.watch.state = Window(**state["window"]), state["watch"]
        self.rollbacks, self.healthy = state.get("rollbacks", []), state.get("healthy", [])
        self.history.keep_missing_healthy(state)

    def save(self, *, wait: bool = True) -> None:
        """Write the checkpoint; `wait`: it must be complete on return."""
        if self._is_healthy() and self.step not in self.healthy:
            self.healthy = [*self.healthy, self.step][-NUM_HEALTHY:]
        state = {
            "step": self.step,
            "num_parts": self.num_parts,
            "num_accumulate": self.train.num_accumulate,
            "seconds": self.seconds,
            "skipped_in_row": self.skipped_in_row,
            "precision": self.precision,
            "window": self.window.to_state(),
            "watch": self.watch.state,
            "rollbacks": self.rollbacks,
            "healthy": self.healthy,
        }
        self.history.save(copy.deepcopy(state), system=self.system, optimizer=self.optimizer, wait=wait)
        self.saved_at = time.monotonic()

    def _is_healthy(self) -> bool:
        """Return whether to keep the state that is saved now for going back to, however often a run is stopped."""
        if self.watch.facts.max_code_perplexity is None or self.step % self.train.save_every_steps:
            return False
        led_to_collapse = any(one["step"] == self.step for one in self.rollbacks)
        return not led_to_collapse and not self.watch.alarmed

    def advance(
        self, stream: Iterator[Any], evaluations: Sequence[Evaluation], reporter: Reporter, stop: StopSignals
    ) -> bool:
        """Update, report, save and evaluate up to the last update, or until the run goes back to an earlier one.

        Returns:
            False if the run was stopped before its end, with its state saved.
        """
        while self.step < self.train.num_steps:
            before = self.step
            stopping = self.update(stream, stop)
            if self.step > before:
                reporter.tick(self.step)
                if _due(self.train.log_every, self.step, self.train.num_steps) and self.report(reporter):
                    return True
            evaluate = bool(evaluations) and _due(self.train.evaluate_every, self.step, self.train.num_steps)
            evaluate = evaluate and not stopping
            if stopping or evaluate or self.save_is_due():
                self.save(wait=stopping or evaluate or self.step == self.train.num_steps)
            if evaluate and not self.evaluate(evaluations, reporter, stop):
                return False
            if stopping and self.step < self.train.num_steps:
                return False
        return True

    def save_is_due(self) -> bool:
        """Return whether to save now: by updates, by minutes, or at the end."""
        minutes = (time.monotonic() - self.saved_at) / 60
        return _due(self.train.save_every_steps, self.step, self.train.num_steps) or (
            minutes >= self.train.save_every_minutes
        )

    def update(self, stream: Iterator[Any], stop: StopSignals) -> bool:
        """Update the weights once, or not at all if a stop is requested meanwhile; return whether to stop."""
        gradients = self._gradients(stream, stop)
        if gradients is None:
            self.optimizer.zero_grad(set_to_none=True)
            return True
        sums = self._over_processes({**gradients, "stop": float(stop.requested)})
        seconds, stopping = sums.pop("seconds"), sums.pop("stop") > 0
        self.waited += sums.pop("waited") / distributed.world_size()
        # DDP and FSDP average the gradients over processes; the update needs their sum divided by the global count.
        scale = distributed.world_size() / sums["count"] if sums["count"] > 0 else math.nan
        self.shared.drop_unused_gradients()
        grad_norm = scale_and_clip(self.system, scale=scale, max_norm=self.optim.max_norm)
        finite = math.isfinite(grad_norm) and math.isfinite(sums["total"])  # the same in all processes
        lowered = math.prod(one["lr_factor"] for one in self.rollbacks)
        self.lr = self.optim.lr * factor(self.schedule, self.step, self.train.num_steps) * lowered
        if finite:
            set_lr(self.optimizer, self.lr)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped_in_row = 0 if finite else self.skipped_in_row + 1
        if self.skipped_in_row >= self.train.max_skipped:
            raise Diverged(f"{non_finite_error(self.skipped_in_row, self.step)} {self.history.where_saved()}")
        self.step += 1
        self.seconds += seconds
        self.window.add(sums, seconds=seconds, grad_norm=grad_norm, skipped=not finite)
        return stopping

    def _gradients(self, stream: Iterator[Any], stop: StopSignals) -> dict[str, Tensor | float] | None:
        """Run forward and backward over this process's micro-batches; sum what `update` needs.

        Returns:
            None if a stop was requested in any process before the last micro-batch.
        """
        sums: dict[str, Any] = {"seconds": 0.0, "waited": 0.0}
        for accumulated in range(self.num_accumulate):
            if accumulated and distributed.any_process(stop.requested):
                return None
            before = time.monotonic()
            batch = next(stream)
            sums["waited"] += time.monotonic() - before
            sums["seconds"] += batch.seconds
            part = self._part(accumulated)
            torch.manual_seed(derive(self.train.seed, self.step, part, "dropout"))
            rng = Rng(self.train.seed, self.step, part, self.device)
            bfloat16 = self.precision == "bfloat16"
            with self.shared.communicating(accumulated == self.num_accumulate - 1):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
                    total, count, terms = self.shared.objective(batch.to(self.device), step=self.step, rng=rng)
                total.backward()
            for name, value in {"total": total.detach(), "count": count, **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double()
        return sums

    def _over_processes(self, sums: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Sum numbers over all processes, in one all-reduce with one device synchronisation."""
        names = sorted(sums)
        values = [torch.as_tensor(sums[n], dtype=torch.float64, device=self.device) for n in names]
        return dict(zip(names, distributed.all_reduce_sum(torch.stack(values)).tolist(), strict=True))

    def report(self, reporter: Reporter) -> bool:
        """Report the updates since the last report, check them for known failures, and act on the findings.

        Returns:
            Whether the run went back to an earlier update.
        """
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
        back_to = self._back_to()
        for finding in self.watch.check(numbers, can_roll_back=back_to is not None):
            reporter.warn(self.step, finding)
            if finding.action == "roll_back" and back_to is not None:
                self._roll_back(back_to, reporter)
                return True
            self._act(finding, reporter)
        return False

    def _references(self) -> dict[str, float]:
        """Return the reference values that are stored with a report."""
        facts = self.watch.facts
        known = {"chance": facts.chance_nats, "max_code_perplexity": facts.max_code_perplexity}
        return {name: value for name, value in known.items() if value is not None}

    def _act(self, finding: Finding, reporter: Reporter) -> None:
        if finding.action == "stop":
            raise Diverged(f"stopped at update {self.step}, {finding} {self.history.where_saved()}")
        if finding.action == "recover" and hasattr(self.system, "recover"):
            done, changed = self.shared.recover(Rng(self.train.seed, self.step, 0, self.device))
            reporter.message(f"recovery at update {self.step}: {done}")
            for parameter in changed:
                self.optimizer.state.pop(parameter, None)

    def _back_to(self) -> int | None:
        """Return the update to go back to after a collapse, if the run may; the first process decides."""
        settled = not self.watch.alarmed and self.watch.config.num_reports > 1  # no collapse is found in this report
        if settled or not self.healthy or len(self.rollbacks) >= self.watch.config.max_rollbacks:
            return None
        self.history.wait()  # so that it does not depend on the speed of the disk which are there
        found = (step for step in reversed(self.healthy) if self.history.healthy(step) is not None)
        return distributed.from_first(next(found, None))

    def _roll_back(self, step: int, reporter: Reporter) -> None:
        """Continue from a healthy checkpoint with a lower learning rate, and save that decision at once."""
        path, before = self.history.healthy(step), self.step
        assert path is not None  # noqa: S101 - the first process has found it
        lowered = self.watch.config.rollback_lr_factor
        # What lies after this update is forgotten: later decisions may not depend on it.
        earlier = [{**one, "step": min(one["step"], step)} for one in self.rollbacks]
        self._restore(path)
        self.rollbacks = [*earlier, {"from_step": before, "step": step, "lr_factor": lowered}]
        self.healthy = [one for one in self.healthy if one < step] or [step]
        self.history.forget_after(step)
        self.save()
        reporter.rolled_back(step, self.rollbacks)
        reporter.message(f"went back from update {before} to {step}, with {lowered:g} times the learning rate")
        self.waited, self.reported = 0.0, (time.monotonic(), self.step, self.seconds)

    def evaluate(
        self, evaluations: Sequence[Evaluation], reporter: Reporter, stop: StopSignals, *, once: bool = False
    ) -> bool:
        """Run the evaluations; return False if a stop was requested. See `evaluations.run`."""
        return run_evaluations(
            evaluations,
            shared=self.shared,
            history=self.history,
            metrics=self.folder.metrics,
            step=self.step,
            reporter=reporter,
            stop=stop,
            once=once,
        )


def _num_accumulate(given: int, state: Mapping[str, Any], folder: Path) -> int:
    """Return the micro-batches of each process, so that an update has as many as before.

    Raises:
        ValueError: They cannot be divided among the processes, or the setting was changed.
    """
    parts, processes = state["num_parts"], distributed.world_size()
    if given * processes == parts:
        return given
    if given == state.get("num_accumulate") and parts % processes == 0:
        return int(parts // processes)
    raise ValueError(
        f"{folder} was started with {parts} micro-batches per update (processes x train.num_accumulate), got "
        f"{processes} processes and train.num_accumulate {given}; continue with the setting of the run, and a number "
        f"of processes that divides {parts}"
    )


def _due(every: int | None, step: int, num_steps: int) -> bool:
    return step == num_steps or (every is not None and step % every == 0)
