"""Fine-tuning of a reader of texts: one linear layer that tells the class of a text, or of each of its words.

Devlin et al. 2019, sections 4.1 and 5.3: for a text the layer sees the pooled vector of [CLS], for words the last
layer's vector of the first piece of each. Everything below is trained along.
"""

import math
from typing import Literal, Protocol, final, runtime_checkable

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sori.core.batch import TokenBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Float, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn.dropout import Dropout

_STD = 0.02


class ClassifierConfig(Config):
    """A linear head over a reader of texts."""

    kind: Literal["classifier"] = "classifier"
    read: Literal["text", "words"] = "text"
    """What is told apart: whole texts, or the words of a text."""
    classes: tuple[str, ...] = ()
    """Names of the classes; a run takes them from its data."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of what the head sees."""


@runtime_checkable
class EncoderConfig(Protocol):
    """What the head needs to know of an encoder's settings."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """What the head needs of an encoder; systems do not know each other."""

    @property
    def config(self) -> EncoderConfig:
        """Its settings."""
        ...

    def context(
        self, ids: Int[Tensor, "batch token"], parts: Int[Tensor, "batch token"], lengths: Int[Tensor, " batch"]
    ) -> list[Tensor]:
        """Every layer's vectors `batch token dim`, the last one the output."""
        ...

    def pooled(self, last: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch dim"]:
        """One vector for a text, from its last layer."""
        ...


@final
class Classifier(nn.Module):
    """An encoder of texts with a linear head.

    Args:
        config: of the head; at least two classes.
        encoder: a module that also is an `Encoder`, trained along.

    Raises:
        ValueError: there are fewer than two classes.
    """

    def __init__(self, config: ClassifierConfig, encoder: Encoder) -> None:
        super().__init__()
        if len(config.classes) < 2:
            raise ValueError(f"expected at least two classes to tell apart, got {list(config.classes)}")
        self.config = config
        self.encoder = encoder
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(encoder.config.dim, len(config.classes))
        nn.init.trunc_normal_(self.head.weight, std=_STD, a=-2 * _STD, b=2 * _STD)
        nn.init.zeros_(self.head.bias)

    def logits(self, batch: TokenBatch) -> Float[Tensor, "batch label class"]:
        """Unnormalised log-probabilities: one row for a text, or one for each of its tokens."""
        last = self.encoder.context(batch.ids, batch.parts, batch.lengths)[-1]
        seen = last if self.config.read == "words" else self.encoder.pooled(last)[:, None]
        return self.head(self.dropout(seen))  # type: ignore[no-any-return]

    def loss(self, batch: TokenBatch, *, step: int, rng: Rng) -> LossSum:
        """Cross-entropy in nats, summed over texts, or over words.

        Terms, on the same scale: `correct`, how often the likeliest class is the right one; `chance`, ln C.

        Args:
            batch: texts, and the places of their classes in `config.classes`; -1 where none is asked.
            step: optimiser update; nothing depends on it.
            rng: of this micro-batch; not used.
        """
        del step, rng
        asked = batch.labels >= 0
        logits, targets = self.logits(batch)[asked].float(), batch.labels[asked]
        total = functional.cross_entropy(logits, targets, reduction="sum")
        count = asked.sum()
        terms = {
            "correct": (logits.argmax(-1) == targets).sum().float(),
            "chance": count * math.log(len(self.config.classes)),
        }
        return LossSum(total, count, {name: torch.as_tensor(term).detach() for name, term in terms.items()})
