"""Learning-rate schedules: pure functions from the update's number to a factor on the peak rate."""

import math
from typing import Literal

from pydantic import Field, model_validator

from sori.core.config import Config


class ScheduleConfig(Config):
    """How the learning rate rises and falls; the phases are fractions of the whole run."""

    kind: Literal["polynomial", "tri_stage", "cosine"] = "polynomial"
    """`polynomial`: from 0 up and linearly down (pre-training). `tri_stage`: from 1/100 up, hold, exponentially down
    (fine-tuning). `cosine`: from `first_factor` up, hold, down along half a cosine (wav2vec)."""
    first_factor: float = Field(default=0.0, ge=0, le=1)
    """Of `cosine`: rate of update 0 as a fraction of the peak."""
    warmup_fraction: float = Field(default=0.08, ge=0, le=1)
    """Fraction of the updates in which the rate rises linearly to its peak. Paper: 0.08, fine-tuning 0.1."""
    hold_fraction: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the updates at the peak. Paper: 0, fine-tuning 0.4."""
    decay_fraction: float | None = Field(default=None, ge=0, le=1)
    """Fraction of the updates in which the rate falls to its final value, which it then keeps; None: all that remain.
    Paper: all that remain, which in fine-tuning is 0.5."""
    final_factor: float = Field(default=0.0, ge=0, le=1)
    """Last rate as a fraction of the peak. Paper: 0, fine-tuning 0.05. `tri_stage` needs more than 0."""

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
    """Factor on the peak learning rate at update `step`, counted from 0, of `num_steps`."""
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
    """Linear rise, hold and linear fall; phases in updates (wav2vec 2.0, §4.2; the reference code's power is 1).

    The very first update takes the second one's rate rather than 0, as in the reference code, so that it is not lost.
    """
    if step < warmup:
        return max(step, 1) / warmup
    return 1 + (final_factor - 1) * _progress(step - warmup - hold, decay)


def tri_stage(step: int, *, warmup: int, hold: int, decay: int, final_factor: float) -> float:
    """Linear rise from 0.01, hold, exponential fall; phases in updates (wav2vec 2.0, §4.3).

    The paper calls the fall linear; the code that trained the published models decays as `exp(-k s)` with
    `k = -ln(final_factor) / decay`, and so does this function.
    """
    if step < warmup:
        return 0.01 + 0.99 * step / warmup
    return math.exp(math.log(final_factor) * _progress(step - warmup - hold, decay))


def cosine(step: int, *, decay: int, final_factor: float) -> float:
    """Half a cosine from 1 at update 0 to the final factor at `decay` (Loshchilov and Hutter 2017, equation 5)."""
    return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * _progress(step, decay))) / 2


def _progress(step: int, num_steps: int) -> float:
    """How much of a phase is over, 0 to 1; a phase of no length is over at once after its start."""
    if step <= 0:
        return 0.0
    return 1.0 if step >= num_steps else step / num_steps
