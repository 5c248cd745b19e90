"""Save and load the whole state of a run as one safetensors file: weights, optimiser moments, JSON in the metadata.

Keys: `system.NAME` for weights and buffers, `optimizer.NAME.MOMENT` for the optimiser state of a parameter. Nothing is
pickled. Writing is atomic: a temporary file in the same folder is flushed to the disk, then renamed.
"""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from sori.core.files import link_or_copy, write_tensors
from sori.core.json_values import parsed_json
from sori.core.shapes import Tensor
from sori.core.user_files import require_file
from sori.training.processes import is_part, part_like

FORMAT = 1
"""Increased when runs saved by an older version can no longer be continued."""


class Checkpoint(NamedTuple):
    """Content of a checkpoint file."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(path: Path, *, system: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically; an existing file stays intact until the new one is complete.

    Args:
        path: File to write.
        system: Module whose weights and buffers are stored.
        optimizer: Optimiser whose groups have `names` (see `optim.make_optimizer`).
        state: JSON-serialisable data; floats are restored exactly.

    Raises:
        OSError: The disk is full or cannot be written; the message gives the size needed and the free space.
    """
    weights, moments = tensors_of(system, optimizer)
    tensors = _own_storage(weights) | _own_storage(moments)
    needed = sum(tensor.nbytes for tensor in tensors.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        check_room(path.parent, needed)
        write_tensors(tensors, path, metadata={"format": str(FORMAT), "state": json.dumps(state)})
    except OSError as error:
        raise OSError(cannot_write(path, needed, str(error))) from error


def check_same(shapes: Mapping[str, torch.Size], system: nn.Module) -> None:
    """Check that weights and buffers of a checkpoint are those of a system.

    Raises:
        ValueError: Names or shapes differ.
    """
    own = system.state_dict()
    wrong = sorted(shapes.keys() ^ own.keys()) or [name for name in own if own[name].shape != shapes[name]]
    if wrong:
        raise ValueError(
            f"the checkpoint holds another system than the one to be trained: {len(wrong)} tensors differ, first "
            f"{wrong[0]}; likely the configuration changed: use the one the run was started with, or a new folder"
        )


def tensors_of(system: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return weights and buffers, and the state of the optimiser, by their names in a checkpoint; nothing is copied."""
    return {f"system.{name}": tensor for name, tensor in system.state_dict().items()}, _moments(optimizer)


def keep_earlier(path: Path, step: int, folder: Path, *, number: int) -> None:
    """Keep the checkpoint that is about to be replaced, and remove all but the newest kept ones.

    Args:
        path: The checkpoint; nothing is done where there is none.
        step: Update after which it was saved.
        folder: For earlier checkpoints, named by update.
        number: Checkpoints to keep in the folder; 0: none.
    """
    if number and path.is_file():
        keep(path, folder / f"{step:08}.safetensors")
    kept = sorted(one for one in folder.glob("*.safetensors") if one.stem.isdigit()) if folder.is_dir() else []
    for old in kept[: max(0, len(kept) - number)]:
        old.unlink()


def keep(path: Path, target: Path) -> None:
    """Keep a checkpoint under another name; one that has this name is replaced whole or not at all."""
    target.parent.mkdir(exist_ok=True)
    link_or_copy(path, target)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint file onto the CPU; `sharded_files.load_whole` reads the folder of a sharded one.

    Raises:
        ValueError: The file is damaged, is not a sori checkpoint, or has another format version.
    """
    state = read_state(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the object is no mapping
    return Checkpoint(tensors, state)


def read_state(path: Path) -> dict[str, Any]:
    """Read the data of a checkpoint file without its tensors.

    Raises:
        ValueError: as `load`.
    """
    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable checkpoint: {error}; it was damaged after it was written: remove it to start "
            "again"
        ) from None
    if metadata.get("format") != str(FORMAT):
        raise ValueError(
            f"{path}: expected a checkpoint of format {FORMAT}, got {metadata.get('format', 'none')}; likely written "
            "by another version of sori: continue with that version or start in a new folder"
        )
    try:
        return dict(parsed_json(metadata["state"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} has no readable state of a run ({error}); it was damaged after it was written: remove it to start "
            "again"
        ) from None


def restore(checkpoint: Checkpoint, *, system: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Copy the tensors of a checkpoint into a system and an optimiser made from the same configuration.

    Raises:
        ValueError: Names or shapes differ.
    """
    weights = _below("system.", checkpoint.tensors)
    own = system.state_dict()
    check_same({name: tensor.shape for name, tensor in weights.items()}, system)
    system.load_state_dict({name: part_like(tensor, own[name]) for name, tensor in weights.items()})
    moments = _below("optimizer.", checkpoint.tensors)
    state: dict[int, dict[str, Tensor]] = {}
    number = 0
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            own_moments = {key.rpartition(".")[2]: t for key, t in moments.items() if key.rpartition(".")[0] == name}
            if own_moments:
                state[number] = {key: _like(tensor, parameter) for key, tensor in own_moments.items()}
            number += 1
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, tensor in optimizer.state.get(parameter, {}).items():
                found[f"optimizer.{name}.{key}"] = tensor
    return found


def _own_storage(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous CPU tensors; tied ones are copied, as safetensors does not support shared storage."""
    result: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        result[name] = own
    return result


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy with the memory layout that AdamW would allocate.

    A memory-mapped tensor has another alignment, and vectorised arithmetic on it could round differently from an
    uninterrupted run.
    """
    if tensor.shape != parameter.shape:
        return tensor.clone()
    if is_part(tensor):
        return tensor  # read into memory of this process
    part = part_like(tensor, parameter)
    device = part.device if is_part(part) else "cpu"
    return torch.empty_like(parameter, device=device, memory_format=torch.preserve_format).copy_(part).detach()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def check_room(folder: Path, needed: int) -> None:
    """Raise `OSError` if a folder's disk has less room than needed, in bytes."""
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def cannot_write(path: Path, needed: int, error: str) -> str:
    """Return the error message for a checkpoint of `needed` bytes that cannot be written."""
    free = shutil.disk_usage(path.parent).free
    last = "the last checkpoint is intact" if path.exists() else "no checkpoint has been written yet"
    return (
        f"cannot write {path}: {error}. It needs {needed / 1e6:,.1f} MB and the disk has {free / 1e6:,.1f} MB free; "
        f"{last}. Free some space, then repeat the command to continue"
    )
