"""Make AdamW, LARS or Muon with learning-rate factors per part of the system; scale and clip gradients."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from sori.core.config import Config
from sori.core.log import logger
from sori.training.lars import Lars
from sori.training.muon import Muon, is_matrix_of_blocks
from sori.training.processes import whole_tensor


class OptimConfig(Config):
    """Settings of AdamW (decoupled weight decay), LARS or Muon.

    AdamW decays every trainable parameter, biases and normalisation layers included, as in the published speech models
    but not in BERT (`decay_vectors`). LARS does not decay them (see `lars.Lars`).
    """

    kind: Literal["adamw", "lars", "muon"] = "adamw"
    """`lars`: for batches of hundreds of images (SimCLR). `muon`: orthogonal steps for the matrices of the blocks,
    AdamW for all other parameters; learns more from an update, and takes longer for it (see `muon.Muon`)."""

    lr: float = Field(default=5e-4, ge=0)
    """Peak learning rate, multiplied by the schedule. Paper: 5e-4 for BASE with 1.6 h of audio per update."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-6, gt=0)
    """Added to the root of the second moment. Paper: 1e-6; fine-tuning: 1e-8."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay per update, multiplied by the learning rate."""
    decay_vectors: bool = True
    """`adamw` only: decay biases and normalisation weights too. Paper: yes for wav2vec 2.0, no for BERT."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """`lars`: fraction of the last step that is kept. `muon`: of the running mean of the gradient (usually 0.95)."""
    trust: float = Field(default=1e-3, gt=0)
    """`lars` only: norm of a tensor's step over the norm of its weights, at learning rate 1. SimCLR's code: eeta."""
    max_norm: float | None = Field(default=None, gt=0)
    """Clip the total gradient norm to this value; None: no clipping. Paper: no clipping."""


def make_optimizer(
    system: nn.Module, config: OptimConfig, *, lr_factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Make an optimiser over the trainable parameters, grouped by learning-rate factor.

    Args:
        system: Module to train; parameters that require no gradient are left out.
        config: Settings of the optimiser.
        lr_factors: Factor on the learning rate by dotted prefix of the parameter names, such as `{"encoder": 0.1,
            "encoder.blocks.0": 0.01}`; the longest matching prefix is used, without one the factor is 1.

    Returns:
        An optimiser whose groups have `names` (of the parameters, in order) and `lr_factor`.

    Raises:
        ValueError: A prefix matches no parameter, or nothing is trainable.
    """
    lr_factors = lr_factors or {}
    named = list(system.named_parameters())
    for prefix in lr_factors:
        if not any(_matches(prefix, name) for name, _ in named):
            known = sorted({name.split(".")[0] for name, _ in named})
            raise ValueError(f"no parameter's name begins with {prefix!r}; the system's parts are {', '.join(known)}")
    groups: dict[tuple[float, float, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            decay = config.weight_decay if config.decay_vectors or parameter.ndim > 1 else 0.0
            orthogonal = config.kind == "muon" and is_matrix_of_blocks(name, parameter)
            groups.setdefault((_factor(name, lr_factors), decay, orthogonal), []).append((name, parameter))
    if not groups:
        raise ValueError(f"{type(system).__name__} has no trainable parameter: all are frozen")
    listed = [
        {"params": [p for _, p in of], "names": [n for n, _ in of], "lr_factor": lr_factor, "weight_decay": decay}
        | ({"orthogonal": orthogonal} if config.kind == "muon" else {})
        for (lr_factor, decay, orthogonal), of in groups.items()
    ]
    lr, decay = config.lr, config.weight_decay
    match config.kind:
        case "lars":
            return Lars(listed, lr=lr, momentum=config.momentum, trust=config.trust, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(listed, lr=lr, betas=config.betas, eps=config.eps, weight_decay=decay, fused=True)
        case "muon":
            if not any(orthogonal for _, _, orthogonal in groups):
                logger.info("optim.kind muon: no blocks are trained here, so AdamW updates all parameters")
            return Muon(listed, lr=lr, momentum=config.momentum, betas=config.betas, eps=config.eps, weight_decay=decay)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def scale_and_clip(system: nn.Module, *, scale: float, max_norm: float | None) -> float:
    """Multiply all gradients by `scale`, then clip their total norm.

    Returns:
        The norm before clipping; not finite if any gradient is not, and then the gradients must not be used.
    """
    parameters = [p for p in system.parameters() if p.grad is not None]
    if not parameters:
        return 0.0
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_mul_(gradients, scale)
    norm = whole_tensor(torch.nn.utils.get_total_norm(gradients))
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)


def _matches(prefix: str, name: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _factor(name: str, lr_factors: Mapping[str, float]) -> float:
    matching = [prefix for prefix in lr_factors if _matches(prefix, name)]
    return lr_factors[max(matching, key=len)] if matching else 1.0
