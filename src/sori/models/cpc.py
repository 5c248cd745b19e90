"""CPC: predict future frames from the past.

Van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018 (arXiv 1807.03748), section
3.1 (speech). The modified form is that of Riviere, Joulin, Mazare, Dupoux: Unsupervised Pretraining Transfers Well
Across Languages, ICASSP 2020 (arXiv 2002.02848), with its code, CPC_audio.

Data flow: waveform -> front end (`features`, z) -> causal GRU or LSTM (`context`, c) -> one predictor for each of the
next frames, whose output is scored against the true frame and distractors.

Differences between paper and code, and the choice of the recipes:
- normalisation after each convolution: the paper names none; the code reproduces the paper with batch normalisation
  (`cpc_paper`) and improves on it with one over the channels of each frame (`cpc_modified`);
- logits: the paper's z' W c is a sum over dimensions, the code takes the mean, which differs by a factor on W: always
  the mean here, with the code's initial weights for W;
- padding, (3, 2, 1, 1, 1), and the times of the distractors are specified in the code only, which is followed;
- the code sums the loss of the twelve steps; here it is divided by the number of targets, counting all steps, a factor
  to which Adam is invariant;
- predictors: linear in the paper (`cpc_paper`), one Transformer block each in the code (`cpc_modified`);
- batches of one speaker, the code's default and a row of the paper's table 2, are optional (`data.one_speaker`);
  `negatives: own` has a similar effect. The recurrent state starts from zeros with every utterance (the code can keep
  it from window to window), and time is not reversed (an option of the code).
"""

import math
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from sori.core.batch import WaveformBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Bool, Float, Frames, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn.conv import scale_gradient
from sori.nn.dropout import Dropout
from sori.nn.layers import choose_layer
from sori.nn.losses import StepContrast, info_nce
from sori.nn.mask import MaskConfig, draw_hidden
from sori.nn.mel_network import MelNetwork, MelNetworkConfig
from sori.nn.negatives import Source, at_other_times
from sori.nn.padded_conv import PaddedConv, PaddedConvConfig
from sori.nn.recurrent import Recurrent


class LinearPredictorConfig(Config):
    """One matrix for each step (section 3.1 of the paper)."""

    kind: Literal["linear"] = "linear"


class BlockPredictorConfig(Config):
    """One causal Transformer block for each step (Riviere et al. 2020, section 2.2)."""

    kind: Literal["block"] = "block"
    num_heads: int = Field(default=8, ge=1)
    ffn_dim: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.1, ge=0, le=1)
    max_positions: int = Field(default=116, ge=1)
    """Number of learnt relative positions: the maximum number of frames of a crop before those to predict."""


class CpcConfig(Config):
    """Settings of model and objective."""

    kind: Literal["cpc"] = "cpc"
    front: Annotated[PaddedConvConfig | MelNetworkConfig, Field(discriminator="kind")] = PaddedConvConfig()
    recurrent: Literal["gru", "lstm"] = "lstm"
    """The paper has a GRU, the code an LSTM. CPC_audio: arMode."""
    dim: int = Field(default=256, ge=1)
    """Width of the context c. CPC_audio: hiddenGar."""
    num_layers: int = Field(default=1, ge=1, le=1000)
    """Number of recurrent layers. CPC_audio: nLevelsGRU."""
    predictor: Annotated[LinearPredictorConfig | BlockPredictorConfig, Field(discriminator="kind")] = (
        LinearPredictorConfig()
    )
    num_steps: int = Field(default=12, ge=1)
    """K, number of future frames that are predicted from each position. CPC_audio: nPredicts."""
    num_negatives: int = Field(default=128, ge=1)
    """Number of distractors of each position, the same for its K frames. CPC_audio: negativeSamplingExt."""
    negatives: Source = "batch"
    """Utterances that distractors come from (paper, table 2, phone accuracy): the whole `batch` (64.6 %), all `others`
    in it (57.3 %), or the `own` one only (65.2 %), so that the speaker does not identify the target."""

    @model_validator(mode="after")
    def _consistent(self) -> "CpcConfig":
        if self.predictor.kind == "block" and self.front.dim != self.dim:
            raise ValueError(
                f"block predictors require front.dim equal to dim, got front.dim {self.front.dim} and dim {self.dim}; "
                "make them equal, or set `kind: linear`"
            )
        return self


class RandomDraws(NamedTuple):
    """Random values of the objective, except dropout."""

    negatives: Int[Tensor, "batch position negative"]
    """See `negatives.at_other_times`."""


class Cpc(nn.Module):
    """CPC, a `protocols.System` and a `protocols.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("predictors",)
    """Parts used in pre-training only; a recogniser does not have them."""

    uses_every_parameter: ClassVar[bool] = True
    """Every micro-batch gives every parameter a gradient."""

    def __init__(self, config: CpcConfig) -> None:
        super().__init__()
        self.config = config
        match config.front:
            case PaddedConvConfig() as front:
                self.front: PaddedConv | MelNetwork = PaddedConv(front)
            case MelNetworkConfig() as front:
                self.front = MelNetwork(front)
        self.recurrent = Recurrent(self.front.dim, config.dim, kind=config.recurrent, num_layers=config.num_layers)
        match config.predictor:
            case LinearPredictorConfig():
                self.predictors: nn.Module = LinearPredictors(config.dim, self.front.dim, num_steps=config.num_steps)
            case BlockPredictorConfig() as predictor:
                self.predictors = BlockPredictors(config.dim, predictor, num_steps=config.num_steps)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.front.hop_samples

    @property
    def field_samples(self) -> int:
        """Shortest input, which gives one frame."""
        return self.front.field_samples

    @property
    def chance_nats(self) -> float:
        """Loss at chance level among the target and its distractors, for each of the steps."""
        return math.log(1 + self.config.num_negatives)

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return z, the output of the front end, where each frame depends on its receptive field only.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        return self.front(waveform, lengths)  # type: ignore[no-any-return]

    def context(
        self,
        frames: Frames,
        *,
        masked: Bool[Tensor, "batch frame"] | None = None,
        channels: Bool[Tensor, "batch dim"] | None = None,
    ) -> list[Tensor]:
        """Return all layers: z, then the output of each recurrent layer, the last one c; all are causal.

        Args:
            frames: output of `features`.
            masked: True for frames to set to 0.
            channels: True for channels of z to set to 0.

        Returns:
            "batch frame dim" each; the first has the width of the front end.
        """
        z = frames.data
        if masked is not None:
            z = z.masked_fill(masked.unsqueeze(-1), 0)
        if channels is not None:
            z = z.masked_fill(channels.unsqueeze(1), 0)
        return [z, *self.recurrent(z, frames.lengths)]

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
            mask: masking of frames and channels of z by zeros (there is no learnt mask vector).
            rng: generators for the mask.
            feature_gradient: factor on the gradient into the front end; 0 keeps it frozen and saves its backward pass.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and feature_gradient != 0):
            frames = self.features(waveform, lengths)
        frames = Frames(scale_gradient(frames.data, feature_gradient), frames.lengths)
        masked, channels = draw_hidden(mask, frames.lengths, self.front.dim, rng)
        return self.context(frames, masked=masked, channels=channels), frames.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer: 0 is z, None the last, c.

        Raises:
            ValueError: if the model has no such layer.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="the front end")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def draw(self, batch_size: int, num_frames: int, rng: Rng, device: torch.device) -> RandomDraws:
        """Draw the distractors of one batch from `rng["negatives"]`, on the host: the same on every device.

        Args:
            batch_size: number of utterances.
            num_frames: number of frames of each.
            rng: generators of this micro-batch.
            device: device of the result.

        Raises:
            ValueError: if there is no frame to predict, or none to draw from.
        """
        c = self.config
        if num_frames <= c.num_steps:
            raise ValueError(
                f"{c.num_steps} frames are to be predicted, but the crops have only {num_frames}, so none is left to "
                "predict from; raise data.min_seconds and data.max_crop_seconds"
            )
        negatives = at_other_times(
            batch_size,
            num_frames,
            num_positions=num_frames - c.num_steps,
            num_negatives=c.num_negatives,
            source=c.negatives,
            generator=Rng(*rng.key)["negatives"],
        )
        return RandomDraws(negatives.to(device))

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the pre-training loss of one micro-batch, summed over positions and steps.

        Args:
            batch: waveforms of equal length.
            step: optimiser update; not used.
            rng: generators of this micro-batch.

        Raises:
            ValueError: if the waveforms differ in length, or the model was loaded without its predictors.
        """
        del step
        if not hasattr(self, "predictors"):
            raise ValueError(
                "this encoder has no predictors, which pre-training requires; extract features or fine-tune it"
            )
        shortest, longest = int(batch.lengths.min()), batch.waveform.shape[1]
        if shortest != longest:
            raise ValueError(
                f"CPC requires crops of equal length in pre-training, got {shortest} to {longest} samples in one "
                "batch; use the crops of the pre-training data (data.max_crop_seconds)"
            )
        num_frames = (longest - self.field_samples) // self.hop_samples + 1
        return self.objective(batch, self.draw(len(batch.waveform), num_frames, rng, batch.waveform.device))

    def objective(self, batch: WaveformBatch, draws: RandomDraws) -> LossSum:
        """Return the loss for given draws (equation 4 of the paper); each of the K steps of a position is counted.

        Terms, all on the scale of the sum: `contrastive`, the loss itself; `correct`, frames identified among their
        distractors; `correct_1` .. `correct_K`, the same by step, times K: divided by the count, they are fractions.

        Args:
            batch: waveforms of equal length.
            draws: see `draw`.
        """
        z, c = self.context(self.features(batch.waveform, batch.lengths))[:: self.config.num_layers]
        contrast = self._contrast(z, self.predictors(c[:, : draws.negatives.shape[1]]), draws.negatives)
        num_steps, num_positions = self.config.num_steps, draws.negatives[..., 0].numel()
        terms = {"contrastive": contrast.loss, "correct": contrast.num_correct.sum()}
        terms |= {f"correct_{k}": num_steps * found for k, found in enumerate(contrast.num_correct.unbind(), start=1)}
        count = torch.tensor(num_positions * num_steps, device=batch.waveform.device)
        return LossSum(contrast.loss, count, {name: term.detach().float() for name, term in terms.items()})

    def _contrast(self, z: Tensor, predictions: Tensor, negatives: Tensor) -> StepContrast:
        """Score each utterance separately, or the whole batch where distractors come from all utterances."""
        batch_size, num_frames = z.shape[:2]
        num_positions = negatives.shape[1]
        ahead = torch.arange(1, self.config.num_steps + 1, device=z.device)
        positives = ahead[:, None] + torch.arange(num_positions, device=z.device)  # "step position"
        if self.config.negatives == "own":
            return info_nce(predictions, z, positives, negatives)
        first = num_frames * torch.arange(batch_size, device=z.device)
        return info_nce(
            predictions.transpose(0, 1).flatten(1, 2)[None],
            z.flatten(0, 1)[None],
            (positives[:, None] + first[:, None]).flatten(1),
            negatives.flatten(0, 1)[None],
        )


class LinearPredictors(nn.Module):
    """W_k c_t for all steps k, without bias.

    If z is wider than c, the weights of each W_k are initialised from N(0, 1), and the rows beyond the width of c are
    scaled by 0.01, as in the code; else with torch's default.

    Args:
        context_dim: width of c.
        dim: width of z.
        num_steps: K.
    """

    def __init__(self, context_dim: int, dim: int, *, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.matrices = nn.Linear(context_dim, num_steps * dim, bias=False)
        if dim > context_dim:
            rows = self.matrices.weight.detach().view(num_steps, dim, context_dim)
            nn.init.normal_(rows)
            rows[:, context_dim:] *= 0.01

    def forward(self, c: Float[Tensor, "batch position in_dim"]) -> Float[Tensor, "batch step position dim"]:
        """Return the predicted frames."""
        predicted: Tensor = self.matrices(c)
        return predicted.view(len(c), c.shape[1], self.num_steps, -1).transpose(1, 2)


class BlockPredictors(nn.Module):
    """One causal Transformer block over c for each step, whose output is the predicted frame.

    Args:
        dim: width of c and z.
        config: settings of the blocks.
        num_steps: K.
    """

    def __init__(self, dim: int, config: BlockPredictorConfig, *, num_steps: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CausalBlock(dim, config) for _ in range(num_steps))

    def forward(self, c: Float[Tensor, "batch position dim"]) -> Float[Tensor, "batch step position dim"]:
        """Return the predicted frames."""
        return torch.stack([block(c) for block in self.blocks], dim=1)


class CausalBlock(nn.Module):
    """Causal attention with a learnt key for each distance, and a feed-forward network, normalised after each.

    Attention has no biases; all heads use the same keys of distances (Shaw et al. 2018, keys only).

    Args:
        dim: width of the frames.
        config: heads, widths, dropout.
    """

    def __init__(self, dim: int, config: BlockPredictorConfig) -> None:
        super().__init__()
        if dim % config.num_heads:
            raise ValueError(f"dim {dim} cannot be divided into {config.num_heads} heads")
        self.config = config
        head_dim = dim // config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.distance_keys = nn.Parameter(torch.empty(config.max_positions, head_dim))
        nn.init.uniform_(self.distance_keys, -(head_dim**-0.5), head_dim**-0.5)
        self.attention_norm, self.ffn_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, config.ffn_dim), nn.Linear(config.ffn_dim, dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "batch position dim"]) -> Float[Tensor, "batch position dim"]:
        """Return the frames after this block.

        Raises:
            ValueError: if there are more positions than keys of distances.
        """
        num = x.shape[1]
        if num > self.config.max_positions:
            raise ValueError(
                f"the crops leave {num} positions to predict from, but the predictors support "
                f"{self.config.max_positions}; shorten data.max_crop_seconds or raise system.predictor.max_positions"
            )
        q, k, v = self.qkv(x).unflatten(-1, (3, self.config.num_heads, -1)).permute(2, 0, 3, 1, 4)
        place = torch.arange(num, device=x.device)
        distance = place[:, None] - place  # below 0: in the future
        by_distance = q @ self.distance_keys[:num].T.to(q.dtype)
        scores = q @ k.transpose(-1, -2) + by_distance.gather(3, distance.clamp(min=0).expand_as(by_distance))
        scores = (scores * q.shape[-1] ** -0.5).masked_fill(distance < 0, -torch.inf)
        mixed = (self.dropout(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)
        x = self.attention_norm(x + self.dropout(self.out(mixed)))
        inner = self.dropout(functional.relu(self.expand(x)))
        return self.ffn_norm(x + self.dropout(self.contract(inner)))  # type: ignore[no-any-return]
