"""Save and load the state of a sharded run: a folder with one safetensors file for each process, and `state.json`.

`torch.distributed.checkpoint` divides the tensors among the files and finds the parts again for another number of
processes. Tensors have the names of `checkpoint.py`. A folder is written as `NAME.partial` by all processes, in the
background if the caller wishes, and renamed by the first process once every file is on the disk.
"""

import shutil
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn

from sori.core import distributed
from sori.core.files import flush, read_json, write_json
from sori.core.shapes import Tensor
from sori.training import checkpoint
from sori.training.checkpoint import FORMAT, Checkpoint, cannot_write, check_room, check_same, tensors_of

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

PARTIAL = ".partial"
_STATE = "state.json"


@final
class Writer:
    """Writes one checkpoint after the other; all processes make the same calls."""

    def __init__(self) -> None:
        self._pending: Future[Any] | None = None
        self._is_named = threading.Event()
        self._target = Path()
        self._needed = 0
        self._then: Callable[[], None] = lambda: None
        self._failed: OSError | None = None

    def start(
        self, target: Path, tensors: dict[str, Tensor], state: dict[str, Any], *, then: Callable[[], None]
    ) -> None:
        """Copy the tensors and begin to write them; they may be changed after the return.

        A folder that exists is kept: it holds the same, since the state after an update is a pure function.

        Args:
            target: Folder to make.
            tensors: Whole tensors, the same in all processes, or parts (`DTensor`), by name.
            state: JSON-serialisable data; floats are restored exactly.
            then: Called in the first process when the folder is complete.

        Raises:
            OSError: This checkpoint or the one before cannot be written; earlier ones are intact.
        """
        self.wait()
        if distributed.from_first(target.exists()):
            return
        self._target, self._then = target, then
        self._needed = sum(tensor.nbytes for tensor in tensors.values())
        partial = target.with_name(target.name + PARTIAL)
        problem = distributed.from_first(_prepare(partial, self._needed, state) if distributed.rank() == 0 else None)
        if problem is not None:
            raise OSError(problem)
        # half a second to import, for sharded runs only
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
        from torch.distributed.checkpoint.state_dict_saver import async_save

        writer = HuggingFaceStorageWriter(str(partial), save_distributed=True)
        own = {name: tensor.detach() for name, tensor in tensors.items()}
        found = async_save(own, storage_writer=writer, process_group=distributed.saving_group())
        assert isinstance(found, Future)  # noqa: S101 - as documented for this kind of stager
        self._is_named.clear()
        found.add_done_callback(self._complete)
        self._pending = found

    def _complete(self, future: "Future[Any]") -> None:
        """Give the folder its name; the first process has waited for the files of all."""
        try:
            if distributed.rank() != 0 or future.exception() is not None:
                return
            partial = self._target.with_name(self._target.name + PARTIAL)
            flush(partial)
            partial.rename(self._target)
            flush(self._target.parent)
            self._then()
        except OSError as error:
            self._failed = error
        finally:
            self._is_named.set()

    def wait(self) -> None:
        """Wait until the last checkpoint is complete.

        Raises:
            OSError: It cannot be written; earlier ones are intact.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        error = pending.exception()
        self._is_named.wait()  # the callback runs after the result can be seen
        distributed.barrier()  # the first process has given the folder its name
        failed = distributed.from_first(None if self._failed is None else str(self._failed))
        if error is not None or failed is not None:
            raise OSError(cannot_write(self._target, self._needed, failed or str(error))) from error


def _prepare(partial: Path, needed: int, state: dict[str, Any]) -> str | None:
    """Make the folder with the state in it; return why it cannot be made."""
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        check_room(partial, needed)
        write_json(partial / _STATE, {"format": FORMAT, "state": state})
    except OSError as error:
        return cannot_write(partial, needed, str(error))
    return None


def read_state(folder: Path) -> dict[str, Any]:
    """Return the data that were saved with the tensors.

    Raises:
        ValueError: The folder is damaged, or has another format version.
    """
    about = read_json(folder / _STATE)
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT or not isinstance(about.get("state"), dict):
        raise ValueError(
            f"{folder}: expected a checkpoint of format {FORMAT}, got {found or 'none'}; likely it was damaged, or "
            "written by another version of sori: remove the folder to continue from an earlier one"
        )
    return dict(about["state"])


def load_whole(folder: Path) -> Checkpoint:
    """Read all tensors onto the CPU, in each process that calls this.

    Raises:
        ValueError: The folder is damaged, or has another format version.
    """
    state = read_state(folder)
    tensors = {name: torch.empty(about.size, dtype=about.properties.dtype) for name, about in listed(folder).items()}
    load_into(folder, tensors)
    return Checkpoint(tensors, state)


def restore(folder: Path, *, system: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read a checkpoint into a sharded system and its optimiser, each process its own part; return its data.

    Raises:
        ValueError: The folder is damaged, or holds another system.
    """
    state, found = read_state(folder), listed(folder)
    weights, _ = tensors_of(system, optimizer)
    shapes = {name.removeprefix("system."): about.size for name, about in found.items() if name.startswith("system.")}
    check_same(shapes, system)
    below: dict[str, list[str]] = {}
    for full in found:
        if full.startswith("optimizer."):
            below.setdefault(full.removeprefix("optimizer.").rpartition(".")[0], []).append(full)
    moments: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for full in below.get(name, ()):
                size = found[full].size
                moments[full] = torch.zeros_like(parameter) if size == parameter.shape else torch.zeros(size)
    load_into(folder, weights | moments)
    checkpoint.restore(Checkpoint(weights | moments, state), system=system, optimizer=optimizer)
    return state


def listed(folder: Path) -> "dict[str, TensorStorageMetadata]":
    """Return shape and type of each tensor by name.

    Raises:
        ValueError: A file is damaged.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    try:
        found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except Exception as error:
        raise _damaged(folder, error) from error
    return {name: about for name, about in found.items() if isinstance(about, TensorStorageMetadata)}


def load_into(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Read into tensors in place, of parts (`DTensor`) only what this process has; nothing is exchanged.

    Raises:
        ValueError: The folder is damaged.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as intended
            load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    except Exception as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{folder} is not a readable checkpoint ({type(error).__name__}: {error}); likely one of its files was damaged "
        "or removed after it was written: remove the folder to continue from an earlier one"
    )
