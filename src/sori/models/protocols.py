"""What a system promises to the loop, and an encoder to whoever reads it out."""

from dataclasses import dataclass
from typing import Any, Protocol

from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Float, Frames, Int, Tensor


@dataclass(frozen=True)
class LossSum:
    """A loss before it is divided: the loop divides by the count summed over micro-batches and processes."""

    total: Float[Tensor, ""]
    """Summed over targets, float32; carries the gradient."""
    count: Int[Tensor, ""] | Float[Tensor, ""]
    """How many targets were summed."""
    terms: dict[str, Tensor]
    """Detached parts on the scale of `total` (sums over targets), for the log; the log divides them by the count."""


class System(Protocol):
    """Anything the loop can train; also a `torch.nn.Module`."""

    config: Config

    def loss(self, batch: Any, *, step: int, rng: Rng) -> LossSum:
        """Loss of one micro-batch, summed over its targets."""
        ...


class FrameEncoder(Protocol):
    """Anything that turns a waveform into a sequence of vectors."""

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        ...

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Vectors of one layer (None: the last)."""
        ...
