"""AdamW with learning-rate factors by part of the system, and gradients scaled, measured and clipped."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import nn

from sori.config import Config


class OptimConfig(Config):
    """AdamW, that is with decoupled weight decay.

    The decay reaches every trainable parameter, biases and norms included: the published models were trained so.
    """

    lr: float = Field(default=5e-4, ge=0)
    """Peak learning rate; the schedule multiplies it. Paper: 5e-4 for BASE with 1.6 h of audio an update."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-6, gt=0)
    """Added to the root of the second moment. Paper: 1e-6, fine-tuning 1e-8."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Shrinkage a step, times the learning rate."""
    max_norm: float | None = Field(default=None, gt=0)
    """Gradients whose total norm is larger are scaled down to it; None: never. Paper: never."""


def make_optimizer(
    system: nn.Module, config: OptimConfig, *, lr_factors: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, grouped by learning-rate factor.

    Args:
        system: whose parameters are trained; those that require no gradient are left out.
        config: rates and moments.
        lr_factors: factor on the learning rate by dotted prefix of the parameter names, such as `{"encoder": 0.1,
            "encoder.blocks.0": 0.01}`; the longest prefix that fits decides, without one the factor is 1.

    Returns:
        An optimiser whose groups carry `names` (of the parameters, in order) and `lr_factor`.

    Raises:
        ValueError: a prefix fits no parameter, or nothing is trainable.
    """
    lr_factors = lr_factors or {}
    named = list(system.named_parameters())
    for prefix in lr_factors:
        if not any(_fits(prefix, name) for name, _ in named):
            known = sorted({name.split(".")[0] for name, _ in named})
            raise ValueError(f"no parameter's name begins with {prefix!r}; the system's parts are {', '.join(known)}")
    groups: dict[float, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            groups.setdefault(_factor(name, lr_factors), []).append((name, parameter))
    if not groups:
        raise ValueError(f"{type(system).__name__} has no trainable parameter: all are frozen")
    return torch.optim.AdamW(
        [
            {"params": [p for _, p in members], "names": [n for n, _ in members], "lr_factor": lr_factor}
            for lr_factor, members in groups.items()
        ],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its factor of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def scale_and_clip(system: nn.Module, *, scale: float, max_norm: float | None) -> float:
    """Multiply all gradients by `scale`, then clip their total norm.

    Returns:
        The norm before clipping; not finite if any gradient is not, and then the gradients are of no use.
    """
    parameters = [p for p in system.parameters() if p.grad is not None]
    if not parameters:
        return 0.0
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_mul_(gradients, scale)
    norm = torch.nn.utils.get_total_norm(gradients)
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)


def _fits(prefix: str, name: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _factor(name: str, lr_factors: Mapping[str, float]) -> float:
    fitting = [prefix for prefix in lr_factors if _fits(prefix, name)]
    return lr_factors[max(fitting, key=len)] if fitting else 1.0
