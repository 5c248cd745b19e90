"""Train in a process of its own while this one does something else.

Small models train no faster with two threads than with one (docs/results/speed.md, "Speed"), so that a second
core is better used for a second run.
"""

import contextlib
import multiprocessing
import sys
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from sori.core.log import show
from sori.recipes.recipe import Recipe
from sori.runs import run


@contextlib.contextmanager
def head_start(recipe: Recipe, *, into: Path, data: Sequence[Path], log: Path) -> Iterator[BaseProcess]:
    """Train beside what the `with` block does, with one thread each; wait for the end if the block ends normally.

    Call `run.train` with the same arguments afterwards. It returns at once if the other process has finished, continues
    what was interrupted, and raises the error that the other process may have met, which is also in its log.

    Args:
        recipe: what to train; without `init`, which the block might be about to train.
        into: run folder; not used by the block.
        data: prepared folders.
        log: file for what the other process would show on the screen.

    Yields:
        The process; `terminate` it if the block gives up, and the run stores its state and ends.
    """
    # A forked process would inherit the threads of torch in an unknown state.
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(recipe, into, data, log))
    threads = torch.get_num_threads()
    process.start()
    torch.set_num_threads(1)
    try:
        yield process
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
        torch.set_num_threads(threads)


def _train(recipe: Recipe, into: Path, data: Sequence[Path], log: Path) -> None:
    torch.set_num_threads(1)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file, contextlib.redirect_stderr(file), contextlib.redirect_stdout(file):
        show()
        try:
            run.train(recipe, into=into, data=data)
        except Exception:  # noqa: BLE001 - the caller of this function would write it to the screen
            traceback.print_exc()
            sys.exit(1)
