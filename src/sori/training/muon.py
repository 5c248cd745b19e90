"""Muon: momentum whose step in each matrix of the blocks is made orthogonal; AdamW for all other parameters.

Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks (kellerjordan.github.io/posts/muon). Liu et
al. 2025, Muon is scalable for LLM training (arXiv 2502.16982), section 2.2: steps scaled to the size of AdamW's, so
that one learning rate serves both. `torch.optim.Muon` computes the same one matrix after another, and for matrices
only.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, final

import torch

from sori.core.precision import has_bfloat16
from sori.core.shapes import Float, Tensor

RMS = 0.2
"""Root mean square of AdamW's steps, at learning rate 1 (Liu et al., section 2.2)."""
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the polynomial a x + b x^3 + c x^5 on the singular values, which raises small ones (Jordan)."""
_NUM_ITERATIONS = 5


@final
class Muon(torch.optim.Optimizer):
    """Update matrices by m += (1 - momentum) (g - m); w -= lr (decay w + s orthogonal(g + momentum (m - g))).

    s is 0.2 times the root of the longer side. Groups with `orthogonal: False` are AdamW's.

    Args:
        params: Parameter groups with `orthogonal`.
        momentum: Fraction of the running mean of the gradient that is kept.
        adamw: Settings of AdamW; `lr` and `weight_decay` are those of the matrices too.
    """

    def __init__(self, params: Iterable[dict[str, Any]], *, momentum: float, **adamw: Any) -> None:
        groups = list(params)
        others = [group for group in groups if not group["orthogonal"]]
        self._adamw = torch.optim.AdamW(others, fused=True, **adamw) if others else None
        super().__init__(groups, adamw)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None  # noqa: S101 - the loop computes the gradients
        for group in self.param_groups:
            if group["orthogonal"]:
                self._update(group)
        if self._adamw is not None:
            # Anew each time, because loading a checkpoint replaces both.
            self._adamw.state = self.state
            self._adamw.param_groups = [group for group in self.param_groups if not group["orthogonal"]]
            self._adamw.step()

    def _update(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for weight in group["params"]:
            if weight.grad is not None:
                by_shape.setdefault(weight.shape, []).append(weight)
        for shape, weights in by_shape.items():
            steps = orthogonal(torch.stack([self._direction(weight) for weight in weights]))
            size = group["lr"] * RMS * math.sqrt(max(shape))
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, list(steps.to(weights[0].dtype)), alpha=-size)

    def _direction(self, weight: Tensor) -> Tensor:
        """Return the gradient after Nesterov's momentum."""
        assert weight.grad is not None  # noqa: S101 - checked by the caller
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - self.momentum)
        return weight.grad.lerp(state["momentum"], self.momentum)


def orthogonal(matrices: Float[Tensor, "matrix row column"]) -> Float[Tensor, "matrix row column"]:
    """Bring all singular values near 1 (0.7 to 1.2, except those that were almost 0) by Newton-Schulz iterations.

    In bfloat16 where the device computes in it, else in the type of `matrices`; their scale does not matter.
    """
    x = matrices.bfloat16() if has_bfloat16(matrices.device) else matrices
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_NUM_ITERATIONS):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if is_tall else x


def is_matrix_of_blocks(name: str, weight: Tensor) -> bool:
    """Return whether Muon is for a parameter: a matrix of the stack of blocks, by its dotted name.

    Not for the front end, codebooks, embeddings and output layers: Jordan et al. use it for hidden layers only.
    """
    return weight.ndim == 2 and "blocks" in name.split(".")
