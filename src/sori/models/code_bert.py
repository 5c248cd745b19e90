"""BERT over the units of vq-wav2vec: speech as text, whose hidden words are guessed from the words around them.

Baevski, Schneider, Auli: vq-wav2vec: Self-Supervised Learning of Discrete Speech Representations, ICLR 2020 (arXiv
1910.05453), section 4; the Transformer and its task are those of RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT
(Devlin et al. 2019) without its second task.

The way of the sound: waveform -> a trained vq-wav2vec, frozen (`front`) -> units, one word for each G-tuple of codes
(`tokens`) -> vectors of words (`features`) -> Transformer (`context`) -> which word is hidden here (`head`).

The quantiser's encoder is handed in, as to a recogniser: systems do not know each other.

Departures from the paper:
- positions come from the wide convolution of wav2vec 2.0 and not from a table of 512 or 2,048 of them, so that an
  utterance of any length can be read out;
- there are no marks for beginning and end of a text: every vector stands for a stretch of sound;
- spans begin where all of a span has room (`nn/mask.py`), in the paper anywhere;
- the vocabulary has a fixed size: the most frequent tuples of the training corpus, with one word for all others. The
  paper keeps every tuple that occurs (13,500 of 102,400).
Outside the published sizes, blocks may normalise before each part and begin with weights scaled to their width.
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
"""Settings of what makes the units; which kinds there can be, `models/encoders.py` says."""
UNKNOWN = 0
"""The word for all tuples that are not in the vocabulary."""
_MOST_TUPLES = 1 << 24


class CodeBertConfig(Config, Generic[UnitsConfig]):
    """Everything that decides what the model computes and is scored by; the defaults are the paper's large model."""

    kind: Literal["code_bert"] = "code_bert"
    units: UnitsConfig
    """Of the model that makes the units. Training takes them from the model it starts from."""
    num_tokens: int = Field(default=13_500, ge=1)
    """Tuples of codes that are words of their own, the most frequent of the training corpus. All of them, uncounted,
    where there are no more. Section 5.2: 13,500 occur."""
    dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    ffn_dim: int = 3072
    pre_norm: bool = False
    """Normalise before each part of a block (True) or after it (False)."""
    position_kernel: int = 128
    position_groups: int = 16
    init: Literal["bert", "width"] = "bert"
    """Weights of the blocks: N(0, 0.02) as published, or scaled to the width."""
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    mask: MaskConfig = MaskConfig(time_prob=0.5, time_length=10)
    """Section 5.3: 5 % of the words begin a span of 10 that is to be guessed; as spans overlap, 40 % of all words.
    fairseq: mask_prob, mask_multiple_length."""
    kept_share: float = Field(default=0.1, ge=0, le=1)
    """Of the words to be guessed, this share is left to be seen. fairseq: leave_unmasked_prob."""
    swapped_share: float = Field(default=0.1, ge=0, le=1)
    """And this share becomes another word, drawn from all with equal chances. fairseq: random_token_prob."""

    @model_validator(mode="after")
    def _consistent(self) -> "CodeBertConfig[UnitsConfig]":
        if self.kept_share + self.swapped_share > 1:
            raise ValueError("kept_share and swapped_share are shares of the same words and add up to 1 at most")
        return self

    @property
    def num_codes(self) -> int:
        """V, entries of each group of the quantiser."""
        return int(self.units.num_codes)  # type: ignore[attr-defined]

    @property
    def num_tuples(self) -> int:
        """Tuples that codes of G groups can form, V to the power of G."""
        return int(self.num_codes**self.units.num_groups)  # type: ignore[attr-defined]


@runtime_checkable
class Front(Protocol):
    """What makes the units; systems do not know each other."""

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        ...

    @property
    def field_samples(self) -> int:
        """Samples that one unit sees; the shortest input."""
        ...

    def units(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Units:
        """The units of every frame, one for each group: indices from 0 to V - 1, -1 in padding."""
        ...


class RandomDraws(NamedTuple):
    """All that is random in the objective, but for dropout."""

    guessed: Bool[Tensor, "batch frame"]
    """Frames whose word is to be found."""
    masked: Bool[Tensor, "batch frame"]
    """Those of them that show the mask vector."""
    swapped: Int[Tensor, "batch frame"]
    """Words that others of them show; -1 where a frame shows its own."""


class Head(nn.Module):
    """From context vectors to logits of words, by the vectors of the words themselves (RoBERTa's output layer).

    Args:
        dim: of the vectors.
        num_words: in the vocabulary.
    """

    def __init__(self, dim: int, *, num_words: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.bias = nn.Parameter(torch.zeros(num_words))

    def forward(
        self, x: Float[Tensor, "guessed dim"], words: Float[Tensor, "word dim"]
    ) -> Float[Tensor, "guessed word"]:
        """Logits."""
        return functional.linear(self.norm(functional.gelu(self.dense(x))), words, self.bias)


class CodeBert(nn.Module):
    """The system: a `contracts.System` and a `contracts.FrameEncoder`.

    Args:
        config: of the Transformer and its task.
        front: a module that also is a `Front`, trained before; it stays as it is, whatever is trained here.

    Raises:
        ValueError: there are too many tuples of codes to number.
    """

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("head",)
    """Parts that only pre-training needs: neither stored nor counted in a recogniser."""

    def __init__(self, config: CodeBertConfig, front: Front) -> None:  # type: ignore[type-arg]  # any units will do
        super().__init__()
        if config.num_tuples > _MOST_TUPLES:
            raise ValueError(
                f"{config.num_tuples:.3g} tuples of codes cannot be numbered one by one, {_MOST_TUPLES:,} can; take a "
                "quantiser with fewer groups or codes"
            )
        self.config = config
        self.front = front
        assert isinstance(front, nn.Module)  # noqa: S101 - as the docstring says
        front.requires_grad_(requires_grad=False).eval()
        self.words = nn.Embedding(self.num_words, config.dim)
        nn.init.normal_(self.words.weight, std=0.02 if config.init == "bert" else config.dim**-0.5)
        self.mask_vector = nn.Parameter(0.02 * torch.randn(config.dim))
        # Before anything is counted, tuples share the words among them.
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
    """Word of each tuple, whose number is i V + j for the codes i and j of two groups."""

    def train(self, mode: bool = True) -> "CodeBert":
        """Training mode for all but the units."""
        super().train(mode)
        self.front.eval()  # type: ignore[attr-defined]
        return self

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.front.hop_samples

    @property
    def field_samples(self) -> int:
        """Samples that one unit sees; the shortest input."""
        return self.front.field_samples

    @property
    def num_words(self) -> int:
        """Words in the vocabulary, with the one for all unknown tuples."""
        return 1 + min(self.config.num_tokens, self.config.num_tuples)

    @property
    def chance_nats(self) -> float:
        """Loss of a word where all are equally likely."""
        return math.log(self.num_words)

    @torch.no_grad()
    def units(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Units:
        """The units of every frame, as `front` gives them; in float32 whatever the autocast.

        Raises:
            ValueError: for an utterance shorter than one frame.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            return self.front.units(waveform, lengths)

    def tokens(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Int[Tensor, "batch frame"], Int[Tensor, " batch"]]:
        """The word of every frame, `UNKNOWN` in padding, and the number of frames of each utterance.

        Raises:
            ValueError: for an utterance shorter than one frame.
        """
        codes, frame_lengths = self.units(waveform, lengths)
        words = self.token_of[self._numbers(codes).clamp(min=0)]
        return words.masked_fill(~valid(frame_lengths, words.shape[1]), UNKNOWN), frame_lengths

    def _numbers(self, codes: Int[Tensor, "batch frame group"]) -> Int[Tensor, "batch frame"]:
        """Number of each tuple; below 0 in padding."""
        groups = torch.arange(codes.shape[2] - 1, -1, -1, device=codes.device)
        return (codes * self.config.num_codes**groups).sum(2)

    @torch.no_grad()
    def count_tuples(self, batches: Iterable[WaveformBatch]) -> Int[Tensor, " tuple"]:
        """How often each tuple occurs in some recordings, on the host."""
        counts = torch.zeros(self.config.num_tuples, dtype=torch.long)
        for batch in batches:
            found = self._numbers(self.units(*batch[:2]).data).flatten().cpu()
            counts += torch.bincount(found[found >= 0], minlength=len(counts))
        return counts

    def choose_words(self, counts: Int[Tensor, " tuple"]) -> float:
        """Make the most frequent tuples words of their own, numbered by frequency; equally frequent ones by number.

        Tuples that do not occur at all have none.

        Args:
            counts: as `count_tuples` gives them.

        Returns:
            Share of what was counted whose tuple has a word of its own.
        """
        chosen = counts.argsort(descending=True, stable=True)[: self.num_words - 1]
        chosen = chosen[counts[chosen] > 0]
        token_of = torch.full_like(counts, UNKNOWN)
        token_of[chosen] = torch.arange(1, 1 + len(chosen))
        self.token_of.copy_(token_of)
        return float(counts[chosen].sum() / counts.sum().clamp(min=1))

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """The vectors of the words. No gradient goes further: words are chosen, not computed.

        Args:
            waveform: raw amplitude.
            lengths: real samples.

        Raises:
            ValueError: for an utterance shorter than one frame.
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
        """All layers of the Transformer.

        Args:
            frames: as `features` gives them.
            masked: frames to be replaced by the mask vector.
            channels: channels to be set to 0.

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
        x = self.position_norm(at_least_float32(x + self.positions(x)))  # what the blocks add up stays float32
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
        """From waveform to all layers: for fine-tuning and for reading out.

        Args:
            waveform: raw amplitude.
            lengths: real samples.
            mask: hide frames, behind the mask vector, and channels, by zeros.
            rng: for the mask.
            feature_gradient: without effect: nothing flows into units.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        frames = self.features(waveform, lengths)
        masked, channels = draw_hidden(mask, frames.lengths, self.config.dim, rng)
        return self.context(frames, masked=masked, channels=channels), frames.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Vectors of one layer: 0 is the input of the first block, None the output of the last.

        Raises:
            ValueError: for a layer that the model does not have.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="the input of the first block")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def draw(self, lengths: Int[Tensor, " batch"], rng: Rng, device: torch.device) -> RandomDraws:
        """What is to be guessed and what is shown there, from `rng["mask"]` and `rng["words"]`, on the host.

        Args:
            lengths: real frames of each utterance.
            rng: of this micro-batch.
            device: where the draws are needed.
        """
        c, host = self.config, Rng(*rng.key)
        guessed = span_mask(
            lengths.cpu(),
            prob=c.mask.time_prob,
            span=c.mask.time_length,
            min_spans=1,
            equal_counts=False,
            generator=host["mask"],
        )
        fate = torch.rand(guessed.shape, generator=host["words"])
        other = torch.randint(1, self.num_words, guessed.shape, generator=host["words"])
        swapped = guessed & (fate >= c.kept_share) & (fate < c.kept_share + c.swapped_share)
        masked = guessed & (fate >= c.kept_share + c.swapped_share)
        return RandomDraws(guessed.to(device), masked.to(device), torch.where(swapped, other, -1).to(device))

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:  # noqa: ARG002 - every system takes it
        """Pre-training loss of one micro-batch, summed over the words to be guessed.

        Args:
            batch: whole utterances, as a rule: units depend on all that is heard with them.
            step: optimiser update; nothing depends on it.
            rng: of this micro-batch.

        Raises:
            ValueError: the model was read without its output layer.
        """
        if not hasattr(self, "head"):
            raise ValueError(
                "this encoder has no output layer, which pre-training needs; it can be read out or fine-tuned"
            )
        frame_lengths = num_frames(batch.lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        return self.objective(batch, self.draw(frame_lengths, rng, batch.waveform.device))

    def objective(self, batch: WaveformBatch, draws: RandomDraws) -> LossSum:
        """The loss for given draws: -log of the probability of the right word.

        Terms, all on the scale of the sum: `contrastive`, the loss itself, by the name that all encoders give what
        chance is measured against; `correct`, words that were found; `unknown`, words that are the one for unknown
        tuples; `guessed_share`, the share of all words that are guessed, times the count.

        Args:
            batch: waveforms.
            draws: see `draw`.
        """
        words, lengths = self.tokens(batch.waveform, batch.lengths)
        shown = torch.where(draws.swapped >= 0, draws.swapped, words)
        top = self.context(Frames(self.words(shown), lengths), masked=draws.masked)[-1]
        logits, targets = self.head(top[draws.guessed], self.words.weight), words[draws.guessed]
        total = functional.cross_entropy(at_least_float32(logits), targets, reduction="sum")
        count = draws.guessed.sum()
        with torch.no_grad():
            terms = {
                "contrastive": total,
                "correct": (logits.argmax(-1) == targets).sum(),
                "unknown": (targets == UNKNOWN).sum(),
                "guessed_share": count * count / lengths.sum(),
            }
        return LossSum(total, count, {name: term.detach().float() for name, term in terms.items()})
