"""Dropout that is fast on the CPU."""

import torch
from torch import nn
from torch.nn import functional

from sori.core.shapes import Float, Tensor


class Dropout(nn.Module):
    """Zero each value with probability `p` in training and scale up the others; uses torch's global generator.

    On the CPU, torch draws one random number for each value, which takes longer than the attention itself. Here each
    64-bit random number decides on four values, with `p` rounded to a multiple of 2 ** -16.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """Return the values after dropout, same shape; unchanged in evaluation."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        quarters = draws.view(torch.int16)[: x.numel()].view(x.shape)
        keep = quarters >= round(self.p * 2**16) - 2**15
        return x * keep.to(x.dtype).div_(1 - self.p)
