"""Communication between processes under `torchrun`; with a single process all functions are no-ops."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from sori.core.shapes import Tensor

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)
"""Longest wait for another process in an exchange of gradients. NCCL's own limit of ten minutes is short for a slow
file system; whatever one process does alone ends with `barrier`, which waits longer."""
_PATIENCE = timedelta(days=7)
_patient: list[dist.ProcessGroup] = []
"""The group for `barrier` and numbers on the host, while there are several processes."""
_saving: list[dist.ProcessGroup] = []
"""The group of the threads that write checkpoints, so that they never meet an exchange of the main threads."""


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group that `torchrun` sets in the environment, and leave it at the end."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1 or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_TIMEOUT)
    _patient.append(dist.new_group(backend="gloo", timeout=_PATIENCE))
    _saving.append(dist.new_group(backend="gloo", timeout=_PATIENCE))
    try:
        yield
    finally:
        _patient.clear()
        _saving.clear()
        dist.destroy_process_group()


def rank() -> int:
    """Return the index of this process, 0 for a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def all_reduce_sum(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; for a single process, the tensor itself."""
    if not dist.is_initialized():
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value


def sum_with_gradient(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, with gradients to all of them."""
    return _Sum.apply(value) if world_size() > 1 else value  # type: ignore[no-untyped-call]


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes in the order of their ranks, and the position of this process's first row.

    The gradient of a row is summed over all processes and returned to the process of that row. The sum of the losses of
    all processes thus has the same gradient as in one process with all rows. Processes may have different numbers of
    rows.
    """
    if world_size() == 1:
        return rows, 0
    counts = torch.zeros(world_size(), dtype=torch.long, device=rows.device)
    counts[rank()] = len(rows)
    sizes = all_reduce_sum(counts).tolist()
    return _Gather.apply(rows, sizes), sum(sizes[: rank()])  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx
        return all_reduce_sum(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return all_reduce_sum(gradient.contiguous())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        first = sum(ctx.sizes[: rank()])
        return all_reduce_sum(gradient.contiguous())[first : first + ctx.sizes[rank()]], None


def barrier() -> None:
    """Wait for all processes, for days if need be: one of them may be evaluating or building a cache meanwhile.

    Collectives of the default group give up after minutes, which is right for the exchange of gradients only.
    """
    if dist.is_initialized():
        dist.barrier(group=_patient[0] if _patient else None)


def any_process(flag: bool) -> bool:
    """Return whether the flag is set in any process; exchanged on the host, so that no device is waited for."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag))
    dist.all_reduce(value, group=_patient[0] if _patient else None)
    return bool(value > 0)


def from_first(value: T) -> T:
    """Return the value of the first process in all of them: numbers, texts, lists and dictionaries of these."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_patient[0] if _patient else None)
    return values[0]


def saving_group() -> dist.ProcessGroup | None:
    """Return the group of the threads that write checkpoints; None: the default one."""
    return _saving[0] if _saving else None


def device() -> torch.device:
    """Return the device of this process: its CUDA device if there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
