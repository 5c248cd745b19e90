"""wav2vec: tell what comes next from what comes elsewhere.

Schneider, Baevski, Collobert, Auli: wav2vec: Unsupervised Pre-training for Speech Recognition, Interspeech 2019 (arXiv
1904.05862).

The way of the sound: waveform -> convolutions (`features`, z) -> causal convolutions (`context`, c) -> affine maps h_k.
For each of K steps ahead, h_k(c_t) has to score the frame that comes then above zero, and frames drawn from the same
clip below.

Where the reference code (fairseq) and the paper differ:
- the first frame to be predicted lies `offset` = ceil(field / hop) frames ahead, 3 in the published sizes, so that no
  sample is both heard and predicted. The paper's formula begins at 1. We follow the code;
- a distractor can be the target itself (`nn/negatives.py`: "faithful"). The paper draws from all frames of the
  clip, and so it is there as well, once in T draws. Published sizes are faithful, ours are "fixed";
- the weight of the distractors, lambda in the paper, is their number: each counts as much as the target;
- the K maps share one bias vector, of which the paper does not tell. We follow the code.
The published sizes are alike in paper and code but for the large encoder: the code's default has eight layers, its
published command and our `wav2vec_large` seven. Of the code's options, those that its published command leaves off are
not here: dropout, a recurrent aggregator, skips in the encoder, padding with zeros, balanced classes, a softmax.

Departure of ours, outside the published sizes: the convolutions may begin at a log-mel spectrum (`front`), on which
two CPU cores and few hours suffice to learn from. Everywhere: utterances may be padded; the norm leaves padding out.
"""

import math
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import nn

from sori.core.batch import WaveformBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn.causal import CausalConv, StepPredictors
from sori.nn.clip_norm import ClipConv
from sori.nn.conv import scale_gradient
from sori.nn.layers import choose_layer
from sori.nn.lengths import num_frames
from sori.nn.losses import step_ahead
from sori.nn.mask import MaskConfig, draw_hidden, hide
from sori.nn.negatives import Exclusion, within_clip
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMel, LogMelConfig


class Wav2VecConfig(Config):
    """Everything that decides what the model computes and is scored by; the defaults are those of the base size."""

    kind: Literal["wav2vec"] = "wav2vec"
    spectrum: Annotated[LogMelConfig | CepstrumConfig, Field(discriminator="kind")] | None = None
    """What the convolutions hear; None: the waveform."""
    dim: int = Field(default=512, ge=1)
    """Channels of z and c, section 2. fairseq: the first number of each layer."""
    encoder_kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
    """Taps of the layers of the encoder, section 2. fairseq: conv_feature_layers."""
    encoder_strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    log_compression: bool = True
    """log(1 + |z|). fairseq: log_compression."""
    context_kernels: tuple[int, ...] = (3,) * 9
    """Taps of the causal layers, section 2. fairseq: conv_aggregator_layers."""
    skip: bool = False
    """Add the input of each causal layer to its output. fairseq: skip_connections_agg."""
    num_ahead: int = Field(default=12, ge=1)
    """K, steps, section 2. fairseq: prediction_steps."""
    offset: int | None = Field(default=None, ge=1)
    """Frames from a context to the first that is predicted; None: so many that they share no sample. fairseq: offset,
    where None is "auto"."""
    num_negatives: int = Field(default=10, ge=1)
    """Distractors of each target."""
    exclusion: Exclusion = "faithful"
    """Whether a distractor may be the target itself, see `nn/negatives.py:within_clip`."""

    @model_validator(mode="after")
    def _consistent(self) -> "Wav2VecConfig":
        if len(self.encoder_kernels) != len(self.encoder_strides):
            raise ValueError("encoder_kernels and encoder_strides need as many entries, one for each layer")
        return self

    @property
    def num_layers(self) -> int:
        """Causal layers; there is one layer more, z."""
        return len(self.context_kernels)


class RandomDraws(NamedTuple):
    """All that is random in the objective."""

    negatives: Int[Tensor, "batch frame negative"]
    """For each frame as a target, the frames of its distractors."""


class Wav2Vec(nn.Module):
    """The system: a `contracts.System` and a `contracts.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("predictors",)
    """Parts that only pre-training needs: neither stored nor counted in a recogniser."""

    def __init__(self, config: Wav2VecConfig) -> None:
        super().__init__()
        self.config = config
        match config.spectrum:
            case None:
                self.spectrum: LogMel | Cepstrum | None = None
            case LogMelConfig() as spectrum:
                self.spectrum = LogMel(spectrum)
            case CepstrumConfig() as spectrum:
                self.spectrum = Cepstrum(spectrum)
        self.front = ClipConv(
            1 if self.spectrum is None else self.spectrum.dim,
            config.dim,
            kernels=config.encoder_kernels,
            strides=config.encoder_strides,
            log_compression=config.log_compression,
        )
        self.aggregator = CausalConv(config.dim, kernels=config.context_kernels, skip=config.skip)
        self.predictors = StepPredictors(config.dim, num_steps=config.num_ahead)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.front.hop * (1 if self.spectrum is None else self.spectrum.hop_samples)

    @property
    def field_samples(self) -> int:
        """Samples that one frame z sees; the shortest input."""
        if self.spectrum is None:
            return self.front.field
        return self.spectrum.field_samples + (self.front.field - 1) * self.spectrum.hop_samples

    @property
    def context_samples(self) -> int:
        """Samples that one frame c sees, but for what the norms know of the rest of the clip."""
        return self.field_samples + sum(kernel - 1 for kernel in self.config.context_kernels) * self.hop_samples

    @property
    def offset(self) -> int:
        """Frames from a context to the first that is predicted."""
        return self.config.offset or math.ceil(self.field_samples / self.hop_samples)

    @property
    def chance_nats(self) -> float:
        """Loss of a target and its distractors where all scores are the same, and as good as they can be so.

        That is, the logarithm of one right among N + 1: with ten distractors 3.35 nats or 4.83 bits. Where all scores
        are zero, as before the first update, it is (N + 1) ln 2, 7.62 nats or 11 bits; the first updates only learn
        that most candidates are wrong.
        """
        n = self.config.num_negatives
        return (n + 1) * math.log(n + 1) - n * math.log(n)

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """z, section 2.

        Args:
            waveform: raw amplitude.
            lengths: real samples.

        Raises:
            ValueError: for an utterance shorter than one frame.
        """
        num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)  # refuses short ones
        if self.spectrum is None:
            return self.front(waveform.unsqueeze(-1), lengths)  # type: ignore[no-any-return]
        return self.front(*self.spectrum(waveform, lengths))  # type: ignore[no-any-return]

    def context(self, frames: Frames) -> list[Tensor]:
        """All layers: z, then the output of every causal layer, the last one c.

        Args:
            frames: as `features` gives them.

        Returns:
            "batch frame dim" each.
        """
        return [frames.data, *self.aggregator(*frames)]

    def encode(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        mask: MaskConfig | None = None,
        rng: Rng | None = None,
        feature_gradient: float = 0.0,
    ) -> tuple[list[Tensor], Int[Tensor, " batch"]]:
        """From waveform to all layers: for fine-tuning and for reading out.

        Args:
            waveform: raw amplitude.
            lengths: real samples.
            mask: hide frames and channels of z, by zeros.
            rng: for the mask.
            feature_gradient: factor on the gradient into the encoder; 0 keeps it frozen and saves its backward pass.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and feature_gradient != 0):
            frames = self.features(waveform, lengths)
        z = scale_gradient(frames.data, feature_gradient)
        z = hide(z, *draw_hidden(mask, frames.lengths, self.config.dim, rng))
        return self.context(Frames(z, frames.lengths)), frames.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Vectors of one layer: 0 is z, None the last, c.

        Raises:
            ValueError: for a layer that the model does not have.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="z")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """Distractors for one batch, from `rng["negatives"]`; drawn on the host, the same for every device.

        Args:
            lengths: real frames of each clip.
            rng: of this micro-batch.
            device: where the draws are needed.
        """
        c = self.config
        negatives = within_clip(
            lengths.cpu(),
            num_negatives=c.num_negatives,
            exclusion=c.exclusion,
            generator=Rng(*rng.key)["negatives"],
        )
        return RandomDraws(negatives.to(device))

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:  # noqa: ARG002 - nothing depends on the step
        """Pre-training loss of one micro-batch, summed over all pairs of a context and a target.

        Args:
            batch: waveforms of equal length, as a rule.
            step: optimiser update.
            rng: of this micro-batch.

        Raises:
            ValueError: the model was read without its predictors.
        """
        if not hasattr(self, "predictors"):
            raise ValueError(
                "this encoder has no predictors, which pre-training needs; it can be read out or fine-tuned"
            )
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        return self.objective(batch, self.draw(frame_lengths, rng, batch.waveform.device))

    def objective(self, batch: WaveformBatch, draws: RandomDraws) -> LossSum:
        """The loss for given draws, section 2.

        Terms, all on the scale of the sum: `contrastive`; `correct`, pairs whose target scored higher than all its
        distractors; `correct_1` to `correct_K`, the same share for each step, times the count.
        """
        frames = self.features(batch.waveform, batch.lengths)
        predictions = self.predictors(self.context(frames)[-1])
        ahead = step_ahead(predictions, *frames, draws.negatives, offset=self.offset)
        count = ahead.pairs.sum()
        terms = {"contrastive": ahead.loss, "correct": ahead.correct.sum()}
        shares = count * ahead.correct / ahead.pairs.clamp(min=1)
        terms |= {f"correct_{step}": share for step, share in enumerate(shares.unbind(), start=1)}
        return LossSum(ahead.loss, count, {name: term.detach().float() for name, term in terms.items()})
