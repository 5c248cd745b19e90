"""LARS: momentum SGD whose step in each tensor is scaled by the norm of its weights (You et al. 2017, 1708.03888)."""

from collections.abc import Callable, Iterable
from typing import Any, final

import torch

from sori.core.shapes import Tensor


@final
class Lars(torch.optim.Optimizer):
    """Update weights by g += decay w; r = trust |w| / |g|; v = momentum v + lr r g; w -= v.

    r is 1 where |w| or |g| is 0. Tensors with at most one axis (biases, scales and shifts of normalisation layers) get
    neither decay nor r, as in SimCLR's code.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        momentum: Fraction of the last step that is kept.
        trust: Value of r for a tensor whose gradient has the same norm as its weights.
        weight_decay: Factor on the weights that are added to the gradient.
    """

    def __init__(self, params: Iterable[Any], *, lr: float, momentum: float, trust: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None  # noqa: S101 - the loop computes the gradients
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        step = gradient
        if weight.ndim > 1:
            gradient = gradient + group["weight_decay"] * weight
            own, other = weight.norm(), gradient.norm()
            ratio = torch.where((own > 0) & (other > 0), group["trust"] * own / other, 1.0)
            step = ratio * gradient
        state = self.state[weight]
        if not state:
            state["velocity"] = torch.zeros_like(weight)
        state["velocity"].mul_(group["momentum"]).add_(step, alpha=group["lr"])
        weight.sub_(state["velocity"])
