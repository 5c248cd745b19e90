"""Share a system among processes: each holds all of it (DDP), or a part of the weights (FSDP2).

Under `torchrun`, small systems are replicated: `DistributedDataParallel` exchanges the gradients. Large ones are
sharded: every process holds its part of weights, gradients and moments; a block's weights are collected when the block
is computed, and blocks are computed again in the backward pass instead of keeping what is inside them
(Zhao et al. 2023, arXiv 2304.11277; Chen et al. 2016, arXiv 1604.06174).
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, final

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sori.core import distributed
from sori.core.seeds import Rng
from sori.core.shapes import Tensor
from sori.nn.transformer import Block, Transformer

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor  # half a second to import, for sharded runs only

Shard = bool | Literal["auto"]
SHARDED_FROM = 250_000_000
"""Number of trainable parameters from which `auto` shards: LARGE (317 M) and more. Weights, gradients and both moments
then take 4 GB or more in each process."""


def is_sharded(system: nn.Module, shard: Shard, *, optimizer: str) -> bool:
    """Return whether the processes share the weights of a system.

    Args:
        system: Module to train.
        shard: Whether to; `auto`: by the number of trainable parameters. With one process there is nothing to share.
        optimizer: Kind of the optimiser.

    Raises:
        ValueError: The optimiser works on whole tensors.
    """
    if distributed.world_size() == 1:
        return False
    if shard is True and optimizer != "adamw":
        raise ValueError(
            f"expected optim.kind adamw with train.shard true, got {optimizer}, whose steps depend on the norms of "
            "whole tensors; set train.shard to false"
        )
    size = sum(p.numel() for p in system.parameters() if p.requires_grad)
    return shard is True or (shard == "auto" and optimizer == "adamw" and size >= SHARDED_FROM)


@final
class Shared:
    """A system, and what is trained for it in this process.

    Args:
        system: Module that follows `models.protocols.System`, the same in all processes. Replicated, it is trained in
            place. Sharded, a copy is trained; the system stays on the host in the first process, where `gather` brings
            the weights up to date, and loses its weights in the others.
        sharded: See `is_sharded`.
    """

    def __init__(self, system: Any, *, sharded: bool) -> None:
        self.whole: Any = system
        self.sharded = sharded
        self.trained: Any = copy.deepcopy(system) if sharded else system.to(distributed.device())
        """The module whose parameters are updated: the system, or a copy whose parameters are `DTensor`."""
        self.trained.train()
        self.objective: nn.Module = _Objective(self.trained)
        if sharded:
            _divide(self.objective)
            if distributed.rank() != 0:
                system.to("meta")

    def replicate(self) -> None:
        """Begin to exchange gradients, once the weights are the same in all processes; sharded systems already do."""
        if distributed.world_size() > 1 and not self.sharded:
            every = bool(getattr(self.trained, "uses_every_parameter", False))
            self.objective = DistributedDataParallel(
                self.objective, find_unused_parameters=not every, gradient_as_bucket_view=True
            )

    def communicating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context in which replicas exchange gradients only for the last micro-batch of an update.

        Sharded gradients are exchanged for each, because to sum them first needs memory for those of all weights.
        """
        if isinstance(self.objective, DistributedDataParallel) and not last:
            return self.objective.no_sync()
        return contextlib.nullcontext()

    def drop_unused_gradients(self) -> None:
        """Remove the gradients, all zero, of blocks that LayerDrop skipped in every micro-batch of every process.

        Sharded blocks have a gradient also then; AdamW leaves parameters as they are only where there is none.
        """
        if not self.sharded:
            return
        blocks = [module for module in self.trained.modules() if isinstance(module, Block)]
        if not blocks:
            return
        used = torch.tensor([float(block.is_used) for block in blocks], device=distributed.device())
        for block, number in zip(blocks, distributed.all_reduce_sum(used).tolist(), strict=True):
            block.is_used = False
            if not number:
                for parameter in block.parameters():
                    parameter.grad = None

    @torch.no_grad()
    def gather(self) -> None:
        """Bring the system in the first process up to date; all processes call this."""
        if not self.sharded:
            return
        own = self.whole.state_dict()
        for name, tensor in self.trained.state_dict().items():
            full = whole_tensor(tensor)
            if distributed.rank() == 0:
                own[name].copy_(full)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[Any]:
        """Yield the system in eval mode, on the device; only the first process may use it."""
        self.gather()
        first = distributed.rank() == 0
        if self.sharded and first:
            self.whole.to(distributed.device())
        self.whole.eval()
        try:
            with torch.no_grad():
                yield self.whole
        finally:
            self.whole.train()
            if self.sharded and first:
                self.whole.to("cpu")

    @torch.no_grad()
    def recover(self, rng: Rng) -> tuple[str, list[nn.Parameter]]:
        """Call the system's `recover`; return its description, and the parameters that it changed."""
        if not self.sharded:
            before = {parameter: parameter.detach().clone() for parameter in self.trained.parameters()}
            done = self.trained.recover(rng=rng)
            return done, [parameter for parameter, old in before.items() if not torch.equal(parameter, old)]
        self.gather()
        done, names = "", list[str]()
        if distributed.rank() == 0:
            old = {name: tensor.clone() for name, tensor in self.whole.state_dict().items()}
            done = self.whole.recover(rng=rng)
            names = [name for name, tensor in self.whole.state_dict().items() if not torch.equal(tensor, old[name])]
        done, names = distributed.from_first((done, names))
        own, new, parameters = self.trained.state_dict(), self.whole.state_dict(), dict(self.trained.named_parameters())
        for name in names:
            full = new[name].to(distributed.device()) if distributed.rank() == 0 else torch.empty_like(own[name])
            own[name].copy_(_scattered(full, own[name]))
        return done, [parameters[name] for name in names if name in parameters]


def _divide(objective: nn.Module) -> None:
    """Leave this process its part of the weights, on its device; they are collected block by block."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(distributed.device().type, (distributed.world_size(),))
    for module in objective.modules():
        if isinstance(module, Transformer):
            module.in_step = True
            for block in module.blocks:
                assert isinstance(block, Block)  # noqa: S101 - as made there
                block.recompute = True
                fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def is_part(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Return whether this process may hold only a part of a tensor."""
    return hasattr(tensor, "placements")


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return all of a tensor of which this process may hold a part; all processes call this."""
    return tensor.full_tensor() if is_part(tensor) else tensor


def part_like(whole: Tensor, target: Tensor) -> Tensor:
    """Return the part of a tensor, which every process has, that belongs beside another tensor."""
    if not is_part(target) or is_part(whole):
        return whole
    from torch.distributed.tensor import distribute_tensor

    whole = whole.to(target.device)
    return distribute_tensor(whole, target.device_mesh, target.placements, src_data_rank=None)


def _scattered(full: Tensor, target: Tensor) -> Tensor:
    """Return the part of the first process's tensor that belongs to this process."""
    if not is_part(target):
        dist.broadcast(full, src=0)
        return full
    from torch.distributed.tensor import distribute_tensor

    if distributed.rank() != 0:
        full = torch.empty(target.shape, dtype=target.dtype, device=target.device)
    return distribute_tensor(full, target.device_mesh, target.placements)


@final
class _Objective(nn.Module):
    """Calls the loss inside `forward`.

    DDP and FSDP exchange data only for calls through `forward`: calling `loss` directly would let the replicas diverge
    silently.
    """

    def __init__(self, system: Any) -> None:
        super().__init__()
        self.system = system

    def forward(self, batch: Any, *, step: int, rng: Rng) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the parts of a `LossSum` as a tuple, which DDP can traverse."""
        part = self.system.loss(batch, step=step, rng=rng)
        return part.total, part.count, part.terms
