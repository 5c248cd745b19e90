"""Fine-tuning of a text encoder: one linear layer that classifies a text, or each of its words.

Devlin et al. 2019, sections 4.1 and 5.3: for a text the layer uses the pooled vector of [CLS], for a word the last
layer's vector of its first piece. The encoder is trained as well.
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
    """Settings of a linear head on a text encoder."""

    kind: Literal["classifier"] = "classifier"
    read: Literal["text", "words"] = "text"
    """What is classified: whole texts, or the words of a text."""
    classes: tuple[str, ...] = ()
    """Names of the classes; a run takes them from its data."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout rate of the head's input."""


@runtime_checkable
class EncoderConfig(Protocol):
    """Encoder settings that the head uses."""

    @property
    def dim(self) -> int:
        """Width of the encoder's vectors."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Encoder interface that the head uses, so that models do not import each other."""

    @property
    def config(self) -> EncoderConfig:
        """Settings of the encoder."""
        ...

    def context(
        self, ids: Int[Tensor, "batch token"], parts: Int[Tensor, "batch token"], lengths: Int[Tensor, " batch"]
    ) -> list[Tensor]:
        """Return every layer's vectors, `batch token dim`; the last one is the output."""
        ...

    def pooled(self, last: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch dim"]:
        """Return a vector for each text, from its last layer."""
        ...


@final
class Classifier(nn.Module):
    """A text encoder with a linear head.

    Args:
        config: settings of the head; at least two classes.
        encoder: module that implements `Encoder`; trained as well.

    Raises:
        ValueError: if there are fewer than two classes.
    """

    def __init__(self, config: ClassifierConfig, encoder: Encoder) -> None:
        super().__init__()
        if len(config.classes) < 2:
            raise ValueError(f"expected at least two classes, got {list(config.classes)}")
        self.config = config
        self.encoder = encoder
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(encoder.config.dim, len(config.classes))
        nn.init.trunc_normal_(self.head.weight, std=_STD, a=-2 * _STD, b=2 * _STD)
        nn.init.zeros_(self.head.bias)

    def logits(self, batch: TokenBatch) -> Float[Tensor, "batch label class"]:
        """Return the unnormalised log-probabilities, one row for a text, or one for each of its tokens."""
        last = self.encoder.context(batch.ids, batch.parts, batch.lengths)[-1]
        seen = last if self.config.read == "words" else self.encoder.pooled(last)[:, None]
        return self.head(self.dropout(seen))  # type: ignore[no-any-return]

    def loss(self, batch: TokenBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the cross-entropy in nats, summed over texts or over words.

        Terms, on the same scale: `correct`, predictions whose most likely class is right; `chance`, ln C.

        Args:
            batch: texts with the indices of their classes in `config.classes`; -1 where there is no label.
            step: optimiser update; not used.
            rng: generators of this micro-batch; not used.
        """
        del step, rng
        labelled = batch.labels >= 0
        logits, targets = self.logits(batch)[labelled].float(), batch.labels[labelled]
        total = functional.cross_entropy(logits, targets, reduction="sum")
        count = labelled.sum()
        terms = {
            "correct": (logits.argmax(-1) == targets).sum().float(),
            "chance": count * math.log(len(self.config.classes)),
        }
        return LossSum(total, count, {name: torch.as_tensor(term).detach() for name, term in terms.items()})
