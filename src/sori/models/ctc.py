"""Connectionist temporal classification on top of any encoder: a recogniser of symbols.

Papers: Graves, Fernandez, Gomez, Schmidhuber (2006), the loss; Baevski et al. (2020), arXiv 2006.11477, section 3.3 and
appendix B, the fine-tuning: one linear layer on the context vectors, hidden spans of frames and channels as the only
augmentation, the encoder frozen for the first updates. Class 0 is the blank.
"""

import math
from typing import Literal, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import nn

from sori.core.batch import TextBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn.lengths import valid
from sori.nn.mask import MaskConfig
from sori.text.vocabulary import Vocabulary

BLANK = 0
"""Class of the blank."""


class CtcConfig(Config):
    """A linear CTC head and how the encoder below it is trained along."""

    kind: Literal["ctc"] = "ctc"
    read: Literal["last", "mix"] = "last"
    """What the head sees: the last layer (the paper), or a learned weighted mean of all layers as wide as the last one,
    each with mean 0 and variance 1 (Peters et al. 2018, equation 1), for encoders whose middle knows the sounds better
    than their top, or whose vectors are too small for a head to begin with."""
    mask: MaskConfig = MaskConfig()
    """Spans hidden in training, the augmentation of fine-tuning; never in evaluation."""
    freeze_steps: int = 0
    """Updates at the start in which only the head learns. fairseq: freeze_finetune_updates."""
    feature_gradient: float = 0.0
    """Factor on the gradient into the front end: 0 keeps it as pre-trained; an encoder from scratch needs 1."""
    encoder_lr_factor: float = 1.0
    """Factor on the learning rate of everything but the head."""
    upsample: int = 1
    """Class distributions for each vector: 2 lets an encoder of 25 vectors a second write 50 symbols a second, which
    fast speech and scripts with many letters need."""


@runtime_checkable
class EncoderConfig(Protocol):
    """What the head needs to know of an encoder's settings."""

    @property
    def dim(self) -> int:
        """Width of the context vectors."""
        ...

    @property
    def num_layers(self) -> int:
        """Blocks; there is one layer more, the input of the first."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """What the head needs of an encoder; systems do not know each other."""

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        ...

    @property
    def config(self) -> "EncoderConfig":
        """Its settings."""
        ...

    def encode(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        mask: MaskConfig | None = None,
        rng: Rng | None = None,
        feature_gradient: float = 0.0,
    ) -> tuple[list[Tensor], Tensor]:
        """Every layer's vectors `batch frame dim`, the last one the output, and the number of frames of each."""
        ...

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Vectors of one layer (None: the last)."""
        ...


@final
class Ctc(nn.Module):
    """An encoder with a CTC head.

    Args:
        config: of head and fine-tuning.
        encoder: a module that also is an `Encoder`; trained along after the frozen phase.
        num_classes: size of the vocabulary, blank included.
    """

    def __init__(self, config: CtcConfig, encoder: Encoder, *, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.num_classes = num_classes
        self.vocabulary: Vocabulary | None = None
        """What the classes stand for; the loss needs none, whoever writes or reads text does."""
        self.layer_weights = nn.Parameter(torch.zeros(encoder.config.num_layers + 1)) if config.read == "mix" else None
        """Of the weighted mean, before the softmax."""
        self.head = nn.Linear(encoder.config.dim, config.upsample * num_classes)
        self._reset_head(None)

    @property
    def hop_samples(self) -> int:
        """Samples from one vector of `frames` to the next."""
        return self.encoder.hop_samples

    @property
    def logit_hop_samples(self) -> float:
        """Samples from one class distribution of `logits` to the next."""
        return self.encoder.hop_samples / self.config.upsample

    def lr_factors(self) -> dict[str, float]:
        """Learning-rate factors by prefix of the parameter names, for the training loop."""
        return {"encoder": self.config.encoder_lr_factor}

    def logits(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Unnormalised log-probabilities of the classes, `dim` being the class; nothing is hidden."""
        return self._read(*self.encoder.encode(waveform, lengths))

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """The encoder's vectors (None: its last layer), to see what fine-tuning did to them."""
        return self.encoder.extract_features(waveform, lengths, layer=layer)

    def loss(self, batch: TextBatch, *, step: int, rng: Rng) -> LossSum:
        """CTC loss in nats summed over utterances; the targets counted are utterances (fairseq: sentence_avg).

        Terms, each a sum over utterances: `per_label`, nats for each label; `chance`, the loss of equal logits;
        `blank_share`, the share of frames whose likeliest class is the blank; `infinite`, utterances with fewer frames
        than labels and adjacent repeats, which cannot be aligned, count as zero and teach nothing.
        """
        frozen = self.training and step < self.config.freeze_steps
        mask = self.config.mask if self.training else None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            layers, num_frames = self.encoder.encode(
                batch.waveform, batch.lengths, mask=mask, rng=rng, feature_gradient=self.config.feature_gradient
            )
        logits = self._read(layers, num_frames)
        losses = ctc_loss(logits, batch.labels, batch.label_lengths)
        with torch.no_grad():
            needed = num_required_frames(batch.labels, batch.label_lengths)
            blank = (logits.data.argmax(-1) == BLANK) & valid(logits.lengths, logits.data.shape[1])
            terms = {
                "per_label": (losses / batch.label_lengths.clamp(min=1)).sum(),
                "chance": chance(logits, batch.labels, batch.label_lengths).sum(),
                "blank_share": (blank.sum(1) / logits.lengths).sum(),
                "infinite": (needed > logits.lengths).sum(),
            }
        return LossSum(losses.sum(), torch.tensor(len(batch.labels), device=losses.device), terms)

    def recover(self, *, rng: Rng) -> str:
        """Leave the plateau on which every frame is a blank: draw the head again, the blank now unlikely.

        An all-blank head gives its encoder almost no gradient that tells frames apart. Starting instead where blanks
        are rare makes the first updates place symbols, after which blanks are learnt between them. The encoder is kept.

        Returns:
            What was done, for the log.
        """
        self._reset_head(rng["head"])
        with torch.no_grad():
            self.head.bias.view(self.config.upsample, self.num_classes)[:, BLANK] = -math.log(self.num_classes)
        return f"drew the output layer again, the blank {self.num_classes} times less likely than a symbol"

    def _reset_head(self, generator: torch.Generator | None) -> None:
        nn.init.xavier_uniform_(self.head.weight, generator=generator)
        nn.init.zeros_(self.head.bias)

    def _read(self, layers: list[Tensor], num_frames: Tensor) -> Frames:
        x = layers[-1] if self.layer_weights is None else _mix(layers, self.layer_weights.softmax(0))
        logits = self.head(x).unflatten(2, (self.config.upsample, self.num_classes)).flatten(1, 2)
        return Frames(logits, num_frames * self.config.upsample)


def _mix(layers: list[Tensor], weights: Float[Tensor, " layer"]) -> Float[Tensor, "batch frame dim"]:
    """Weighted mean of normalised layers, normalised again: the head's input keeps its scale whatever the weights.

    A layer of another width than the last one, such as a spectrum, is left out.
    """
    shape = layers[-1].shape[-1:]
    chosen = [(weight, layer) for weight, layer in zip(weights, layers, strict=True) if layer.shape[-1:] == shape]
    mean = sum(weight * F.layer_norm(layer.float(), shape) for weight, layer in chosen)
    assert isinstance(mean, Tensor)  # noqa: S101 - there is at least the last one
    return F.layer_norm(mean, shape)


def ctc_loss(
    logits: Frames, labels: Int[Tensor, "batch label"], label_lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Negative log-probability of each label sequence, summed over all its alignments, in nats (Graves et al. 2006).

    Computed in float32 whatever the logits are. Zero, without gradient, for an utterance that cannot be aligned.
    """
    with torch.autocast(logits.data.device.type, enabled=False):
        return F.ctc_loss(
            logits.data.float().log_softmax(-1).transpose(0, 1),
            labels.clamp(min=0),  # padding is -1, an invalid class
            logits.lengths,
            label_lengths,
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )


def num_required_frames(
    labels: Int[Tensor, "batch label"], label_lengths: Int[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Fewest frames that can carry the labels: one each, and a blank between equal neighbours."""
    return label_lengths + _num_repeats(labels, label_lengths)


def chance(
    logits: Frames, labels: Int[Tensor, "batch label"], label_lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """CTC loss if all logits were equal: T ln C minus the log of the number of alignments; zero if there is none.

    T frames carry L labels of which r repeat their neighbour in binomial(T + L - r, 2 L) ways.
    """
    frames, num = logits.lengths.double(), label_lengths.double()
    repeats = _num_repeats(labels, label_lengths).double()
    spare = frames - num - repeats
    ways = torch.lgamma(frames + num - repeats + 1) - torch.lgamma(2 * num + 1) - torch.lgamma(spare.clamp(min=0) + 1)
    loss = frames * math.log(logits.data.shape[-1]) - ways
    return torch.where(spare >= 0, loss, 0.0).float()


def _num_repeats(labels: Tensor, label_lengths: Tensor) -> Tensor:
    equal = labels[:, 1:] == labels[:, :-1]
    return (equal & valid(label_lengths - 1, equal.shape[1])).sum(1)
