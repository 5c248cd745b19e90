"""Recogniser: connectionist temporal classification (CTC) on top of any encoder.

Papers: Graves, Fernandez, Gomez, Schmidhuber (2006), the loss; Baevski et al. (2020), arXiv 2006.11477, section 3.3 and
appendix B, the fine-tuning: one linear layer on the context vectors, masked spans of frames and channels as the only
augmentation, the encoder frozen for the first updates. Class 0 is the blank.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from pydantic import Field, model_validator
from torch import nn

from sori.core.batch import FrameBatch, TextBatch
from sori.core.config import Config
from sori.core.precision import InferencePrecision, has_bfloat16
from sori.core.seeds import Rng
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn import frozen_blocks
from sori.nn.lengths import valid
from sori.nn.mask import MaskConfig
from sori.text.vocabulary import Vocabulary

BLANK = 0
"""Class of the blank."""


class CtcConfig(Config):
    """Settings of a linear CTC head and of the training of its encoder."""

    kind: Literal["ctc"] = "ctc"
    read: Literal["last", "mix"] = "last"
    """Input of the head: the last layer (the paper), or a learnt weighted mean of all layers of the same width as the
    last, each normalised to mean 0 and variance 1 (Peters et al. 2018, equation 1). The mean is for encoders whose
    middle layers represent phones better than the last, or whose vectors are too small for a head to learn from."""
    mask: MaskConfig = MaskConfig()
    """Spans masked in training, the augmentation of fine-tuning; never in evaluation."""
    freeze_steps: int = Field(default=0, ge=0)
    """Number of updates at the start that train the head only. fairseq: freeze_finetune_updates."""
    frozen_blocks: int = Field(default=0, ge=0, le=1000)
    """Number of lower blocks that keep their weights, with everything before them; 0: none, the front end by
    `feature_gradient`. Frames and channels are then masked after these blocks (`nn/frozen_blocks.py`)."""
    feature_gradient: float = 0.0
    """Factor on the gradient into the front end: 0 keeps it as pre-trained; use 1 for an encoder from scratch."""
    encoder_lr_factor: float = 1.0
    """Factor on the learning rate of all parts except the head."""
    upsample: int = Field(default=1, ge=1, le=1000)
    """Number of class distributions for each vector: with 2, an encoder of 25 vectors per second can output 50 symbols
    per second, which fast speech and scripts with many letters require."""
    first_blank: float | None = Field(default=None, gt=0, lt=1)
    """Probability of the blank before the first update; None: that of any symbol (fairseq). With 0.5, training first
    reaches the plateau where every frame is a blank, and leaves it; from equal probabilities, a weak encoder can get
    stuck where one symbol fills all of the speech (docs/results/ten-minutes.md)."""

    @model_validator(mode="after")
    def _frozen_layers_are_not_mixed(self) -> "CtcConfig":
        if self.frozen_blocks and self.read == "mix":
            raise ValueError("frozen_blocks requires read last: the layers below are not kept; set read to last")
        return self


@runtime_checkable
class EncoderConfig(Protocol):
    """Encoder settings that the head uses."""

    @property
    def dim(self) -> int:
        """Width of the context vectors."""
        ...

    @property
    def num_layers(self) -> int:
        """Number of blocks; there is one more layer, the input of the first block."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Encoder interface that the head uses, so that models do not import each other."""

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        ...

    @property
    def config(self) -> "EncoderConfig":
        """Settings of the encoder."""
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
        """Return every layer's vectors, `batch frame dim`, the last one the output, and the numbers of frames."""
        ...

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer (None: the last)."""
        ...


@final
class Ctc(nn.Module):
    """An encoder with a CTC head.

    Args:
        config: settings of head and fine-tuning.
        encoder: module that implements `Encoder`; trained as well after the frozen phase.
        num_classes: size of the vocabulary, blank included.
    """

    def __init__(self, config: CtcConfig, encoder: Encoder, *, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.num_classes = num_classes
        self.vocabulary: Vocabulary | None = None
        """Symbols of the classes; required for text input and output, not for the loss."""
        self.precision: InferencePrecision = "float32"
        """Precision of the encoder's matrix products outside training; see `inference/lower_precision.py`."""
        self.layer_weights = nn.Parameter(torch.zeros(encoder.config.num_layers + 1)) if config.read == "mix" else None
        """Logits of the layer weights."""
        self.head = nn.Linear(encoder.config.dim, config.upsample * num_classes)
        self._reset_head(None)
        blocks = config.frozen_blocks
        self._frozen = frozen_blocks.freeze(encoder, blocks) if blocks else list[nn.Module]()
        self.train()

    def train(self, mode: bool = True) -> "Ctc":
        """Set the mode of all modules; frozen ones stay in evaluation mode, so that their output is not random."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    @property
    def hop_samples(self) -> int:
        """Samples from one vector of `extract_features` to the next."""
        return self.encoder.hop_samples

    @property
    def logit_hop_samples(self) -> float:
        """Samples from one class distribution of `logits` to the next."""
        return self.encoder.hop_samples / self.config.upsample

    def lr_factors(self) -> dict[str, float]:
        """Return learning-rate factors by prefix of the parameter names, for the training loop."""
        return {"encoder": self.config.encoder_lr_factor}

    def logits(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the unnormalised log-probabilities of the classes (axis `dim`), without masking."""
        with self._autocast(waveform.device):
            layers, num_frames = self.encoder.encode(waveform, lengths)
        return self._read(layers, num_frames)

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the encoder's vectors (None: its last layer), to study the effect of fine-tuning."""
        with self._autocast(waveform.device):
            frames = self.encoder.extract_features(waveform, lengths, layer=layer)
        return Frames(frames.data.float(), frames.lengths)

    def loss(self, batch: TextBatch | FrameBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the CTC loss in nats, summed over utterances, which are the targets (fairseq: sentence_avg).

        Terms, each a sum over utterances: `per_label`, nats per label; `chance`, the loss of equal logits;
        `blank_share`, the fraction of frames whose most likely class is the blank; `infinite`, utterances with fewer
        frames than labels plus adjacent repeats, which cannot be aligned and have zero loss and gradient.
        """
        frozen = self.training and step < self.config.freeze_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            layers, num_frames = self._encode(batch, rng)
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

    def frozen_frames(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the output of the frozen blocks in bfloat16, which `loss` takes in place of the waveform."""
        return frozen_blocks.lower(self.encoder, waveform, lengths, num_blocks=self.config.frozen_blocks)

    def _encode(self, batch: TextBatch | FrameBatch, rng: Rng) -> tuple[list[Tensor], Tensor]:
        """Return the layers (with frozen blocks those above) and the numbers of frames, masked in training."""
        c, mask = self.config, self.config.mask if self.training else None
        if not c.frozen_blocks:
            assert isinstance(batch, TextBatch)  # noqa: S101 - frames are kept only of frozen blocks
            return self.encoder.encode(
                batch.waveform, batch.lengths, mask=mask, rng=rng, feature_gradient=c.feature_gradient
            )
        if isinstance(batch, FrameBatch):
            frames = Frames(batch.frames, batch.num_frames)
        else:
            frames = self.frozen_frames(batch.waveform, batch.lengths)
        return frozen_blocks.upper(self.encoder, frames, num_blocks=c.frozen_blocks, mask=mask, rng=rng), frames.lengths

    def recover(self, *, rng: Rng) -> str:
        """Reinitialise the head with a small blank probability, to leave the plateau where every frame is a blank.

        With an all-blank head, the encoder gets almost no gradient that distinguishes frames. If blanks are rare, the
        first updates place symbols, and the blanks between them are learnt afterwards. The encoder is kept.

        Returns:
            Description of the change, for the log.
        """
        self._reset_head(rng["head"])
        with torch.no_grad():
            self.head.bias.view(self.config.upsample, self.num_classes)[:, BLANK] = -math.log(self.num_classes)
        return f"reinitialised the output layer, with a blank {self.num_classes} times less likely than a symbol"

    @torch.no_grad()
    def adopt_classes(self, other: "Ctc") -> list[str]:
        """Copy the head's rows of all symbols that another recogniser has, too, in any case; equal ones first.

        Both recognisers have a vocabulary and vectors of the same width.

        Returns:
            The symbols copied, blank included; none if the other has another number of distributions for each vector.
        """
        assert self.vocabulary is not None  # noqa: S101 - see above
        assert other.vocabulary is not None  # noqa: S101
        if self.config.upsample != other.config.upsample:
            return []
        symbols = other.vocabulary.symbols
        known = {s.casefold(): i for i, s in reversed(list(enumerate(symbols)))} | {s: i for i, s in enumerate(symbols)}
        known[self.vocabulary.symbols[BLANK]] = BLANK  # a public model's has another name
        pairs = [
            (new, known[key])
            for new, symbol in enumerate(self.vocabulary.symbols)
            if (key := symbol if symbol in known else symbol.casefold()) in known
        ]
        new, old = (torch.tensor(list(of)) for of in zip(*pairs, strict=True))
        for mine, theirs in ((self.head.weight, other.head.weight), (self.head.bias, other.head.bias)):
            shape = (self.config.upsample, -1, *mine.shape[1:])
            mine.view(shape)[:, new] = theirs.view(shape)[:, old]
        return [self.vocabulary.symbols[i] for i, _ in pairs]

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which the encoder computes; in float32, that of the caller."""
        halves = self.precision == "bfloat16" or (self.precision == "int8" and has_bfloat16(device))
        return torch.autocast(device.type, torch.bfloat16) if halves else nullcontext()

    def _reset_head(self, generator: torch.Generator | None) -> None:
        nn.init.xavier_uniform_(self.head.weight, generator=generator)
        nn.init.zeros_(self.head.bias)
        if (first := self.config.first_blank) is not None:
            log_odds = math.log(first / (1 - first)) + math.log(self.num_classes - 1)
            with torch.no_grad():
                self.head.bias.view(self.config.upsample, self.num_classes)[:, BLANK] = log_odds

    def _read(self, layers: list[Tensor], num_frames: Tensor) -> Frames:
        x = layers[-1] if self.layer_weights is None else _mix(layers, self.layer_weights.softmax(0))
        if self.precision != "float32":
            x = x.float()  # a small product, whose rounding would make classes equal
        logits = self.head(x).unflatten(2, (self.config.upsample, self.num_classes)).flatten(1, 2)
        return Frames(logits, num_frames * self.config.upsample)


def _mix(layers: list[Tensor], weights: Float[Tensor, " layer"]) -> Float[Tensor, "batch frame dim"]:
    """Return the weighted mean of normalised layers, normalised again so that its scale does not depend on the weights.

    Layers of another width than the last one, such as log-mel features, are left out.
    """
    shape = layers[-1].shape[-1:]
    chosen = [(weight, layer) for weight, layer in zip(weights, layers, strict=True) if layer.shape[-1:] == shape]
    mean = sum(weight * F.layer_norm(layer.float(), shape) for weight, layer in chosen)
    assert isinstance(mean, Tensor)  # noqa: S101 - the last layer is always included
    return F.layer_norm(mean, shape)


def ctc_loss(
    logits: Frames, labels: Int[Tensor, "batch label"], label_lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return the negative log-probability of each label sequence over all its alignments, in nats (Graves et al. 2006).

    Computed in float32 for logits of any type. Zero, without gradient, for an utterance that cannot be aligned.
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
    """Return the minimum number of frames for the labels: one each, and a blank between equal neighbours."""
    return label_lengths + _num_repeats(labels, label_lengths)


def chance(
    logits: Frames, labels: Int[Tensor, "batch label"], label_lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return the CTC loss of equal logits: T ln C minus the log of the number of alignments; zero if there is none.

    L labels, of which r repeat their neighbour, have binomial(T + L - r, 2 L) alignments to T frames.
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
