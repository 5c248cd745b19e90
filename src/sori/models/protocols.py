"""Protocols of systems (for the training loop) and of frame encoders (for feature extraction)."""

from dataclasses import dataclass
from typing import Any, Protocol

from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Float, Frames, Int, Tensor


@dataclass(frozen=True)
class LossSum:
    """Loss as a sum and a count; the loop divides by the count summed over micro-batches and processes."""

    total: Float[Tensor, ""]
    """Summed over targets, float32; carries the gradient."""
    count: Int[Tensor, ""] | Float[Tensor, ""]
    """Number of targets."""
    terms: dict[str, Tensor]
    """Detached values for the log, as sums over targets like `total`; the log divides them by the count."""


class System(Protocol):
    """A model that the loop can train; also a `torch.nn.Module`."""

    config: Config

    def loss(self, batch: Any, *, step: int, rng: Rng) -> LossSum:
        """Return the loss of one micro-batch, summed over its targets."""
        ...


class FrameEncoder(Protocol):
    """A model that converts a waveform into a sequence of vectors."""

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        ...

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer (None: the last)."""
        ...
