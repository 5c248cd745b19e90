"""Batch normalisation over all processes, for rows or images."""

import torch
from torch import nn
from torch.nn import functional

from sori.core import distributed
from sori.core.shapes import Float, Tensor


class BatchNorm(nn.Module):
    """Normalise each channel to mean 0 and variance 1 over the batch, then scale and shift (Ioffe and Szegedy 2015).

    In training, the statistics are those of the batches of all processes together (SimCLR's "global" normalisation:
    local means would reveal which process an example belongs to). In evaluation, the running mean and variance are
    used; they have torchvision's names.

    Args:
        dim: number of channels.
        shift: whether to learn a shift; without, the mean stays 0.
        first_scale: initial value of the scale.
    """

    def __init__(self, dim: int, *, shift: bool = True, first_scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), first_scale))
        self.bias = nn.Parameter(torch.zeros(dim)) if shift else None
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Float[Tensor, "batch channel *place"]) -> Float[Tensor, "batch channel *place"]:
        """Return the normalised values, same shape, in float32 or wider."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            if self.training and distributed.world_size() > 1:
                return self._over_processes(x)
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=self.training
            )

    def _over_processes(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        wide = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        here = torch.tensor(x.numel() / x.shape[1], device=x.device, dtype=torch.float64)
        count = float(distributed.all_reduce_sum(here))
        mean = distributed.sum_with_gradient(x.sum(axes)) / count
        x = x - mean.view(wide)
        variance = distributed.sum_with_gradient(x.square().sum(axes)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, 0.1)
            self.running_var.lerp_(variance * (count / (count - 1)), 0.1)
        y = x * (self.weight * (variance + 1e-5).rsqrt()).view(wide)
        return y if self.bias is None else y + self.bias.view(wide)
