"""wav2vec 2.0: predict which of its own discrete units is hidden behind a mask.

Baevski, Zhou, Mohamed, Auli: wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations, NeurIPS
2020 (arXiv 2006.11477). XLS-R (Babu et al. 2021) is the same system over many languages.

The way of the sound: waveform -> front end (`features`) -> layer norm -> two branches. One is projected, masked and
sent through a Transformer (`context`); the other is quantised, only where the mask hides it, and gives the targets.

Departures from the paper, all outside the published sizes (`base`, `large`, `lv60k`, `xlsr_*`):
- `front` may be a spectrum, on which little data suffices to learn from;
- `targets` may feed the quantiser with cepstra instead of the features, and `start_codebook` lets the codes begin as
  clusters of these: then the codes are sounds, rather than channels and loudness, from the first update;
- `visible_weight` asks for the codes of visible frames too. The paper's loss never looks at them, and in a small model
  the blocks then make them all alike (`docs/results.md`): little is left to fine-tune. With `warp`, finding the code of
  a visible frame is no copying, for the voice that is heard is not the voice that was quantised;
- `equal_distractors="keep"` makes a collapsed codebook score chance instead of zero;
- `init="width"` and `position_norm` scale the blocks of narrow models to their width.
Everywhere: quantiser and output projections see hidden frames only (same values, less work), a distractor counts as
equal to the target by its code and not by comparing vectors, and BASE has 12 heads like the released model (the paper
prints 8).
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
from sori.core.shapes import Bool, Float, Frames, Int, Tensor, Units
from sori.models.protocols import LossSum
from sori.nn.conv import ConvConfig, PositionalConv, WaveformConv, scale_gradient
from sori.nn.dropout import Dropout
from sori.nn.layers import choose_layer
from sori.nn.lengths import mean_square, num_frames, valid
from sori.nn.losses import (
    Contrast,
    EqualDistractors,
    contrastive,
    diversity,
    perplexity,
)
from sori.nn.mask import MaskConfig, draw_hidden, equalise_counts, masked_positions, pick, span_mask
from sori.nn.negatives import within_utterance
from sori.nn.quantize import GumbelQuantizer, Quantized, gumbel_noise
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMel, LogMelConfig
from sori.nn.transformer import Transformer, add_adapters, scale_init


class Wav2Vec2Config(Config):
    """Everything that decides what the model computes and is scored by."""

    kind: Literal["wav2vec2"] = "wav2vec2"
    front: Annotated[ConvConfig | LogMelConfig | CepstrumConfig, Field(discriminator="kind")] = ConvConfig()
    feature_gradient: float = 1.0
    """Factor on the gradient that flows into the front end."""
    targets: CepstrumConfig | None = None
    """What the quantiser sees, of the same windows as the front end; None: the normalised features."""
    target_emphasis: tuple[tuple[float, float, float], ...] = ((1.0, 0.5, 0.25), (0.4, 1.0, 0.7))
    """For the codebooks' start: how much coefficients, slopes and curvatures of `targets` matter to each codebook."""
    target_sharpness: float = 8.0
    """For the codebooks' start: factor on the logits. On speech, the likeliest code then has a probability of 0.86."""

    dim: int = 768
    """D, of the Transformer."""
    num_layers: int = 12
    num_heads: int = 12
    ffn_dim: int = 3072
    pre_norm: bool = False
    """Normalise before each part of a block (True) or after it (False)."""
    position_kernel: int = 128
    position_groups: int = 16
    position_norm: bool = False
    """Normalise the sum of frames and positions also with `pre_norm` (without it, that is done in any case)."""
    adapter_dim: int = 0
    """Width of a language adapter after each block (MMS); 0: none."""
    init: Literal["bert", "width"] = "bert"
    """Weights of the blocks: N(0, 0.02) as published, or scaled to the width."""

    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    input_dropout: float = 0.0
    """Of the projected features, before they are masked."""
    target_dropout: float = 0.0
    """Of what the quantiser sees."""
    layerdrop: float = 0.0

    mask: MaskConfig = MaskConfig()

    num_groups: int = 2
    """G, codebooks."""
    num_codes: int = 320
    """V, entries of each."""
    code_dim: int = 256
    """d, of the chosen entries of all codebooks together."""
    final_dim: int = 256
    """f, where predictions and targets are compared."""
    gumbel_start: float = 2.0
    """Temperature of the quantiser at update 0."""
    gumbel_end: float = 0.5
    gumbel_decay: float = 0.999995
    """Factor on the temperature at each update, down to `gumbel_end`."""

    num_negatives: int = 100
    """K."""
    temperature: float = 0.1
    """kappa, of the cosine."""
    equal_distractors: EqualDistractors = "drop"
    diversity_weight: float = 0.1
    visible_weight: float = 0.0
    """Weight of a frame that is not hidden, whose code is to be found as well; see above. Paper: 0."""
    warp: float = Field(default=0.0, ge=0, lt=0.5)
    """The context hears each utterance with its mel axis stretched by a factor of up to 1 +- this, the quantiser does
    not: voices differ so (Jaitly and Hinton 2013). Needs a spectrum with `targets`."""
    feature_penalty: float = 0.0
    """Weight of the mean square of the raw features."""

    @model_validator(mode="after")
    def _consistent(self) -> "Wav2Vec2Config":
        front, targets = self.front, self.targets
        if self.feature_penalty and front.kind != "conv":
            raise ValueError("feature_penalty has no effect on a spectrum, which is not learned; set it to 0")
        if self.warp and (front.kind == "conv" or targets is None):
            raise ValueError("warp needs a spectrum to stretch and targets that are not stretched with it; set it to 0")
        if targets is not None:
            if front.kind == "conv" or targets.windows != (front if front.kind == "log_mel" else front.windows):
                raise ValueError("targets need the windows of the front end, or their frames would not be the same")
            if len(self.target_emphasis) != self.num_groups:
                raise ValueError(f"target_emphasis needs one row for each of {self.num_groups} codebooks")
        return self


class PredictionTargets(NamedTuple):
    """Frames whose codes are to be told from those of others."""

    positions: Int[Tensor, "batch guessed"]
    """Indices of the frames."""
    negatives: Int[Tensor, "batch guessed negative"]
    """Distractors, as ranks among these frames of the same utterance."""
    noise: Float[Tensor, "batch guessed logit"] | None
    """Of the quantiser; None: its likeliest choice."""


class RandomDraws(NamedTuple):
    """All that is random in the objective, but for dropout."""

    masked: Bool[Tensor, "batch frame"]
    hidden: PredictionTargets
    """The masked frames."""
    visible: PredictionTargets | None = None
    """The others, where `visible_weight` asks for them."""
    warp: Float[Tensor, " batch"] | None = None
    """Factor on the frequencies that the context hears, where `warp` asks for one."""


class Wav2Vec2(nn.Module):
    """The system: a `contracts.System` and a `contracts.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("quantizer", "project_codes", "project_context")
    """Parts that only pre-training needs: neither stored nor counted in a recogniser."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        match config.front:
            case ConvConfig() as front:
                self.front: WaveformConv | LogMel | Cepstrum = WaveformConv(front)
            case LogMelConfig() as front:
                self.front = LogMel(front)
            case CepstrumConfig() as front:
                self.front = Cepstrum(front)
        feature_dim = self.front.dim
        self.targets = Cepstrum(config.targets) if config.targets else None
        self.feature_norm = nn.LayerNorm(feature_dim)
        self.projection = nn.Linear(feature_dim, config.dim)
        self.input_dropout = Dropout(config.input_dropout)
        self.mask_vector = nn.Parameter(torch.rand(config.dim))
        self.positions = PositionalConv(config.dim, kernel=config.position_kernel, num_groups=config.position_groups)
        self.transformer = Transformer(
            config.dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            ffn_dim=config.ffn_dim,
            pre_norm=config.pre_norm,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            layerdrop=config.layerdrop,
        )
        if config.adapter_dim:
            add_adapters(self.transformer, inner_dim=config.adapter_dim)
        self.position_norm = nn.LayerNorm(config.dim) if config.position_norm else nn.Identity()
        if config.init == "width":
            scale_init(self.transformer)
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
        """Samples that one frame of the front end sees; the shortest input."""
        return self.front.field_samples

    @property
    def chance_nats(self) -> float:
        """Contrastive loss of a guess among the target and its distractors."""
        return math.log(1 + self.config.num_negatives)

    @property
    def max_code_perplexity(self) -> float:
        """Code perplexity with all entries of all codebooks in equal use."""
        return float(self.config.num_groups * self.config.num_codes)

    def gumbel_temperature(self, step: int) -> float:
        """Temperature of the quantiser after `step` optimiser updates."""
        c = self.config
        return max(c.gumbel_start * c.gumbel_decay**step, c.gumbel_end)

    def features(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        warp: Float[Tensor, " batch"] | None = None,
    ) -> Frames:
        """What the front end makes of the waveform, before the normalisation that context and quantiser share.

        Args:
            waveform: raw amplitude.
            lengths: real samples.
            warp: factor on the frequencies of each utterance, for a front end that is a spectrum.

        Raises:
            ValueError: for an utterance shorter than one frame.
        """
        if warp is None:
            return self.front(waveform, lengths)  # type: ignore[no-any-return]
        return self.front(waveform, lengths, warp=warp)  # type: ignore[no-any-return]

    def context(
        self,
        frames: Frames,
        *,
        masked: Bool[Tensor, "batch frame"] | None = None,
        channels: Bool[Tensor, "batch dim"] | None = None,
        rng: Rng | None = None,
    ) -> list[Tensor]:
        """All layers of the Transformer.

        Args:
            frames: as `features` gives them.
            masked: frames to be replaced by the mask vector.
            channels: channels to be set to 0 after the projection.
            rng: needed in training with layerdrop.

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
        x = self.input_dropout(self.projection(normed)).float()  # what the blocks add up stays float32
        if masked is not None:
            x = torch.where(masked.unsqueeze(-1), self.mask_vector, x)
        if channels is not None:
            x = x.masked_fill(channels.unsqueeze(1), 0)
        real = None
        if int(lengths.min()) < x.shape[1]:
            real = valid(lengths, x.shape[1])
            x = x.masked_fill(~real.unsqueeze(-1), 0)
        x = self.position_norm(x + self.positions(x))
        # Which blocks are skipped is decided on the host, where the blocks are called.
        generator = None if rng is None else Rng(*rng.key)["layerdrop"]
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
        """From waveform to all layers: for fine-tuning and for reading out.

        Args:
            waveform: raw amplitude.
            lengths: real samples.
            mask: hide frames and channels as fine-tuning does (section 3.1 and appendix B of the paper). Unlike in
                pre-training, utterances may hide different numbers of frames.
            rng: for the mask and for layerdrop.
            feature_gradient: factor on the gradient into the front end; 0 keeps it frozen and saves its backward pass.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and feature_gradient != 0):
            frames = self.features(waveform, lengths)
        frames = Frames(scale_gradient(frames.data, feature_gradient), frames.lengths)
        masked, channels = draw_hidden(mask, frames.lengths, self.config.dim, rng)
        return self.context(frames, masked=masked, channels=channels, rng=rng), frames.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Vectors of one layer: 0 is the input of the first block, None the output of the last.

        Raises:
            ValueError: for a layer that the model does not have.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="input of the first block")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def units(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Units:
        """The quantiser's likeliest code of every frame, one for each group; -1 in padding.

        Raises:
            ValueError: the model was read without its quantiser, or an utterance is shorter than one frame.
        """
        self._needs_quantizer()
        front = self.targets or self.front
        frames = front(waveform, lengths)
        x = frames.data if self.targets else self.feature_norm(frames.data)
        units = self.quantizer(x).units
        return Units(units.masked_fill(~valid(frames.lengths, units.shape[1])[..., None], -1), frames.lengths)

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """Mask, distractors and noise for one batch, from `rng["mask"]`, `["negatives"]` and `["gumbel"]`.

        Mask, distractors and warp are drawn on the host, so that they are the same on every device.

        Args:
            lengths: real frames of each utterance.
            rng: of this micro-batch.
            device: where the draws are needed.
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
        hidden = self._guess(masked, rng, device)
        visible = warp = None
        if c.visible_weight:
            rest = valid(lengths.cpu(), masked.shape[1]) & ~masked
            visible = self._guess(equalise_counts(rest, generator=host["visible"]), rng, device, part="visible_")
        if c.warp and self.training:
            warp = 1 + c.warp * (2 * torch.rand(len(lengths), generator=host["warp"]) - 1).to(device)
        return RandomDraws(masked.to(device), hidden, visible, warp)

    def _guess(self, chosen: Tensor, rng: Rng, device: torch.device, *, part: str = "") -> PredictionTargets:
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
        """Let the codes begin as clusters of the targets; for models with `targets`, before the first update.

        Args:
            batches: some minutes of audio; at most 20,000 frames are used.
            rng: `rng["codebook"]` chooses frames and first centres.

        Raises:
            ValueError: the model has no targets of its own, or there are fewer frames than codes.
        """
        if self.targets is None:
            raise ValueError("only a model with targets of its own can start from clusters of them")
        frames, generator = [], Rng(*rng.key)["codebook"]
        for batch in batches:
            targets = self.targets(batch.waveform, batch.lengths)
            frames.append(targets.data[valid(targets.lengths, targets.data.shape[1])].cpu())
        every = torch.cat(frames)
        some = every[torch.randperm(len(every), generator=generator)[:20_000]]
        emphasis = self.targets.by_kind(torch.tensor(self.config.target_emphasis))
        sharpness = self.config.target_sharpness
        self.quantizer.cpu().start(some, emphasis, sharpness=sharpness, generator=generator)
        self.quantizer.to(self.mask_vector.device)
        nn.init.zeros_(self.project_codes.bias)

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:
        """Pre-training loss of one micro-batch, summed over its hidden frames.

        Args:
            batch: waveforms of equal length, as a rule.
            step: optimiser update, for the temperature of the quantiser.
            rng: of this micro-batch.

        Raises:
            ValueError: the model was read without its quantiser.
        """
        self._needs_quantizer()
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        draws = self.draw(frame_lengths, rng, batch.waveform.device)
        return self.objective(batch, draws, temperature=self.gumbel_temperature(step), rng=rng)

    def _needs_quantizer(self) -> None:
        if not hasattr(self, "quantizer"):
            raise ValueError(
                "this encoder has no quantiser, which pre-training needs; it can be read out or fine-tuned"
            )

    def objective(
        self, batch: WaveformBatch, draws: RandomDraws, *, temperature: float, rng: Rng | None = None
    ) -> LossSum:
        """The loss for given draws: contrastive + weighted diversity and feature penalty (section 3.2 of the paper).

        Terms, all on the scale of the sum: `contrastive`; `correct`, frames whose target was found; `diversity`,
        `feature_penalty`, `prob_perplexity`, `code_perplexity` (soft and hard use of the codebook), `masked_share`,
        `visible` (contrastive loss of a visible frame), each times the count; `equal_share`, summed share of
        distractors that are the target itself.

        Args:
            batch: waveforms.
            draws: see `draw`.
            temperature: of the quantiser.
            rng: needed in training with layerdrop.
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
        self, top: Tensor, seen: Tensor, guessed: PredictionTargets, temperature: float
    ) -> tuple[Quantized, Contrast]:
        """The codes of some frames, and how well the context tells each from its distractors."""
        c = self.config
        quantized = self.quantizer(
            self.target_dropout(pick(seen, guessed.positions)), temperature=temperature, noise=guessed.noise
        )
        return quantized, contrastive(
            self.project_context(pick(top, guessed.positions)),
            self.project_codes(quantized.vectors),
            guessed.negatives,
            quantized.units,
            temperature=c.temperature,
            equal=c.equal_distractors,
        )
