"""vq-wav2vec: wav2vec whose frames are replaced by discrete units before anything is predicted.

Baevski, Schneider, Auli: vq-wav2vec: Self-Supervised Learning of Discrete Speech Representations, ICLR 2020 (arXiv
1910.05453).

The way of the sound: waveform -> convolutions (`features`, z) -> quantiser (z^, the chosen entries of G codebooks) ->
causal convolutions (`context`, c) -> affine maps h_k. Contexts, targets and distractors are all made of z^: nothing but
the units reaches the objective. `codes` gives them, for whoever wants to treat speech as text.

Where the reference code (fairseq) and the paper differ:
- temperature of the Gumbel softmax: linear from 2 to 0.5 over 70 % of the updates in the paper, which we follow; the
  code multiplies by 0.999995 at each update and reaches 0.5 at about the same;
- K = 8 steps in the paper, which our recipes follow; 12 in the code's published command;
- ReLU throughout in the paper, which our recipes follow; GELU in the code's published command (`activation`);
- the command shares one codebook between the groups, the released Gumbel model has two (`shared`). We share;
- offset, faithful distractors and the shared bias are those of wav2vec (`models/wav2vec.py`), after the code;
- a loss for an even use of the codebook is in the code and in no published recipe. Ours has it as `diversity_weight`,
  as a share of the codebook like in wav2vec 2.0; the code has it in codes, which are G V times as many.

Departure of ours, outside the published sizes: the convolutions may begin at a log-mel spectrum (`spectrum`), and the
Gumbel quantiser may have no hidden layer of its own (`quantizer_hidden` 0) and begin with clusters of what it hears
(`start_sharpness`): random units that cannot be predicted teach the rest nothing. Everywhere: utterances may be
padded; the norms leave padding out. In reading out and fine-tuning, the likeliest unit is taken, with the gradient of
its softmax.
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
from sori.nn.lengths import num_frames, valid
from sori.nn.losses import diversity, perplexity, same_unit, step_ahead
from sori.nn.mask import MaskConfig, draw_hidden, hide
from sori.nn.negatives import Exclusion, within_clip
from sori.nn.quantize import GumbelQuantizer, KMeansQuantizer, gumbel_noise
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMel, LogMelConfig


class VqWav2VecConfig(Config):
    """Everything that decides what the model computes and is scored by; the defaults are the paper's Gumbel model."""

    kind: Literal["vq_wav2vec"] = "vq_wav2vec"
    spectrum: Annotated[LogMelConfig | CepstrumConfig, Field(discriminator="kind")] | None = None
    """What the convolutions hear; None: the waveform."""
    dim: int = Field(default=512, ge=1)
    """Channels of z, z^ and c, section 5.2. fairseq: the first number of each layer."""
    encoder_kernels: tuple[int, ...] = (10, 8, 4, 4, 4, 1, 1, 1)
    """Taps of the layers of the encoder, section 5.2. fairseq: conv_feature_layers."""
    encoder_strides: tuple[int, ...] = (5, 4, 2, 2, 2, 1, 1, 1)
    log_compression: bool = True
    """log(1 + |z|). fairseq: log_compression."""
    context_kernels: tuple[int, ...] = tuple(range(2, 14))
    """Taps of the causal layers, section 5.2. fairseq: conv_aggregator_layers."""
    skip: bool = True
    """Add the input of each causal layer to its output. fairseq: skip_connections_agg."""
    activation: Activation = "relu"
    """Of all convolutions and of the quantiser's hidden layer. fairseq: activation, vq_... with GELU."""

    quantizer: Literal["gumbel", "kmeans"] = "gumbel"
    """Section 3.1 or 3.2. fairseq: vq_type."""
    num_groups: int = Field(default=2, ge=1)
    """G. fairseq: vq_groups."""
    num_codes: int = Field(default=320, ge=2)
    """V, entries of each group. fairseq: vq_vars."""
    shared: bool = True
    """All groups choose from the same entries. fairseq: combine_groups."""
    quantizer_hidden: int = Field(default=1024, ge=0)
    """Width of the hidden layer before the logits of the Gumbel quantiser; 0: none. fairseq: vq_depth 2."""
    gumbel_start: float = Field(default=2.0, gt=0)
    """Temperature at update 0, section 5.2. fairseq: vq_temp."""
    gumbel_end: float = Field(default=0.5, gt=0)
    gumbel_updates: int = Field(default=280_000, ge=1)
    """Updates in which the temperature falls; the paper's 70 % of 400,000."""
    start_sharpness: float = Field(default=0.0, ge=0)
    """Let the units begin as clusters of what is quantised, with this factor on their logits; 0: drawn as published.
    Needs a Gumbel quantiser without hidden layer and with a codebook for each group."""
    diversity_weight: float = Field(default=0.0, ge=0)
    """Of the share of the Gumbel codebook that is not in use. Paper: 0. fairseq: loss_weights, times G V."""
    kmeans_weight: float = Field(default=1.0, ge=0)
    """Of the distance between entries and what chose them, equation 3. fairseq: loss_weights."""
    commitment: float = Field(default=0.25, ge=0)
    """gamma, equation 3. fairseq: vq_gamma."""

    num_ahead: int = Field(default=8, ge=1)
    """K, steps, section 5.2. fairseq: prediction_steps."""
    offset: int | None = Field(default=None, ge=1)
    """Frames from a context to the first that is predicted; None: so many that they share no sample. fairseq: offset,
    where None is "auto"."""
    num_negatives: int = Field(default=10, ge=1)
    """Distractors of each target."""
    exclusion: Exclusion = "faithful"
    """Whether a distractor may be the target itself, see `nn/negatives.py:within_clip`."""

    @model_validator(mode="after")
    def _consistent(self) -> "VqWav2VecConfig":
        if len(self.encoder_kernels) != len(self.encoder_strides):
            raise ValueError("encoder_kernels and encoder_strides need as many entries, one for each layer")
        if self.diversity_weight and self.quantizer == "kmeans":
            raise ValueError("diversity_weight has no effect on nearest entries, which have no gradient; set it to 0")
        if self.start_sharpness and (self.quantizer == "kmeans" or self.quantizer_hidden or self.shared):
            raise ValueError("start_sharpness needs quantizer gumbel, quantizer_hidden 0 and shared false")
        return self

    @property
    def num_layers(self) -> int:
        """Causal layers; there is one layer more, z^."""
        return len(self.context_kernels)


class RandomDraws(NamedTuple):
    """All that is random in the objective."""

    negatives: Int[Tensor, "batch frame negative"]
    """For each frame as a target, the frames of its distractors."""
    noise: Float[Tensor, "batch frame logit"] | None = None
    """Of the Gumbel quantiser; None: its likeliest choice."""


class QuantizedFrames(NamedTuple):
    """What the quantiser makes of frames."""

    frames: Frames
    """z^."""
    units: Int[Tensor, "batch frame group"]
    """Index of the chosen entry of each group."""
    hard_probs: Float[Tensor, "group entry"]
    """Share of the frames that have each code."""
    probs: Float[Tensor, "group entry"]
    """The same before the choice, of the Gumbel quantiser; of the other as `hard_probs`."""
    penalty: Float[Tensor, ""]
    """What the quantiser adds to the loss of a target."""


class VqWav2Vec(nn.Module):
    """The system: a `contracts.System` and a `contracts.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("predictors",)
    """Parts that only pre-training needs: neither stored nor counted in a recogniser. The quantiser is none of them."""

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
                if config.quantizer_hidden:  # as the reference code: only logits without a hidden layer are drawn wide
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
        """Samples that one unit sees; the shortest input."""
        if self.spectrum is None:
            return self.front.field
        return self.spectrum.field_samples + (self.front.field - 1) * self.spectrum.hop_samples

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

    @property
    def max_code_perplexity(self) -> float:
        """Code perplexity with all entries of all groups in equal use."""
        return float(self.config.num_groups * self.config.num_codes)

    def gumbel_temperature(self, step: int) -> float:
        """Temperature of the quantiser after `step` optimiser updates (section 5.2)."""
        c = self.config
        return c.gumbel_start + min(step / c.gumbel_updates, 1) * (c.gumbel_end - c.gumbel_start)

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """z, section 2.1, before it is quantised.

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

    def quantize(self, frames: Frames, *, temperature: float = 1.0, noise: Tensor | None = None) -> QuantizedFrames:
        """z^, section 3.

        Args:
            frames: z, as `features` gives them.
            temperature: of the Gumbel softmax that carries the gradient.
            noise: of the Gumbel quantiser; None: the likeliest code, without gradient to the logits.
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
        """The units of every frame, one for each group: indices from 0 to V - 1, -1 in padding.

        Args:
            waveform: raw amplitude.
            lengths: real samples.

        Raises:
            ValueError: for an utterance shorter than one frame.
        """
        frames = self.features(waveform, lengths)
        units = self.quantize(frames).units
        real = valid(frames.lengths, units.shape[1])
        return Units(units.masked_fill(~real.unsqueeze(-1), -1), frames.lengths)

    def context(self, frames: Frames) -> list[Tensor]:
        """All layers: z^, then the output of every causal layer, the last one c.

        Args:
            frames: z^, as `quantize` gives them.

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
            mask: hide frames and channels of z^, by zeros.
            rng: for the mask.
            feature_gradient: factor on the gradient into the encoder; 0 keeps it frozen and saves its backward pass.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and feature_gradient != 0):
            frames = self.features(waveform, lengths)
        z = Frames(scale_gradient(frames.data, feature_gradient), frames.lengths)
        # No noise, and yet a gradient to the logits.
        noise = z.data.new_zeros(*z.data.shape[:2], self._num_logits) if torch.is_grad_enabled() else None
        units = self.quantize(z, temperature=self.config.gumbel_end, noise=noise).frames.data
        units = hide(units, *draw_hidden(mask, z.lengths, self.config.dim, rng))
        return self.context(Frames(units, z.lengths)), z.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Vectors of one layer: 0 is z^, None the last, c.

        Raises:
            ValueError: for a layer that the model does not have.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="the entries of the units")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    @property
    def _num_logits(self) -> int:
        return self.config.num_groups * self.config.num_codes

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """Distractors and, in training, noise for one batch, from `rng["negatives"]` and `rng["gumbel"]`.

        Distractors are drawn on the host, so that they are the same on every device.

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
        noise = None
        if self.training and c.quantizer == "gumbel":
            shape = (len(lengths), int(lengths.max()))
            noise = gumbel_noise(*shape, num_logits=self._num_logits, generator=rng["gumbel"]).to(device)
        return RandomDraws(negatives.to(device), noise)

    @torch.no_grad()
    def start_codebook(self, batches: Iterable[WaveformBatch], rng: Rng) -> None:
        """Let the units begin as clusters of z, with `start_sharpness`, before the first update.

        Each group looks at its own part of the channels, and at the others a third as much.

        Args:
            batches: some minutes of audio; at most 20,000 frames are used.
            rng: `rng["codebook"]` chooses frames and first centres.

        Raises:
            ValueError: there are fewer frames than codes.
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
        self.quantizer.codebook.mul_(some.std())  # as large as what they stand for
        self.quantizer.to(device)

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:
        """Pre-training loss of one micro-batch, summed over all pairs of a context and a target.

        Args:
            batch: waveforms of equal length, as a rule.
            step: optimiser update, for the temperature of the quantiser.
            rng: of this micro-batch.

        Raises:
            ValueError: the model was read without its predictors.
        """
        if not hasattr(self, "predictors"):
            raise ValueError(
                "this encoder has no predictors, which pre-training needs; it can be read out or fine-tuned"
            )
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        draws = self.draw(frame_lengths, rng, batch.waveform.device)
        return self.objective(batch, draws, temperature=self.gumbel_temperature(step))

    def objective(self, batch: WaveformBatch, draws: RandomDraws, *, temperature: float) -> LossSum:
        """The loss for given draws, section 2.1 with the terms of section 3.

        Terms, all on the scale of the sum: `contrastive`; `correct`, pairs whose target scored higher than all its
        distractors; `correct_1` to `correct_K`, the same share for each step; `penalty`, what the quantiser adds;
        `prob_perplexity` and `code_perplexity`, soft and hard use of the codebook; `equal_share`, the share of
        distractors with the units of their target; each but the first two times the count.

        Args:
            batch: waveforms.
            draws: see `draw`.
            temperature: of the Gumbel softmax.
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
