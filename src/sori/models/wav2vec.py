"""wav2vec: distinguish future frames from distractors.

Schneider, Baevski, Collobert, Auli: wav2vec: Unsupervised Pre-training for Speech Recognition, Interspeech 2019 (arXiv
1904.05862).

Data flow: waveform -> convolutions (`features`, z) -> causal convolutions (`context`, c) -> affine maps h_k.
For each of K steps ahead, the score of h_k(c_t) with the frame at that step should be above zero, and with distractors
from the same clip below zero.

Differences between the reference code (fairseq) and the paper:
- the first frame to predict is `offset` = ceil(field / hop) frames ahead, 3 in the published sizes, so that input and
  target have no common samples. The paper's formula starts at 1. We follow the code;
- a distractor can be the target itself (`nn/negatives.py`: "faithful"), as in the paper, which draws from all frames of
  the clip, in one of T draws. The published sizes are "faithful", ours are "fixed";
- the weight of the distractors, lambda in the paper, is their number: each has the same weight as the target;
- the K maps have a common bias vector, which the paper does not mention. We follow the code.
The published sizes are the same in paper and code except for the large encoder: the code's default has eight layers,
its published command and our `wav2vec_large` have seven. Options of the code that its published command does not use
are not implemented: dropout, a recurrent aggregator, skips in the encoder, zero padding, balanced classes, a softmax.

Departure of ours, outside the published sizes: the convolutions may start from log-mel features (`spectrum`), with
which two CPU cores and a few hours of audio suffice. Everywhere: utterances may be padded; the norms exclude padding.
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
from sori.nn.lengths import PerLayer, num_frames
from sori.nn.losses import step_ahead
from sori.nn.mask import MaskConfig, draw_hidden, hide
from sori.nn.negatives import Exclusion, within_clip
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMel, LogMelConfig


class Wav2VecConfig(Config):
    """Settings of model and objective; the defaults are those of the base size."""

    kind: Literal["wav2vec"] = "wav2vec"
    spectrum: Annotated[LogMelConfig | CepstrumConfig, Field(discriminator="kind")] | None = None
    """Input of the convolutions; None: the waveform."""
    dim: int = Field(default=512, ge=1)
    """Number of channels of z and c, section 2. fairseq: the first number of each layer."""
    encoder_kernels: PerLayer = (10, 8, 4, 4, 4)
    """Kernel sizes of the layers of the encoder, section 2. fairseq: conv_feature_layers."""
    encoder_strides: PerLayer = (5, 4, 2, 2, 2)
    log_compression: bool = True
    """log(1 + |z|). fairseq: log_compression."""
    context_kernels: PerLayer = (3,) * 9
    """Kernel sizes of the causal layers, section 2. fairseq: conv_aggregator_layers."""
    skip: bool = False
    """Whether to add the input of each causal layer to its output. fairseq: skip_connections_agg."""
    num_ahead: int = Field(default=12, ge=1)
    """K, number of steps, section 2. fairseq: prediction_steps."""
    offset: int | None = Field(default=None, ge=1)
    """Frames from a context to its first target; None: the fewest without common samples. fairseq: offset,
    where None is "auto"."""
    num_negatives: int = Field(default=10, ge=1)
    """Number of distractors of each target."""
    exclusion: Exclusion = "faithful"
    """Whether a distractor may be the target itself, see `nn/negatives.py:within_clip`."""

    @model_validator(mode="after")
    def _consistent(self) -> "Wav2VecConfig":
        if len(self.encoder_kernels) != len(self.encoder_strides):
            raise ValueError(
                "encoder_kernels and encoder_strides must have equal lengths, with one entry for each layer"
            )
        return self

    @property
    def num_layers(self) -> int:
        """Number of causal layers; there is one more layer, z."""
        return len(self.context_kernels)


class RandomDraws(NamedTuple):
    """Random values of the objective."""

    negatives: Int[Tensor, "batch frame negative"]
    """Indices of the distractors of each frame as a target."""


class Wav2Vec(nn.Module):
    """wav2vec, a `protocols.System` and a `protocols.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("predictors",)
    """Parts used in pre-training only; a recogniser does not have them."""

    uses_every_parameter: ClassVar[bool] = True
    """Every micro-batch gives every parameter a gradient."""

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
        """Receptive field of one frame z in samples; the shortest input."""
        if self.spectrum is None:
            return self.front.field
        return self.spectrum.field_samples + (self.front.field - 1) * self.spectrum.hop_samples

    @property
    def context_samples(self) -> int:
        """Receptive field of one frame c in samples, not counting the norms, which depend on the whole clip."""
        return self.field_samples + sum(kernel - 1 for kernel in self.config.context_kernels) * self.hop_samples

    @property
    def offset(self) -> int:
        """Frames from a context to its first target."""
        return self.config.offset or math.ceil(self.field_samples / self.hop_samples)

    @property
    def chance_nats(self) -> float:
        """Loss of a target and its N distractors for the best score that is the same for all of them.

        It corresponds to a probability of 1 / (N + 1): with ten distractors 3.35 nats or 4.83 bits. If all scores are
        zero, as before the first update, the loss is (N + 1) ln 2, 7.62 nats or 11 bits; the first updates only learn
        that most candidates are wrong.
        """
        n = self.config.num_negatives
        return (n + 1) * math.log(n + 1) - n * math.log(n)

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return z, section 2.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)  # raises for short ones
        if self.spectrum is None:
            return self.front(waveform.unsqueeze(-1), lengths)  # type: ignore[no-any-return]
        return self.front(*self.spectrum(waveform, lengths))  # type: ignore[no-any-return]

    def context(self, frames: Frames) -> list[Tensor]:
        """Return all layers: z, then the output of every causal layer, the last one c.

        Args:
            frames: output of `features`.

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
        """Compute all layers from a waveform, for fine-tuning and feature extraction.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.
            mask: masking of frames and channels of z by zeros.
            rng: generators for the mask.
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
        """Return the vectors of one layer: 0 is z, None the last, c.

        Raises:
            ValueError: if the model has no such layer.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="z")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """Draw the distractors of one batch from `rng["negatives"]`, on the host: the same for every device.

        Args:
            lengths: number of real frames of each clip.
            rng: generators of this micro-batch.
            device: device of the result.
        """
        c = self.config
        negatives = within_clip(
            lengths.cpu(),
            num_negatives=c.num_negatives,
            exclusion=c.exclusion,
            generator=Rng(*rng.key)["negatives"],
        )
        return RandomDraws(negatives.to(device))

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:  # noqa: ARG002 - every system takes the step
        """Return the pre-training loss of one micro-batch, summed over all pairs of a context and a target.

        Args:
            batch: waveforms, usually of equal length.
            step: optimiser update; not used.
            rng: generators of this micro-batch.

        Raises:
            ValueError: if the model was loaded without its predictors.
        """
        if not hasattr(self, "predictors"):
            raise ValueError(
                "this encoder has no predictors, which pre-training requires; extract features or fine-tune it"
            )
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        return self.objective(batch, self.draw(frame_lengths, rng, batch.waveform.device))

    def objective(self, batch: WaveformBatch, draws: RandomDraws) -> LossSum:
        """Return the loss for given draws, section 2.

        Terms, all on the scale of the sum: `contrastive`; `correct`, pairs whose target scored higher than all its
        distractors; `correct_1` to `correct_K`, the fraction of these for each step, times the count.
        """
        frames = self.features(batch.waveform, batch.lengths)
        predictions = self.predictors(self.context(frames)[-1])
        ahead = step_ahead(predictions, *frames, draws.negatives, offset=self.offset)
        count = ahead.pairs.sum()
        terms = {"contrastive": ahead.loss, "correct": ahead.correct.sum()}
        correct = count * ahead.correct / ahead.pairs.clamp(min=1)
        terms |= {f"correct_{step}": value for step, value in enumerate(correct.unbind(), start=1)}
        return LossSum(ahead.loss, count, {name: term.detach().float() for name, term in terms.items()})
