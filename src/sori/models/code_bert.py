"""BERT over the discrete units of vq-wav2vec: masked units are predicted from their context, like words of a text.

Baevski, Schneider, Auli: vq-wav2vec: Self-Supervised Learning of Discrete Speech Representations, ICLR 2020 (arXiv
1910.05453), section 4; the Transformer and its task are those of RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT
(Devlin et al. 2019) without next sentence prediction.

Data flow: waveform -> a trained vq-wav2vec, frozen (`front`) -> units, one word for each G-tuple of entries
(`tokens`) -> word embeddings (`features`) -> Transformer (`context`) -> prediction of masked words (`head`).

The vq-wav2vec is passed in, like the encoder of a recogniser, so that models do not import each other.

Departures from the paper:
- positions come from the wide convolution of wav2vec 2.0, not from a table of 512 or 2,048 embeddings, so that
  utterances may have any length;
- there are no tokens for the start and end of a text: every vector corresponds to a frame of audio;
- spans start only where a whole span fits (`nn/mask.py`), in the paper anywhere;
- the vocabulary has a fixed size: the most frequent tuples of the training corpus, and one word for all others. The
  paper keeps every tuple that occurs (13,500 of 102,400).
Outside the published sizes, blocks may normalise before each part and have initial weights scaled to their width.
"""

import math
from collections.abc import Iterable
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from sori.core.batch import WaveformBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Bool, Float, Frames, Int, Tensor, Units
from sori.models.protocols import LossSum
from sori.nn.clip_norm import at_least_float32
from sori.nn.conv import PositionalConv
from sori.nn.layers import choose_layer
from sori.nn.lengths import num_frames, valid
from sori.nn.mask import MaskConfig, draw_hidden, span_mask
from sori.nn.transformer import Transformer, scale_init

UnitsConfig = TypeVar("UnitsConfig", bound=Config)
"""Settings of the model that produces the units; `models/encoders.py` lists the kinds."""
UNKNOWN = 0
"""The word for all tuples that are not in the vocabulary."""
_MOST_TUPLES = 1 << 24


class CodeBertConfig(Config, Generic[UnitsConfig]):
    """Settings of model and objective; the defaults are the paper's large model."""

    kind: Literal["code_bert"] = "code_bert"
    units: UnitsConfig
    """Settings of the model that produces the units; training takes them from the model it starts from."""
    num_tokens: int = Field(default=13_500, ge=1)
    """Number of tuples with a word of their own, the most frequent of the training corpus; if there are no more tuples
    than this, all have one, without counting. Section 5.2: 13,500 occur."""
    dim: int = Field(default=768, ge=1)
    num_layers: int = Field(default=12, ge=0, le=1000)
    num_heads: int = Field(default=12, ge=1)
    ffn_dim: int = Field(default=3072, ge=1)
    pre_norm: bool = False
    """Whether to normalise before each part of a block (True) or after it (False)."""
    position_kernel: int = Field(default=128, ge=1)
    position_groups: int = Field(default=16, ge=1)
    init: Literal["bert", "width"] = "bert"
    """Initialisation of the blocks: N(0, 0.02) as published, or scaled to the width."""
    dropout: float = Field(default=0.1, ge=0, le=1)
    attention_dropout: float = Field(default=0.1, ge=0, le=1)
    activation_dropout: float = Field(default=0.0, ge=0, le=1)
    mask: MaskConfig = MaskConfig(time_prob=0.5, time_length=10)
    """Section 5.3: 5 % of the words start a masked span of 10; as spans overlap, 40 % of all words are masked.
    fairseq: mask_prob, mask_multiple_length."""
    kept_share: float = Field(default=0.1, ge=0, le=1)
    """Fraction of the words to predict that stay visible. fairseq: leave_unmasked_prob."""
    swapped_share: float = Field(default=0.1, ge=0, le=1)
    """Fraction of the words to predict that become another word, drawn uniformly. fairseq: random_token_prob."""

    @model_validator(mode="after")
    def _consistent(self) -> "CodeBertConfig[UnitsConfig]":
        if self.kept_share + self.swapped_share > 1:
            raise ValueError(
                "kept_share and swapped_share are fractions of the same words: their sum must be 1 or less"
            )
        return self

    @property
    def num_codes(self) -> int:
        """V, number of entries of each group of the quantiser."""
        return int(self.units.num_codes)  # type: ignore[attr-defined]

    @property
    def num_tuples(self) -> int:
        """Number of possible tuples of entries of G groups, V to the power of G."""
        return int(self.num_codes**self.units.num_groups)  # type: ignore[attr-defined]


@runtime_checkable
class Front(Protocol):
    """Interface of the model that produces the units, so that models do not import each other."""

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        ...

    @property
    def field_samples(self) -> int:
        """Receptive field of one unit in samples; the shortest input."""
        ...

    def units(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Units:
        """Return the units of every frame, one for each group: indices from 0 to V - 1, -1 in padding."""
        ...


class RandomDraws(NamedTuple):
    """Random values of the objective, except dropout."""

    chosen: Bool[Tensor, "batch frame"]
    """True for frames whose word is to be predicted."""
    masked: Bool[Tensor, "batch frame"]
    """True for those of them that are replaced by the mask vector."""
    swapped: Int[Tensor, "batch frame"]
    """Words that replace others of them; -1 elsewhere."""


class Head(nn.Module):
    """Logits of words from context vectors, with the word embeddings as output matrix (RoBERTa's output layer).

    Args:
        dim: width of the vectors.
        num_words: number of words in the vocabulary.
    """

    def __init__(self, dim: int, *, num_words: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.bias = nn.Parameter(torch.zeros(num_words))

    def forward(self, x: Float[Tensor, "chosen dim"], words: Float[Tensor, "word dim"]) -> Float[Tensor, "chosen word"]:
        """Return the logits."""
        return functional.linear(self.norm(functional.gelu(self.dense(x))), words, self.bias)


class CodeBert(nn.Module):
    """BERT over discrete units, a `protocols.System` and a `protocols.FrameEncoder`.

    Args:
        config: settings of the Transformer and its task.
        front: trained module that implements `Front`; it is never changed here.

    Raises:
        ValueError: if there are too many tuples of entries to number.
    """

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("head",)
    """Parts used in pre-training only; a recogniser does not have them."""

    def __init__(self, config: CodeBertConfig, front: Front) -> None:  # type: ignore[type-arg]  # any units will do
        super().__init__()
        if config.num_tuples > _MOST_TUPLES:
            raise ValueError(
                f"{config.num_tuples:.3g} tuples of codebook entries cannot be numbered, at most {_MOST_TUPLES:,} can; "
                "use a quantiser with fewer groups or entries"
            )
        self.config = config
        self.front = front
        assert isinstance(front, nn.Module)  # noqa: S101 - see the docstring
        front.requires_grad_(requires_grad=False).eval()
        self.words = nn.Embedding(self.num_words, config.dim)
        nn.init.normal_(self.words.weight, std=0.02 if config.init == "bert" else config.dim**-0.5)
        self.mask_vector = nn.Parameter(0.02 * torch.randn(config.dim))
        # Until tuples are counted, they are divided evenly among the words.
        self.register_buffer("token_of", 1 + torch.arange(config.num_tuples) % (self.num_words - 1))
        self.positions = PositionalConv(config.dim, kernel=config.position_kernel, num_groups=config.position_groups)
        self.position_norm = nn.LayerNorm(config.dim) if config.pre_norm else nn.Identity()
        self.transformer = Transformer(
            config.dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            ffn_dim=config.ffn_dim,
            pre_norm=config.pre_norm,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            layerdrop=0.0,
        )
        if config.init == "width":
            scale_init(self.transformer)
        self.head = Head(config.dim, num_words=self.num_words)

    token_of: Tensor
    """Word of each tuple; the number of a tuple is i V + j for the entries i and j of two groups."""

    def train(self, mode: bool = True) -> "CodeBert":
        """Set training mode for all parts except the units."""
        super().train(mode)
        self.front.eval()  # type: ignore[attr-defined]
        return self

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.front.hop_samples

    @property
    def field_samples(self) -> int:
        """Receptive field of one unit in samples; the shortest input."""
        return self.front.field_samples

    @property
    def num_words(self) -> int:
        """Number of words in the vocabulary, including the one for unknown tuples."""
        return 1 + min(self.config.num_tokens, self.config.num_tuples)

    @property
    def chance_nats(self) -> float:
        """Loss of a word if all words are equally likely."""
        return math.log(self.num_words)

    @torch.no_grad()
    def units(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Units:
        """Return the units of every frame from `front`, in float32 regardless of autocast.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            return self.front.units(waveform, lengths)

    def tokens(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Int[Tensor, "batch frame"], Int[Tensor, " batch"]]:
        """Return the word of every frame, `UNKNOWN` in padding, and the number of frames of each utterance.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        units, frame_lengths = self.units(waveform, lengths)
        words = self.token_of[self._numbers(units).clamp(min=0)]
        return words.masked_fill(~valid(frame_lengths, words.shape[1]), UNKNOWN), frame_lengths

    def _numbers(self, units: Int[Tensor, "batch frame group"]) -> Int[Tensor, "batch frame"]:
        """Return the number of each tuple; below 0 in padding."""
        groups = torch.arange(units.shape[2] - 1, -1, -1, device=units.device)
        return (units * self.config.num_codes**groups).sum(2)

    @torch.no_grad()
    def count_tuples(self, batches: Iterable[WaveformBatch]) -> Int[Tensor, " tuple"]:
        """Count each tuple in batches of recordings; the result is on the host."""
        counts = torch.zeros(self.config.num_tuples, dtype=torch.long)
        for batch in batches:
            found = self._numbers(self.units(*batch[:2]).data).flatten().cpu()
            counts += torch.bincount(found[found >= 0], minlength=len(counts))
        return counts

    def choose_words(self, counts: Int[Tensor, " tuple"]) -> float:
        """Assign words of their own to the most frequent tuples, by frequency; equally frequent ones by number.

        Tuples that do not occur get none.

        Args:
            counts: output of `count_tuples`.

        Returns:
            Fraction of all counted frames whose tuple has a word of its own.
        """
        chosen = counts.argsort(descending=True, stable=True)[: self.num_words - 1]
        chosen = chosen[counts[chosen] > 0]
        token_of = torch.full_like(counts, UNKNOWN)
        token_of[chosen] = torch.arange(1, 1 + len(chosen))
        self.token_of.copy_(token_of)
        return float(counts[chosen].sum() / counts.sum().clamp(min=1))

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the embeddings of the words; no gradient flows into the discrete units.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        words, frame_lengths = self.tokens(waveform, lengths)
        return Frames(self.words(words), frame_lengths)

    def context(
        self,
        frames: Frames,
        *,
        masked: Bool[Tensor, "batch frame"] | None = None,
        channels: Bool[Tensor, "batch dim"] | None = None,
    ) -> list[Tensor]:
        """Return all layers of the Transformer.

        Args:
            frames: output of `features`.
            masked: True for frames to replace by the mask vector.
            channels: True for channels to set to 0.

        Returns:
            "batch frame dim" each: the input of the first block, then the output of every block, the last normalised.
        """
        x, lengths = frames
        if masked is not None:
            x = torch.where(masked.unsqueeze(-1), self.mask_vector, x)
        if channels is not None:
            x = x.masked_fill(channels.unsqueeze(1), 0)
        real = None
        if int(lengths.min()) < x.shape[1]:
            real = valid(lengths, x.shape[1])
            x = x.masked_fill(~real.unsqueeze(-1), 0)
        x = self.position_norm(at_least_float32(x + self.positions(x)))  # the residual stream stays float32
        return self.transformer(x, real)  # type: ignore[no-any-return]

    def encode(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        mask: MaskConfig | None = None,
        rng: Rng | None = None,
        feature_gradient: float = 0.0,  # noqa: ARG002 - every encoder takes it
    ) -> tuple[list[Tensor], Int[Tensor, " batch"]]:
        """Compute all layers from a waveform, for fine-tuning and feature extraction.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.
            mask: masking of frames by the mask vector, and of channels by zeros.
            rng: generators for the mask.
            feature_gradient: not used, since units have no gradient.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        frames = self.features(waveform, lengths)
        masked, channels = draw_hidden(mask, frames.lengths, self.config.dim, rng)
        return self.context(frames, masked=masked, channels=channels), frames.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer: 0 is the input of the first block, None the output of the last.

        Raises:
            ValueError: if the model has no such layer.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="the input of the first block")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """Draw the words to predict and their replacements from `rng["mask"]` and `rng["words"]`, on the host.

        Args:
            lengths: number of real frames of each utterance.
            rng: generators of this micro-batch.
            device: device of the result.
        """
        c, host = self.config, Rng(*rng.key)
        chosen = span_mask(
            lengths.cpu(),
            prob=c.mask.time_prob,
            span=c.mask.time_length,
            min_spans=1,
            equal_counts=False,
            generator=host["mask"],
        )
        fate = torch.rand(chosen.shape, generator=host["words"])
        other = torch.randint(1, self.num_words, chosen.shape, generator=host["words"])
        swapped = chosen & (fate >= c.kept_share) & (fate < c.kept_share + c.swapped_share)
        masked = chosen & (fate >= c.kept_share + c.swapped_share)
        return RandomDraws(chosen.to(device), masked.to(device), torch.where(swapped, other, -1).to(device))

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:  # noqa: ARG002 - every system takes it
        """Return the pre-training loss of one micro-batch, summed over the words to predict.

        Args:
            batch: usually whole utterances, because units depend on the whole input.
            step: optimiser update; not used.
            rng: generators of this micro-batch.

        Raises:
            ValueError: if the model was loaded without its output layer.
        """
        if not hasattr(self, "head"):
            raise ValueError(
                "this encoder has no output layer, which pre-training requires; extract features or fine-tune it"
            )
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        return self.objective(batch, self.draw(frame_lengths, rng, batch.waveform.device))

    def objective(self, batch: WaveformBatch, draws: RandomDraws) -> LossSum:
        """Return the loss for given draws: -log of the probability of the right word.

        Terms, all on the scale of the sum: `contrastive`, the loss itself, under the name that all encoders use for the
        loss compared with chance; `correct`, words predicted correctly; `unknown`, targets that are the unknown word;
        `guessed_share`, the fraction of all words that are predicted, times the count.

        Args:
            batch: waveforms.
            draws: see `draw`.
        """
        words, lengths = self.tokens(batch.waveform, batch.lengths)
        shown = torch.where(draws.swapped >= 0, draws.swapped, words)
        top = self.context(Frames(self.words(shown), lengths), masked=draws.masked)[-1]
        logits, targets = self.head(top[draws.chosen], self.words.weight), words[draws.chosen]
        total = functional.cross_entropy(at_least_float32(logits), targets, reduction="sum")
        count = draws.chosen.sum()
        with torch.no_grad():
            terms = {
                "contrastive": total,
                "correct": (logits.argmax(-1) == targets).sum(),
                "unknown": (targets == UNKNOWN).sum(),
                "guessed_share": count * count / lengths.sum(),
            }
        return LossSum(total, count, {name: term.detach().float() for name, term in terms.items()})
