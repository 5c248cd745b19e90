"""Causal convolutions, and predictors of future frames."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from sori.core.shapes import Float, Int, Tensor
from sori.nn.clip_norm import Activation, ClipNorm, activate


class CausalConv(nn.Module):
    """Causal convolutions of stride 1, each followed by `ClipNorm` and an activation (Schneider et al. 2019, §2).

    Before each layer the first frame is repeated `kernel - 1` times, so that no convolution sees a later frame. The
    norm alone depends on the whole clip.

    Args:
        dim: number of channels.
        kernels: kernel size of each layer.
        skip: whether to add the input of each layer to its output and scale the sum by sqrt(0.5).
        activation: activation after each norm.
    """

    def __init__(self, dim: int, *, kernels: Sequence[int], skip: bool, activation: Activation = "relu") -> None:
        super().__init__()
        self.skip, self.activation = skip, activation
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, kernel) for kernel in kernels)
        self.norms = nn.ModuleList(ClipNorm(dim) for _ in kernels)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], lengths: Int[Tensor, " batch"]
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Return the output of every layer.

        Args:
            x: frames.
            lengths: number of real frames of each clip.
        """
        uneven = int(lengths.min()) < x.shape[1]
        y, outputs = x.transpose(1, 2), []
        for conv, norm in zip(cast("list[nn.Conv1d]", list(self.convs)), self.norms, strict=True):
            before = y
            y = torch.cat([y[:, :, :1].expand(-1, -1, conv.kernel_size[0] - 1), y], dim=2)
            y = activate(norm(conv(y), lengths if uneven else None), self.activation)
            if self.skip:
                y = (y + before) * math.sqrt(0.5)
            outputs.append(y.transpose(1, 2))
        return outputs


class StepPredictors(nn.Module):
    """K affine maps of a context vector, one for each step ahead, with a common bias (Schneider et al. 2019, §2).

    Initialised like the transposed convolution of the reference code.

    Args:
        dim: width of context and predictions.
        num_steps: K.
    """

    def __init__(self, dim: int, *, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.weight = nn.Parameter(torch.empty(num_steps, dim, dim))
        """"step out in"."""
        self.bias = nn.Parameter(torch.empty(dim))
        bound = 1 / math.sqrt(dim * num_steps)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, context: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame step dim"]:
        """Return h_k(c_t) for all steps k, computed in one matrix product."""
        products = functional.linear(context, self.weight.flatten(0, 1))
        return products.view(*products.shape[:2], self.num_steps, -1) + self.bias
