"""vq-wav2vec: wav2vec with discrete units in place of frames.

Baevski, Schneider, Auli: vq-wav2vec: Self-Supervised Learning of Discrete Speech Representations, ICLR 2020 (arXiv
1910.05453).

Data flow: waveform -> convolutions (`features`, z) -> quantiser (z^, the chosen entries of G codebooks) ->
causal convolutions (`context`, c) -> affine maps h_k. Contexts, targets and distractors are all computed from z^: the
objective depends on the units only. `units` returns them, to process speech as text.

Differences between the reference code (fairseq) and the paper:
- temperature of the Gumbel softmax: linear from 2 to 0.5 over 70 % of the updates in the paper, which we follow; the
  code multiplies by 0.999995 at each update and reaches 0.5 at about the same point;
- K = 8 steps in the paper, which our recipes follow; 12 in the code's published command;
- ReLU throughout in the paper, which our recipes follow; GELU in the code's published command (`activation`);
- one codebook for both groups in the published command, which we follow; two in the released Gumbel model (`shared`);
- offset, faithful distractors and the common bias are those of wav2vec (`models/wav2vec.py`), as in the code;
- a loss for even use of the codebook is in the code and in no published recipe. Here it is `diversity_weight`, on the
  unused fraction of the codebook as in wav2vec 2.0; the code counts unused entries, which is G V times as much.

Departures of ours, outside the published sizes: the convolutions may start from log-mel features (`spectrum`), and the
Gumbel quantiser may have no hidden layer (`quantizer_hidden` 0) and be initialised with clusters of its input
(`start_sharpness`), because the rest of the model cannot learn to predict random units. Everywhere: utterances may be
padded; the norms exclude padding. In feature extraction and fine-tuning, the most likely unit is used, with the
gradient of its softmax.
"""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import nn

from sori.core.batch import WaveformBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Float, Frames, Int, Tensor, Units
from sori.models.protocols import LossSum
from sori.nn.causal import CausalConv, StepPredictors
from sori.nn.clip_norm import Activation, ClipConv, activate
from sori.nn.conv import scale_gradient
from sori.nn.layers import choose_layer
from sori.nn.lengths import PerLayer, num_frames, valid
from sori.nn.losses import diversity, perplexity, same_unit, step_ahead
from sori.nn.mask import MaskConfig, draw_hidden, hide
from sori.nn.negatives import Exclusion, within_clip
from sori.nn.quantize import GumbelQuantizer, KMeansQuantizer, gumbel_noise
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMel, LogMelConfig


class VqWav2VecConfig(Config):
    """Settings of model and objective; the defaults are the paper's Gumbel model."""

    kind: Literal["vq_wav2vec"] = "vq_wav2vec"
    spectrum: Annotated[LogMelConfig | CepstrumConfig, Field(discriminator="kind")] | None = None
    """Input of the convolutions; None: the waveform."""
    dim: int = Field(default=512, ge=1)
    """Number of channels of z, z^ and c, section 5.2. fairseq: the first number of each layer."""
    encoder_kernels: PerLayer = (10, 8, 4, 4, 4, 1, 1, 1)
    """Kernel sizes of the layers of the encoder, section 5.2. fairseq: conv_feature_layers."""
    encoder_strides: PerLayer = (5, 4, 2, 2, 2, 1, 1, 1)
    log_compression: bool = True
    """log(1 + |z|). fairseq: log_compression."""
    context_kernels: PerLayer = tuple(range(2, 14))
    """Kernel sizes of the causal layers, section 5.2. fairseq: conv_aggregator_layers."""
    skip: bool = True
    """Whether to add the input of each causal layer to its output. fairseq: skip_connections_agg."""
    activation: Activation = "relu"
    """Activation of all convolutions and of the quantiser's hidden layer. fairseq: activation, vq_... with GELU."""

    quantizer: Literal["gumbel", "kmeans"] = "gumbel"
    """Section 3.1 or 3.2. fairseq: vq_type."""
    num_groups: int = Field(default=2, ge=1)
    """G, number of groups. fairseq: vq_groups."""
    num_codes: int = Field(default=320, ge=2)
    """V, number of entries of each group. fairseq: vq_vars."""
    shared: bool = True
    """Whether all groups choose from the same entries. fairseq: combine_groups."""
    quantizer_hidden: int = Field(default=1024, ge=0)
    """Width of the hidden layer before the logits of the Gumbel quantiser; 0: none. fairseq: vq_depth 2."""
    gumbel_start: float = Field(default=2.0, gt=0)
    """Temperature at update 0, section 5.2. fairseq: vq_temp."""
    gumbel_end: float = Field(default=0.5, gt=0)
    gumbel_updates: int = Field(default=280_000, ge=1)
    """Number of updates in which the temperature falls; the paper's 70 % of 400,000."""
    start_sharpness: float = Field(default=0.0, ge=0)
    """Factor on the logits of units that are initialised with clusters of the quantiser's input; 0: random
    initialisation as published. Requires a Gumbel quantiser without hidden layer and with a codebook per group."""
    diversity_weight: float = Field(default=0.0, ge=0)
    """Weight of the unused fraction of the Gumbel codebook. Paper: 0. fairseq: loss_weights, times G V."""
    kmeans_weight: float = Field(default=1.0, ge=0)
    """Weight of the distance between entries and quantised vectors, equation 3. fairseq: loss_weights."""
    commitment: float = Field(default=0.25, ge=0)
    """gamma, equation 3. fairseq: vq_gamma."""

    num_ahead: int = Field(default=8, ge=1)
    """K, number of steps, section 5.2. fairseq: prediction_steps."""
    offset: int | None = Field(default=None, ge=1)
    """Frames from a context to its first target; None: the fewest without common samples. fairseq: offset,
    where None is "auto"."""
    num_negatives: int = Field(default=10, ge=1)
    """Number of distractors of each target."""
    exclusion: Exclusion = "faithful"
    """Whether a distractor may be the target itself, see `nn/negatives.py:within_clip`."""

    @model_validator(mode="after")
    def _consistent(self) -> "VqWav2VecConfig":
        if len(self.encoder_kernels) != len(self.encoder_strides):
            raise ValueError(
                "encoder_kernels and encoder_strides must have equal lengths, with one entry for each layer"
            )
        if self.diversity_weight and self.quantizer == "kmeans":
            raise ValueError("diversity_weight has no effect on nearest entries, which have no gradient; set it to 0")
        if self.start_sharpness and (self.quantizer == "kmeans" or self.quantizer_hidden or self.shared):
            raise ValueError("start_sharpness needs quantizer gumbel, quantizer_hidden 0 and shared false")
        return self

    @property
    def num_layers(self) -> int:
        """Number of causal layers; there is one more layer, z^."""
        return len(self.context_kernels)


class RandomDraws(NamedTuple):
    """Random values of the objective."""

    negatives: Int[Tensor, "batch frame negative"]
    """Indices of the distractors of each frame as a target."""
    noise: Float[Tensor, "batch frame logit"] | None = None
    """Noise of the Gumbel quantiser; None: its most likely entries are used."""


class QuantizedFrames(NamedTuple):
    """Output of the quantiser."""

    frames: Frames
    """z^."""
    units: Int[Tensor, "batch frame group"]
    """Index of the chosen entry of each group."""
    hard_probs: Float[Tensor, "group entry"]
    """Fraction of the frames that have each entry."""
    probs: Float[Tensor, "group entry"]
    """Mean probabilities before the choice, for the Gumbel quantiser; else equal to `hard_probs`."""
    penalty: Float[Tensor, ""]
    """Loss of the quantiser, added for each target."""


class VqWav2Vec(nn.Module):
    """vq-wav2vec, a `protocols.System` and a `protocols.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("predictors",)
    """Parts used in pre-training only; a recogniser does not have them. The quantiser is kept."""

    uses_every_parameter: ClassVar[bool] = True
    """Every micro-batch gives every parameter a gradient."""

    def __init__(self, config: VqWav2VecConfig) -> None:
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
            activation=config.activation,
            log_compression=config.log_compression,
        )
        self.hidden: nn.Linear | None = None
        size = {"num_groups": config.num_groups, "num_codes": config.num_codes}
        match config.quantizer:
            case "gumbel":
                if config.quantizer_hidden:
                    self.hidden = nn.Linear(config.dim, config.quantizer_hidden)
                inputs = config.quantizer_hidden or config.dim
                self.quantizer: GumbelQuantizer | KMeansQuantizer = GumbelQuantizer(
                    inputs, **size, code_dim=config.dim, shared=config.shared
                )
                if config.quantizer_hidden:  # as in the reference code: N(0, 1) only without a hidden layer
                    self.quantizer.logits.reset_parameters()
            case "kmeans":
                self.quantizer = KMeansQuantizer(config.dim, **size, shared=config.shared)
        self.aggregator = CausalConv(
            config.dim, kernels=config.context_kernels, skip=config.skip, activation=config.activation
        )
        self.predictors = StepPredictors(config.dim, num_steps=config.num_ahead)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.front.hop * (1 if self.spectrum is None else self.spectrum.hop_samples)

    @property
    def field_samples(self) -> int:
        """Receptive field of one unit in samples; the shortest input."""
        if self.spectrum is None:
            return self.front.field
        return self.spectrum.field_samples + (self.front.field - 1) * self.spectrum.hop_samples

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

    @property
    def max_code_perplexity(self) -> float:
        """Codebook perplexity with all entries of all groups in equal use."""
        return float(self.config.num_groups * self.config.num_codes)

    def gumbel_temperature(self, step: int) -> float:
        """Return the temperature of the quantiser after `step` optimiser updates (section 5.2)."""
        c = self.config
        return c.gumbel_start + min(step / c.gumbel_updates, 1) * (c.gumbel_end - c.gumbel_start)

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return z, section 2.1, before it is quantised.

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

    def quantize(self, frames: Frames, *, temperature: float = 1.0, noise: Tensor | None = None) -> QuantizedFrames:
        """Return z^ and the units, section 3.

        Args:
            frames: z, output of `features`.
            temperature: temperature of the Gumbel softmax that carries the gradient.
            noise: noise of the Gumbel quantiser; None: the most likely entry, without gradient to the logits.
        """
        x, lengths = frames
        if isinstance(self.quantizer, KMeansQuantizer):
            found = self.quantizer(x, lengths)
            penalty = self.config.kmeans_weight * (found.codebook_loss + self.config.commitment * found.commitment)
            return QuantizedFrames(
                Frames(found.vectors, lengths), found.units, found.hard_probs, found.hard_probs, penalty
            )
        if self.hidden is not None:
            x = activate(self.hidden(x), self.config.activation)
        quantized = self.quantizer(x, temperature=temperature, noise=noise)
        penalty = self.config.diversity_weight * diversity(quantized.probs)
        return QuantizedFrames(
            Frames(quantized.vectors, lengths), quantized.units, quantized.hard_probs, quantized.probs, penalty
        )

    def units(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Units:
        """Return the units of every frame, one for each group: indices from 0 to V - 1, -1 in padding.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        frames = self.features(waveform, lengths)
        units = self.quantize(frames).units
        real = valid(frames.lengths, units.shape[1])
        return Units(units.masked_fill(~real.unsqueeze(-1), -1), frames.lengths)

    def context(self, frames: Frames) -> list[Tensor]:
        """Return all layers: z^, then the output of every causal layer, the last one c.

        Args:
            frames: z^, output of `quantize`.

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
            mask: masking of frames and channels of z^ by zeros.
            rng: generators for the mask.
            feature_gradient: factor on the gradient into the encoder; 0 keeps it frozen and saves its backward pass.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and feature_gradient != 0):
            frames = self.features(waveform, lengths)
        z = Frames(scale_gradient(frames.data, feature_gradient), frames.lengths)
        # Zero noise, rather than None, for a gradient to the logits.
        noise = z.data.new_zeros(*z.data.shape[:2], self._num_logits) if torch.is_grad_enabled() else None
        units = self.quantize(z, temperature=self.config.gumbel_end, noise=noise).frames.data
        units = hide(units, *draw_hidden(mask, z.lengths, self.config.dim, rng))
        return self.context(Frames(units, z.lengths)), z.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer: 0 is z^, None the last, c.

        Raises:
            ValueError: if the model has no such layer.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="the entries of the units")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    @property
    def _num_logits(self) -> int:
        return self.config.num_groups * self.config.num_codes

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """Draw distractors and, in training, noise for one batch, from `rng["negatives"]` and `rng["gumbel"]`.

        Distractors are drawn on the host, so that they are the same on every device.

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
        noise = None
        if self.training and c.quantizer == "gumbel":
            shape = (len(lengths), int(lengths.max()))
            noise = gumbel_noise(*shape, num_logits=self._num_logits, generator=rng["gumbel"]).to(device)
        return RandomDraws(negatives.to(device), noise)

    @torch.no_grad()
    def start_codebook(self, batches: Iterable[WaveformBatch], rng: Rng) -> None:
        """Initialise the units with clusters of z, with `start_sharpness`; call this before the first update.

        Each group has weight 1 for its own part of the channels and 0.3 for the others.

        Args:
            batches: some minutes of audio; at most 20,000 frames are used.
            rng: generators; `rng["codebook"]` chooses frames and initial centres.

        Raises:
            ValueError: if there are fewer frames than entries.
        """
        assert isinstance(self.quantizer, GumbelQuantizer)  # noqa: S101 - the settings are checked
        found, generator = [], Rng(*rng.key)["codebook"]
        for batch in batches:
            frames = self.features(batch.waveform, batch.lengths)
            found.append(frames.data[valid(frames.lengths, frames.data.shape[1])].cpu())
        every = torch.cat(found)
        some = every[torch.randperm(len(every), generator=generator)[:20_000]]
        groups = torch.arange(self.config.dim) * self.config.num_groups // self.config.dim
        own = groups == torch.arange(self.config.num_groups)[:, None]
        sharpness, device = self.config.start_sharpness, self.quantizer.codebook.device
        self.quantizer.cpu().start(some, torch.where(own, 1.0, 0.3), sharpness=sharpness, generator=generator)
        self.quantizer.codebook.mul_(some.std())  # same scale as the frames
        self.quantizer.to(device)

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the pre-training loss of one micro-batch, summed over all pairs of a context and a target.

        Args:
            batch: waveforms, usually of equal length.
            step: optimiser update, for the temperature of the quantiser.
            rng: generators of this micro-batch.

        Raises:
            ValueError: if the model was loaded without its predictors.
        """
        if not hasattr(self, "predictors"):
            raise ValueError(
                "this encoder has no predictors, which pre-training requires; extract features or fine-tune it"
            )
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        draws = self.draw(frame_lengths, rng, batch.waveform.device)
        return self.objective(batch, draws, temperature=self.gumbel_temperature(step))

    def objective(self, batch: WaveformBatch, draws: RandomDraws, *, temperature: float) -> LossSum:
        """Return the loss for given draws, section 2.1 with the terms of section 3.

        Terms, all on the scale of the sum: `contrastive`; `correct`, pairs whose target scored higher than all its
        distractors; `correct_1` to `correct_K`, the fraction of these for each step; `penalty`, the quantiser's loss;
        `prob_perplexity` and `code_perplexity`, soft and hard use of the codebook; `equal_share`, the fraction of
        distractors with the units of their target; all but the first two times the count.

        Args:
            batch: waveforms.
            draws: see `draw`.
            temperature: temperature of the Gumbel softmax.
        """
        frames = self.features(batch.waveform, batch.lengths)
        quantized = self.quantize(frames, temperature=temperature, noise=draws.noise)
        predictions = self.predictors(self.context(quantized.frames)[-1])
        ahead = step_ahead(predictions, *quantized.frames, draws.negatives, offset=self.offset)
        count = ahead.pairs.sum()
        total = ahead.loss + count * quantized.penalty
        with torch.no_grad():
            terms = {
                "contrastive": ahead.loss,
                "correct": ahead.correct.sum(),
                "penalty": count * quantized.penalty,
                "prob_perplexity": count * perplexity(quantized.probs),
                "code_perplexity": count * perplexity(quantized.hard_probs),
                "equal_share": count * same_unit(quantized.units, draws.negatives).float().mean(),
            }
            correct = count * ahead.correct / ahead.pairs.clamp(min=1)
            terms |= {f"correct_{step}": value for step, value in enumerate(correct.unbind(), start=1)}
        return LossSum(total, count, {name: term.detach().float() for name, term in terms.items()})
