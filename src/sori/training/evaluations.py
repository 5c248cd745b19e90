"""Evaluate the system while it is trained, in the first process, and keep the checkpoint of the best result."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sori.core import distributed
from sori.training.history import History
from sori.training.metrics import Reporter, read_metrics
from sori.training.processes import Shared
from sori.training.stop_signals import Interrupted, StopSignals
from sori.training.watch import evaluation_failed

ERRORS = ("dev_cer", "dev_wer", "held_out_mlm")
"""Numbers by which evaluations are compared, the first that there is; less is better."""
Evaluation = Callable[[Any], Mapping[str, float]]
"""Takes the system in eval mode and returns named numbers; runs only in the first process."""


def run(
    evaluations: Sequence[Evaluation],
    *,
    shared: Shared,
    history: History,
    metrics: Path,
    step: int,
    reporter: Reporter,
    stop: StopSignals,
    once: bool = False,
) -> bool:
    """Run the evaluations in the first process; the others wait.

    Args:
        evaluations: Evaluations to run.
        shared: The system that is trained.
        history: Its checkpoints; the state after `step` has been saved.
        metrics: The file with the results of earlier evaluations.
        step: Number of finished updates.
        reporter: Receives the results.
        stop: Interrupts the evaluations.
        once: Do nothing if the metrics hold an evaluation of this update. The first process decides, since the others
            may read the file before or after it is changed.

    Returns:
        False if a stop was requested; the evaluations are repeated when the run is continued.
    """
    if not evaluations or distributed.from_first(once and _is_evaluated(metrics, step)):
        return True
    stopped = False
    with shared.evaluating() as system:
        if distributed.rank() == 0:
            try:
                with stop.interruptible():
                    for evaluation in evaluations:
                        _evaluate(evaluation, system, history=history, metrics=metrics, step=step, reporter=reporter)
            except Interrupted:
                stopped = True
        distributed.barrier()
    return not distributed.any_process(stopped or stop.requested)


def _evaluate(
    evaluation: Evaluation, system: Any, *, history: History, metrics: Path, step: int, reporter: Reporter
) -> None:
    """Run one evaluation; keep the checkpoint if it is the best so far."""
    try:
        numbers = evaluation(system)
    except Exception as error:  # noqa: BLE001 - whatever fails, hours of training are not to be lost with it
        reporter.warn(step, evaluation_failed(error))
        return
    earlier = [row for row in read_metrics(metrics) if row["kind"] == "evaluation"]
    reporter.evaluation(step, numbers)
    for name in ERRORS:
        if name in numbers:
            best = min((row[name] for row in earlier if row.get(name) is not None), default=math.inf)
            if numbers[name] < best:
                history.keep_best()
            return


def _is_evaluated(metrics: Path, step: int) -> bool:
    """Return whether the metrics hold an evaluation of an update."""
    return any(row["step"] == step for row in read_metrics(metrics) if row["kind"] == "evaluation")
