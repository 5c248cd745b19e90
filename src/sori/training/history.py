"""The checkpoints of a run: the newest, earlier ones, the best, and healthy ones to go back to after a collapse.

Unsharded runs have files, sharded ones folders; a run that is continued with another number of processes may change
from one to the other, and the newest state counts. See `core/run_folder.py` for the names.
"""

import shutil
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from sori.core import distributed
from sori.core.files import link_or_copy
from sori.core.folders import whole_folder
from sori.core.run_folder import RunFolder
from sori.training import checkpoint, sharded_files

BEST = "best"


@final
class History:
    """Reads and writes the checkpoints of one run; all processes make the same calls.

    Args:
        folder: Run folder.
        number: Checkpoints to keep, see `TrainConfig.keep_checkpoints`.
        sharded: Whether to write sharded ones; both kinds are read.
    """

    def __init__(self, folder: RunFolder, *, number: int, sharded: bool) -> None:
        self.folder, self.number, self.sharded = folder, number, sharded
        self._writer = sharded_files.Writer()
        self._saved_step = 0
        if distributed.rank() == 0 and folder.sharded.is_dir():
            for left in folder.sharded.glob(f"*{sharded_files.PARTIAL}"):
                shutil.rmtree(left, ignore_errors=True)

    def newest(self) -> Path | None:
        """Return the file or folder to continue from; None if nothing has been saved."""
        found = self.folder.sharded_checkpoints()[-1:]
        if self.folder.checkpoint.exists():
            found.append(self.folder.checkpoint)
        return max(found, key=_place, default=None) if len(found) > 1 else next(iter(found), None)

    def restore(self, path: Path, *, system: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Read a checkpoint of either kind into a system and its optimiser; return its data.

        Raises:
            ValueError: It is damaged, or holds another system.
        """
        if path.is_dir() and self.sharded:
            state = sharded_files.restore(path, system=system, optimizer=optimizer)
        else:
            found = sharded_files.load_whole(path) if path.is_dir() else checkpoint.load(path)
            checkpoint.restore(found, system=system, optimizer=optimizer)
            state = found.state
        self._saved_step = state["step"]
        return state

    def save(
        self, state: dict[str, Any], *, system: nn.Module, optimizer: torch.optim.Optimizer, wait: bool = True
    ) -> None:
        """Write the state as the newest checkpoint, and remove those that are no longer to be kept.

        Args:
            state: Data of the run; `step`, `rollbacks` and `healthy` (updates) decide on names and on what to keep.
            system: Module that is trained.
            optimizer: Its optimiser.
            wait: Whether a sharded checkpoint must be complete on return; files always are.

        Raises:
            OSError: It cannot be written; the one before is intact.
        """
        step = state["step"]
        if self.sharded:
            weights, moments = checkpoint.tensors_of(system, optimizer)
            target = self.folder.sharded / f"{len(state['rollbacks']):02}-{step:08}"
            self._writer.start(target, weights | moments, state, then=lambda: self._tidy_sharded(target, state))
            if wait:
                self._writer.wait()
        elif distributed.rank() == 0:
            if self._saved_step != step:
                checkpoint.keep_earlier(
                    self.folder.checkpoint, self._saved_step, self.folder.earlier, number=self.number - 1
                )
            checkpoint.save(self.folder.checkpoint, system=system, optimizer=optimizer, state=state)
            self._tidy_files(state)
        self._saved_step = step
        distributed.barrier()  # a slow disk is not to count as a process that does not answer

    def wait(self) -> None:
        """Wait until the newest checkpoint is complete."""
        self._writer.wait()

    def keep_best(self) -> None:
        """Keep the newest checkpoint also as the best one; only the first process calls this."""
        if not self.sharded:
            checkpoint.keep(self.folder.checkpoint, self.folder.earlier / f"{BEST}.safetensors")
            return
        newest = self.folder.sharded_checkpoints()[-1]
        with whole_folder(self.folder.sharded / BEST, may_replace=lambda _: None) as fresh:
            for path in newest.iterdir():
                link_or_copy(path, fresh / path.name)

    def healthy(self, step: int) -> Path | None:
        """Return the checkpoint that was kept after an update to go back to, if it is still there."""
        folders = [path for path in self.folder.sharded_checkpoints() if int(path.name[3:]) == step]
        file = self._healthy_file(step)
        return folders[-1] if folders else file if file.exists() else None

    def keep_missing_healthy(self, state: dict[str, Any]) -> None:
        """Keep the newest file as a healthy one if its state says so and a kill came before."""
        step = state["step"]
        wanted = not self.sharded and step in state.get("healthy", ()) and distributed.rank() == 0
        if wanted and self.healthy(step) is None:
            checkpoint.keep(self.folder.checkpoint, self._healthy_file(step))

    def forget_after(self, step: int) -> None:
        """Remove earlier checkpoints of updates after the one that the run went back to."""
        if distributed.rank() == 0 and self.folder.earlier.is_dir():
            for path in self.folder.earlier.glob("*.safetensors"):
                if path.stem.isdigit() and int(path.stem) > step:
                    path.unlink()

    def where_saved(self) -> str:
        """Return a sentence on the states from which the run can be continued."""
        if not self.folder.has_checkpoint:
            return "No checkpoint was saved yet."
        if self.sharded:
            names = ", ".join(path.name for path in self.folder.sharded_checkpoints())
            return (
                f"The last checkpoints are unchanged ({names} in {self.folder.sharded}); remove the later ones to "
                "continue from an earlier one."
            )
        folder = self.folder.earlier
        earlier = sorted(path.name for path in folder.glob("*.safetensors")) if folder.is_dir() else []
        if not earlier:
            return "The last checkpoint is unchanged."
        return (
            f"The last checkpoint is unchanged, and earlier ones are in {folder} ({', '.join(earlier)}); copy one "
            f"of them over {self.folder.checkpoint.name} to continue from there."
        )

    def _healthy_file(self, step: int) -> Path:
        return self.folder.earlier / f"healthy-{step:08}.safetensors"

    def _tidy_files(self, state: dict[str, Any]) -> None:
        """After a file has been written: keep it as healthy, and remove what it replaces."""
        self.keep_missing_healthy(state)
        kept = {self._healthy_file(step) for step in state["healthy"]}
        for path in self.folder.earlier.glob("healthy-*.safetensors") if self.folder.earlier.is_dir() else ():
            if path not in kept:
                path.unlink()
        for path in self.folder.sharded_checkpoints():
            if int(path.name[3:]) not in state["healthy"]:
                _remove(path)

    def _tidy_sharded(self, newest: Path, state: dict[str, Any]) -> None:
        """After a folder has been written: remove the file of an unsharded run, and folders beyond those to keep."""
        self.folder.checkpoint.unlink(missing_ok=True)
        folders = self.folder.sharded_checkpoints()
        same = [path for path in folders if path.name[:2] == newest.name[:2]]
        for path in folders:
            if path not in same[-self.number :] and int(path.name[3:]) not in state["healthy"]:
                _remove(path)


def _remove(path: Path) -> None:
    """Remove the folder of a checkpoint; after a kill in between, what is left has the name of an unfinished one."""
    left = path.with_name(path.name + sharded_files.PARTIAL)
    path.rename(left)
    shutil.rmtree(left)


def _place(path: Path) -> tuple[int, int, bool]:
    """Return the place of a checkpoint in the course of the run."""
    state = sharded_files.read_state(path) if path.is_dir() else checkpoint.read_state(path)
    return len(state.get("rollbacks", ())), state["step"], path.is_dir()
