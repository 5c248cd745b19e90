"""wav2vec 2.0: identify the discrete units of masked frames.

Baevski, Zhou, Mohamed, Auli: wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations, NeurIPS
2020 (arXiv 2006.11477). XLS-R (Babu et al. 2021) is the same model trained on many languages.

Data flow: waveform -> front end (`features`) -> layer norm -> two branches. One is projected, masked and processed by
a Transformer (`context`); in the other, the masked frames are quantised and become the targets.

Departures from the paper, all outside the published sizes (`base`, `large`, `lv60k`, `xlsr_*`):
- `front` may be log-mel or MFCC features, or convolutions over log-mel windows, with which little data suffices;
- `conv_blocks` replaces the Transformer by convolutional blocks, whose structure says that speech is local;
- `targets` sets MFCC as the input of the quantiser instead of the features, and `start_codebook` initialises the units
  with clusters of these, so that from the first update units correspond to phones rather than to channel and loudness;
- `visible_weight` adds a loss for the units of visible frames. The paper's loss does not depend on these frames, and in
  small models the blocks then make them all similar (docs/results/former-tiny.md), so little is left to fine-tune. With
  `warp`, predicting a visible frame's unit is not copying, because the context's input differs from the quantiser's;
- `equal_distractors="keep"` gives a collapsed codebook chance loss instead of zero;
- `init="width"` and `position_norm` scale the blocks of narrow models to their width.
Everywhere: quantiser and output projections process masked frames only (same values, less computation), distractors are
compared with the target by their units, not by their vectors, and BASE has 12 heads like the released model (the paper
states 8).
"""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import nn

from sori.core.batch import WaveformBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Bool, Float, Frames, Int, Tensor, Units
from sori.models.protocols import LossSum
from sori.nn import context_blocks, fronts
from sori.nn.conv import ConvConfig, PositionalConv, scale_gradient
from sori.nn.conv_blocks import ConvBlocksConfig
from sori.nn.dropout import Dropout
from sori.nn.fronts import FrontConfig, windows_of
from sori.nn.layers import choose_layer
from sori.nn.lengths import mean_square, num_frames, valid
from sori.nn.losses import Contrast, EqualDistractors, contrastive, diversity, perplexity
from sori.nn.mask import MaskConfig, draw_hidden, equalise_counts, masked_positions, pick, span_mask
from sori.nn.negatives import within_utterance
from sori.nn.quantize import GumbelQuantizer, Quantized, gumbel_noise
from sori.nn.spectral import Cepstrum, CepstrumConfig


class Wav2Vec2Config(Config):
    """Settings of model and objective."""

    kind: Literal["wav2vec2"] = "wav2vec2"
    front: FrontConfig = ConvConfig()
    feature_gradient: float = 1.0
    """Factor on the gradient into the front end."""
    targets: CepstrumConfig | None = None
    """Input of the quantiser, with the same windows as the front end; None: the normalised features."""
    target_emphasis: tuple[tuple[float, float, float], ...] = ((1.0, 0.5, 0.25), (0.4, 1.0, 0.7))
    """For `start_codebook`: weights of coefficients, deltas and delta-deltas of `targets` in each codebook."""
    target_sharpness: float = 8.0
    """For `start_codebook`: factor on the logits. On speech, the most likely entry then has a probability of 0.86."""

    dim: int = Field(default=768, ge=1)
    """D, width of the blocks."""
    conv_blocks: ConvBlocksConfig | None = None
    """Convolutional blocks in place of the Transformer's: settings of attention and positions are then not used."""
    num_layers: int = Field(default=12, ge=0, le=1000)
    num_heads: int = Field(default=12, ge=1)
    ffn_dim: int = Field(default=3072, ge=1)
    pre_norm: bool = False
    """Whether to normalise before each part of a block (True) or after it (False)."""
    position_kernel: int = Field(default=128, ge=1)
    position_groups: int = Field(default=16, ge=1)
    position_norm: bool = False
    """Whether to normalise the sum of frames and positions also with `pre_norm` (always done without it)."""
    adapter_dim: int = Field(default=0, ge=0)
    """Width of a language adapter after each block (MMS); 0: none."""
    init: Literal["bert", "width"] = "bert"
    """Initialisation of the blocks: N(0, 0.02) as published, or scaled to the width."""

    dropout: float = Field(default=0.0, ge=0, le=1)
    attention_dropout: float = Field(default=0.0, ge=0, le=1)
    activation_dropout: float = Field(default=0.0, ge=0, le=1)
    input_dropout: float = Field(default=0.0, ge=0, le=1)
    """Dropout rate of the projected features, before masking."""
    target_dropout: float = Field(default=0.0, ge=0, le=1)
    """Dropout rate of the quantiser's input."""
    layerdrop: float = Field(default=0.0, ge=0, le=1)

    mask: MaskConfig = MaskConfig()

    num_groups: int = Field(default=2, ge=1)
    """G, number of codebooks."""
    num_codes: int = Field(default=320, ge=1)
    """V, number of entries of each."""
    code_dim: int = Field(default=256, ge=1)
    """d, width of the chosen entries of all codebooks together."""
    final_dim: int = Field(default=256, ge=1)
    """f, width of projected predictions and targets."""
    gumbel_start: float = Field(default=2.0, gt=0)
    """Temperature of the quantiser at update 0."""
    gumbel_end: float = Field(default=0.5, gt=0)
    gumbel_decay: float = 0.999995
    """Factor on the temperature at each update, down to `gumbel_end`."""

    num_negatives: int = Field(default=100, ge=1)
    """K, number of distractors."""
    temperature: float = Field(default=0.1, gt=0)
    """kappa, temperature of the cosine similarity."""
    equal_distractors: EqualDistractors = "drop"
    diversity_weight: float = 0.1
    visible_weight: float = 0.0
    """Weight of the loss of visible frames, see above. Paper: 0."""
    warp: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest change of the mel axis in the context's input only, a factor of 1 +- this for each utterance, as between
    speakers (Jaitly and Hinton 2013). Requires a log-mel or MFCC front end and `targets`."""
    feature_penalty: float = 0.0
    """Weight of the mean square of the raw features."""

    @model_validator(mode="after")
    def _consistent(self) -> "Wav2Vec2Config":
        windows, targets = windows_of(self.front), self.targets
        if self.feature_penalty and self.front.kind in ("log_mel", "cepstrum"):
            raise ValueError("feature_penalty has no effect on a front end without parameters; set it to 0")
        if self.warp and (windows is None or targets is None):
            raise ValueError("warp requires a front end of log-mel windows, and unwarped targets; set it to 0")
        if self.conv_blocks and (self.adapter_dim or self.layerdrop or self.position_norm or not self.pre_norm):
            raise ValueError("conv_blocks have pre_norm and no adapters, layerdrop or position_norm; change these")
        if targets is not None:
            if targets.windows != windows:
                raise ValueError("targets must have the same windows as the front end, so that their frames agree")
            if len(self.target_emphasis) != self.num_groups:
                raise ValueError(f"target_emphasis must have one row for each of {self.num_groups} codebooks")
        return self


class PredictionTargets(NamedTuple):
    """Frames whose units are predicted, with their distractors."""

    positions: Int[Tensor, "batch target"]
    """Indices of the frames."""
    negatives: Int[Tensor, "batch target negative"]
    """Distractors, as ranks among these frames of the same utterance."""
    noise: Float[Tensor, "batch target logit"] | None
    """Noise of the quantiser; None: its most likely entries are used."""


class RandomDraws(NamedTuple):
    """Random values of the objective, except dropout."""

    masked: Bool[Tensor, "batch frame"]
    hidden: PredictionTargets
    """The masked frames."""
    visible: PredictionTargets | None = None
    """Visible frames, with `visible_weight`."""
    warp: Float[Tensor, " batch"] | None = None
    """Factors on the mel axis of the context's input, with `warp`."""


class Wav2Vec2(nn.Module):
    """wav2vec 2.0, a `protocols.System` and a `protocols.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("quantizer", "project_codes", "project_context")
    """Parts used in pre-training only; a recogniser does not have them."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.front = fronts.build(config.front)
        feature_dim = self.front.dim
        self.targets = Cepstrum(config.targets) if config.targets else None
        self.feature_norm = nn.LayerNorm(feature_dim)
        self.projection = nn.Linear(feature_dim, config.dim)
        self.input_dropout = Dropout(config.input_dropout)
        self.mask_vector = nn.Parameter(torch.rand(config.dim))
        self.positions: nn.Module | None = None
        if config.conv_blocks is None:
            self.positions = PositionalConv(
                config.dim, kernel=config.position_kernel, num_groups=config.position_groups
            )
        self.transformer = context_blocks.build(config)
        self.position_norm = nn.LayerNorm(config.dim) if config.position_norm else nn.Identity()
        self.target_dropout = Dropout(config.target_dropout)
        self.quantizer = GumbelQuantizer(
            self.targets.dim if self.targets else feature_dim,
            num_groups=config.num_groups,
            num_codes=config.num_codes,
            code_dim=config.code_dim,
        )
        self.project_codes = nn.Linear(config.code_dim, config.final_dim)
        self.project_context = nn.Linear(config.dim, config.final_dim)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.front.hop_samples

    @property
    def field_samples(self) -> int:
        """Receptive field of one frame of the front end in samples; the shortest input."""
        return self.front.field_samples

    @property
    def uses_every_parameter(self) -> bool:
        """Whether every micro-batch gives every parameter a gradient; LayerDrop leaves some out."""
        return self.config.layerdrop == 0

    @property
    def chance_nats(self) -> float:
        """Contrastive loss at chance level among the target and its distractors."""
        return math.log(1 + self.config.num_negatives)

    @property
    def max_code_perplexity(self) -> float:
        """Codebook perplexity with all entries of all codebooks in equal use."""
        return float(self.config.num_groups * self.config.num_codes)

    def gumbel_temperature(self, step: int) -> float:
        """Return the temperature of the quantiser after `step` optimiser updates."""
        c = self.config
        return max(c.gumbel_start * c.gumbel_decay**step, c.gumbel_end)

    def features(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        warp: Float[Tensor, " batch"] | None = None,
        bands: Bool[Tensor, "batch mel"] | None = None,
    ) -> Frames:
        """Return the output of the front end, before the normalisation common to context and quantiser.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.
            warp: factor on the mel axis of each utterance, for a front end of log-mel windows.
            bands: True for mel bands to hide, for a front end with convolutions over them.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        changes = {name: x for name, x in (("warp", warp), ("bands", bands)) if x is not None}
        return self.front(waveform, lengths, **changes)  # type: ignore[no-any-return]

    def context(
        self,
        frames: Frames,
        *,
        masked: Bool[Tensor, "batch frame"] | None = None,
        channels: Bool[Tensor, "batch dim"] | None = None,
        rng: Rng | None = None,
    ) -> list[Tensor]:
        """Return all layers of the Transformer.

        Args:
            frames: output of `features`.
            masked: True for frames to replace by the mask vector.
            channels: True for channels to set to 0 after the projection.
            rng: generators, required in training with layerdrop.

        Returns:
            "batch frame dim" each: the input of the first block, then the output of every block, the last normalised.
        """
        return self._context(self.feature_norm(frames.data), frames.lengths, masked=masked, channels=channels, rng=rng)

    def _context(
        self,
        normed: Float[Tensor, "batch frame feature"],
        lengths: Int[Tensor, " batch"],
        *,
        masked: Bool[Tensor, "batch frame"] | None,
        channels: Bool[Tensor, "batch dim"] | None,
        rng: Rng | None,
    ) -> list[Tensor]:
        x = self.input_dropout(self.projection(normed)).float()  # the residual stream stays float32
        if masked is not None:
            x = torch.where(masked.unsqueeze(-1), self.mask_vector, x)
        if channels is not None:
            x = x.masked_fill(channels.unsqueeze(1), 0)
        real = None
        if int(lengths.min()) < x.shape[1]:
            real = valid(lengths, x.shape[1])
            x = x.masked_fill(~real.unsqueeze(-1), 0)
        # Skipped blocks are chosen on the host, which calls the blocks.
        return self.blocks(x, real, generator=None if rng is None else Rng(*rng.key)["layerdrop"])

    def blocks(
        self,
        x: Float[Tensor, "batch frame dim"],
        real: Bool[Tensor, "batch frame"] | None,
        *,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Add positions to the projected frames and return all layers, as in `context`; padding must be zero."""
        if self.positions is not None:
            x = self.position_norm(x + self.positions(x))
        return self.transformer(x, real, generator=generator)  # type: ignore[no-any-return]

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
            mask: masking of frames and channels for fine-tuning (section 3.1 and appendix B of the paper). Unlike in
                pre-training, utterances may have different numbers of masked frames.
            rng: generators for the mask and for layerdrop.
            feature_gradient: factor on the gradient into the front end; 0 keeps it frozen and saves its backward pass.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and feature_gradient != 0):
            warp, bands = fronts.draw_mel_changes(self.config.front, mask, lengths, rng)
            frames = self.features(waveform, lengths, warp=warp, bands=bands)
        frames = Frames(scale_gradient(frames.data, feature_gradient), frames.lengths)
        masked, channels = draw_hidden(mask, frames.lengths, self.config.dim, rng)
        return self.context(frames, masked=masked, channels=channels, rng=rng), frames.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer: 0 is the input of the first block, None the output of the last.

        Raises:
            ValueError: if the model has no such layer.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="input of the first block")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def units(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Units:
        """Return the quantiser's most likely unit of every frame, one entry for each group; -1 in padding.

        Raises:
            ValueError: if the model was loaded without its quantiser, or an utterance is shorter than one frame.
        """
        self._require_quantizer()
        front = self.targets or self.front
        frames = front(waveform, lengths)
        x = frames.data if self.targets else self.feature_norm(frames.data)
        units = self.quantizer(x).units
        return Units(units.masked_fill(~valid(frames.lengths, units.shape[1])[..., None], -1), frames.lengths)

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """Draw mask, distractors and noise for one batch from `rng["mask"]`, `["negatives"]` and `["gumbel"]`.

        Mask, distractors and warp are drawn on the host, so that they are the same on every device.

        Args:
            lengths: number of real frames of each utterance.
            rng: generators of this micro-batch.
            device: device of the result.
        """
        c, host = self.config, Rng(*rng.key)
        masked = span_mask(
            lengths.cpu(),
            prob=c.mask.time_prob,
            span=c.mask.time_length,
            min_spans=2,
            equal_counts=True,
            generator=host["mask"],
        )
        hidden = self._draw_targets(masked, rng, device)
        visible = warp = None
        if c.visible_weight:
            rest = valid(lengths.cpu(), masked.shape[1]) & ~masked
            visible = self._draw_targets(equalise_counts(rest, generator=host["visible"]), rng, device, part="visible_")
        if c.warp and self.training:
            warp = 1 + c.warp * (2 * torch.rand(len(lengths), generator=host["warp"]) - 1).to(device)
        return RandomDraws(masked.to(device), hidden, visible, warp)

    def _draw_targets(self, chosen: Tensor, rng: Rng, device: torch.device, *, part: str = "") -> PredictionTargets:
        c, host = self.config, Rng(*rng.key)
        positions = masked_positions(chosen)
        negatives = within_utterance(
            *positions.shape, num_negatives=c.num_negatives, generator=host[f"{part}negatives"]
        )
        noise = None
        if self.training:
            logits = c.num_groups * c.num_codes
            noise = gumbel_noise(*positions.shape, num_logits=logits, generator=rng[f"{part}gumbel"]).to(device)
        return PredictionTargets(positions.to(device), negatives.to(device), noise)

    @torch.no_grad()
    def start_codebook(self, batches: Iterable[WaveformBatch], rng: Rng) -> None:
        """Initialise the units with clusters of `targets`; call this before the first update.

        Args:
            batches: some minutes of audio; at most 20,000 frames are used.
            rng: generators; `rng["codebook"]` chooses frames and initial centres.

        Raises:
            ValueError: if the model has no `targets`, or there are fewer frames than entries.
        """
        if self.targets is None:
            raise ValueError("start_codebook requires a model with `targets`; set system.targets")
        generator = Rng(*rng.key)["codebook"]
        targets = (self.targets(batch.waveform, batch.lengths) for batch in batches)
        every = torch.cat([x.data[valid(x.lengths, x.data.shape[1])].cpu() for x in targets])
        some = every[torch.randperm(len(every), generator=generator)[:20_000]]
        emphasis = self.targets.by_kind(torch.tensor(self.config.target_emphasis))
        sharpness = self.config.target_sharpness
        self.quantizer.cpu().start(some, emphasis, sharpness=sharpness, generator=generator)
        self.quantizer.to(self.mask_vector.device)
        nn.init.zeros_(self.project_codes.bias)

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the pre-training loss of one micro-batch, summed over its masked frames.

        Args:
            batch: waveforms, usually of equal length.
            step: optimiser update, for the temperature of the quantiser.
            rng: generators of this micro-batch.

        Raises:
            ValueError: if the model was loaded without its quantiser.
        """
        self._require_quantizer()
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        draws = self.draw(frame_lengths, rng, batch.waveform.device)
        return self.objective(batch, draws, temperature=self.gumbel_temperature(step), rng=rng)

    def _require_quantizer(self) -> None:
        if not hasattr(self, "quantizer"):
            raise ValueError(
                "this encoder has no quantiser, which pre-training requires; extract features or fine-tune it"
            )

    def objective(
        self, batch: WaveformBatch, draws: RandomDraws, *, temperature: float, rng: Rng | None = None
    ) -> LossSum:
        """Return the loss for given draws: contrastive, diversity and feature penalty (section 3.2 of the paper).

        Terms, all on the scale of the sum: `contrastive`; `correct`, frames whose target was identified; `diversity`,
        `feature_penalty`, `prob_perplexity`, `code_perplexity` (soft and hard use of the codebook), `masked_share`
        (fraction of masked frames), `visible` (contrastive loss of a visible frame), each times the count;
        `equal_share`, summed fraction of distractors with the same unit as the target.

        Args:
            batch: waveforms.
            draws: see `draw`.
            temperature: temperature of the quantiser.
            rng: generators, required in training with layerdrop.
        """
        c = self.config
        raw = self.features(batch.waveform, batch.lengths, warp=draws.warp)
        x = self.feature_norm(scale_gradient(raw.data, c.feature_gradient))
        top = self._context(x, raw.lengths, masked=draws.masked, channels=None, rng=rng)[-1]
        seen = x if self.targets is None else self.targets(batch.waveform, batch.lengths).data

        quantized, contrast = self._contrast(top, seen, draws.hidden, temperature)
        count = torch.tensor(draws.hidden.positions.numel(), device=batch.waveform.device)
        unused = diversity(quantized.probs)
        total = contrast.loss + count * c.diversity_weight * unused
        terms = {
            "contrastive": contrast.loss,
            "correct": contrast.num_correct,
            "diversity": count * unused,
            "prob_perplexity": count * perplexity(quantized.probs),
            "code_perplexity": count * perplexity(quantized.hard_probs),
            "equal_share": contrast.equal_fraction,
            "masked_share": count * count / raw.lengths.sum(),
        }
        if draws.visible is not None:
            loss = self._contrast(top, seen, draws.visible, temperature)[1].loss
            total = total + c.visible_weight * loss
            terms["visible"] = count * loss / draws.visible.positions.numel()
        if c.feature_penalty:
            penalty = mean_square(*raw)
            total = total + count * c.feature_penalty * penalty
            terms["feature_penalty"] = count * penalty
        return LossSum(total, count, {name: term.detach().float() for name, term in terms.items()})

    def _contrast(
        self, top: Tensor, seen: Tensor, chosen: PredictionTargets, temperature: float
    ) -> tuple[Quantized, Contrast]:
        """Quantise the chosen frames, and compute the contrastive loss of the context for them."""
        c = self.config
        quantized = self.quantizer(
            self.target_dropout(pick(seen, chosen.positions)), temperature=temperature, noise=chosen.noise
        )
        return quantized, contrastive(
            self.project_context(pick(top, chosen.positions)),
            self.project_codes(quantized.vectors),
            chosen.negatives,
            quantized.units,
            temperature=c.temperature,
            equal=c.equal_distractors,
        )
