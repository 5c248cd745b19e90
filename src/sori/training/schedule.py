"""Learning-rate schedules: pure functions from the number of an update to a factor on the peak rate."""

import math
from typing import Literal

from pydantic import Field, model_validator

from sori.core.config import Config


class ScheduleConfig(Config):
    """Settings of a learning-rate schedule; the phases are fractions of the whole run."""

    kind: Literal["polynomial", "tri_stage", "cosine"] = "polynomial"
    """`polynomial`: linear rise from 0, hold, linear fall (pre-training). `tri_stage`: linear rise from 1/100, hold,
    exponential fall (fine-tuning). `cosine`: linear rise from `first_factor`, hold, half-cosine fall (wav2vec)."""
    first_factor: float = Field(default=0.0, ge=0, le=1)
    """`cosine` only: rate of update 0 as a fraction of the peak."""
    warmup_fraction: float = Field(default=0.08, ge=0, le=1)
    """Fraction of the updates in which the rate rises linearly to its peak. Paper: 0.08, fine-tuning 0.1."""
    hold_fraction: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the updates at the peak. Paper: 0, fine-tuning 0.4."""
    decay_fraction: float | None = Field(default=None, ge=0, le=1)
    """Fraction of the updates in which the rate falls to its final value, then constant; None: all remaining updates.
    Paper: all remaining, which is 0.5 in fine-tuning."""
    final_factor: float = Field(default=0.0, ge=0, le=1)
    """Last rate as a fraction of the peak. Paper: 0, fine-tuning 0.05. `tri_stage` requires a value above 0."""

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        if self.warmup_fraction + self.hold_fraction + (self.decay_fraction or 0.0) > 1 + 1e-9:
            raise ValueError("warmup_fraction, hold_fraction and decay_fraction must sum to 1 or less")
        if self.kind == "tri_stage" and self.final_factor == 0:
            raise ValueError(
                "final_factor must be above 0 for tri_stage: an exponential decay never reaches 0; 0.05 is usual"
            )
        return self


def factor(config: ScheduleConfig, step: int, num_steps: int) -> float:
    """Return the factor on the peak learning rate at update `step`, counted from 0, of `num_steps`."""
    warmup = round(config.warmup_fraction * num_steps)
    hold = round(config.hold_fraction * num_steps)
    remaining = max(0, num_steps - warmup - hold)
    decay = remaining if config.decay_fraction is None else min(remaining, round(config.decay_fraction * num_steps))
    match config.kind:
        case "polynomial":
            return polynomial(step, warmup=warmup, hold=hold, decay=decay, final_factor=config.final_factor)
        case "tri_stage":
            return tri_stage(step, warmup=warmup, hold=hold, decay=decay, final_factor=config.final_factor)
        case "cosine":
            if step < warmup:
                return config.first_factor + (1 - config.first_factor) * step / warmup
            return cosine(step - warmup - hold, decay=decay, final_factor=config.final_factor)


def polynomial(step: int, *, warmup: int, hold: int, decay: int, final_factor: float) -> float:
    """Return the factor for linear rise, hold and linear fall; phases in updates.

    Source: wav2vec 2.0, §4.2; the power in the reference code is 1. Update 0 uses the rate of update 1 instead of 0, as
    in the reference code, so that it is not wasted.
    """
    if step < warmup:
        return max(step, 1) / warmup
    return 1 + (final_factor - 1) * _progress(step - warmup - hold, decay)


def tri_stage(step: int, *, warmup: int, hold: int, decay: int, final_factor: float) -> float:
    """Return the factor for linear rise from 0.01, hold, exponential fall; phases in updates (wav2vec 2.0, §4.3).

    The paper calls the fall linear; the code that trained the published models decays as `exp(-k s)` with
    `k = -ln(final_factor) / decay`, and so does this function.
    """
    if step < warmup:
        return 0.01 + 0.99 * step / warmup
    return math.exp(math.log(final_factor) * _progress(step - warmup - hold, decay))


def cosine(step: int, *, decay: int, final_factor: float) -> float:
    """Return half a cosine from 1 at update 0 to the final factor at `decay` (Loshchilov and Hutter 2017, eq. 5)."""
    return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * _progress(step, decay))) / 2


def _progress(step: int, num_steps: int) -> float:
    """Return the completed fraction of a phase, 0 to 1; a phase of length 0 is complete right after its start."""
    if step <= 0:
        return 0.0
    return 1.0 if step >= num_steps else step / num_steps
