"""BERT: predict masked word pieces from both sides, and whether one text segment follows another.

Devlin, Chang, Lee, Toutanova: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, NAACL
2019 (arXiv 1810.04805). The Transformer of wav2vec 2.0 comes from BERT; both use the same blocks here, BERT with the
normalisation after each part.

Data flow: word pieces -> sum of three embeddings (piece, position, first or second segment) -> layer norm ->
Transformer (`context`) -> two heads: one predicts each masked piece from its vector (`predictor`, whose output matrix
is the embedding), one predicts from the vector of [CLS] whether the second segment follows the first (`pooler`,
`next_sentence`). Only masked pieces are projected onto the vocabulary.

The loss is the paper's sum of two means, over masked pieces and over pairs of segments. The loop divides one sum by one
count, the number of masked pieces. Each pair is therefore weighted by its number of masked pieces: for texts of equal
length this is exactly the mean over pairs, else longer pairs have more weight; and a batch can be split without
changing the gradient.

Departures: masks are drawn anew each time a text is used (Liu et al. 2019) instead of ten times in advance; AdamW
corrects the bias of its moments, which BERT's optimiser does not; `init="waves"` is for runs of few updates, in which
the blocks would otherwise not learn relative positions (`docs/systems/bert.md`).
"""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from sori.core.batch import TokenBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Bool, Float, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn.lengths import valid
from sori.nn.transformer import Gelu, Transformer, gelu, set_arithmetic
from sori.text.wordpiece import WordPiece

_STD = 0.02


class BertConfig(Config):
    """Settings of model and objective."""

    kind: Literal["bert"] = "bert"
    num_tokens: int = Field(default=30_522, ge=6)
    """V, number of word pieces and special tokens; a run sets it, and the four ids below, from its vocabulary."""
    pad: int = Field(default=0, ge=0)
    cls: int = Field(default=101, ge=0)
    sep: int = Field(default=102, ge=0)
    mask: int = Field(default=103, ge=0)
    num_positions: int = Field(default=512, ge=1)
    """Longest text, in tokens."""
    num_parts: int = Field(default=2, ge=1)
    """Number of segments with different embeddings."""

    dim: int = Field(default=768, ge=1)
    """H."""
    num_layers: int = Field(default=12, ge=0, le=1000)
    """L."""
    num_heads: int = Field(default=12, ge=1)
    """A."""
    ffn_dim: int = Field(default=3072, ge=1)
    gelu: Gelu = "tanh"
    """`tanh`: the approximation that the published models were trained with; `erf`: the exact GELU of transformers."""
    norm_eps: float = Field(default=1e-12, gt=0)
    init: Literal["bert", "waves"] = "bert"
    """Initialisation: N(0, 0.02) truncated at 0.04 as published; `waves`: with sines and cosines for the positions."""
    dropout: float = Field(default=0.1, ge=0, le=1)
    """Dropout rate of the embeddings and of the output of each part of a block."""
    attention_dropout: float = Field(default=0.1, ge=0, le=1)

    hidden_share: float = Field(default=0.15, gt=0, le=1)
    """Fraction of all tokens, [CLS] and [SEP] counted, that are masked; at least one."""
    max_hidden: int = Field(default=80, ge=1)
    """Maximum number of masked tokens in a text. Paper's code: 20 of 128 tokens, about 80 of 512."""
    replaced_by: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Fractions of the masked tokens that become [MASK], stay unchanged, and become a random token."""
    next_weight: float = Field(default=1.0, ge=0)
    """Weight of next sentence prediction; 0: none (the paper's "No NSP")."""

    @model_validator(mode="after")
    def _consistent(self) -> "BertConfig":
        if not math.isclose(sum(self.replaced_by), 1) or min(self.replaced_by) < 0:
            raise ValueError(f"expected three fractions that sum to 1 in replaced_by, got {self.replaced_by}")
        if max(self.pad, self.cls, self.sep, self.mask) >= self.num_tokens:
            raise ValueError(f"the ids of the special tokens must be below num_tokens, which is {self.num_tokens}")
        return self


class RandomDraws(NamedTuple):
    """Random values of the objective, except dropout."""

    ids: Int[Tensor, "batch token"]
    """Input of the model."""
    hidden: Bool[Tensor, "batch token"]
    """True for the tokens to predict."""


class Bert(nn.Module):
    """BERT, a `protocols.System`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("predictor", "next_sentence")
    """Parts used in pre-training only; a model may also lack `pooler`."""

    uses_every_parameter: ClassVar[bool] = True
    """Every micro-batch gives every parameter a gradient."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.wordpiece: WordPiece | None = None
        """Vocabulary; required for text input and output, not for the loss."""
        self.tokens = nn.Embedding(config.num_tokens, config.dim)
        self.positions = nn.Embedding(config.num_positions, config.dim)
        self.parts = nn.Embedding(config.num_parts, config.dim)
        self.transformer = Transformer(
            config.dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            ffn_dim=config.ffn_dim,
            pre_norm=False,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=0.0,
            layerdrop=0.0,
        )
        set_arithmetic(self.transformer, norm_eps=config.norm_eps, gelu=config.gelu)
        self.pooler = nn.Linear(config.dim, config.dim)
        self.predictor = Predictor(config)
        self.next_sentence = nn.Linear(config.dim, 2)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=_STD, a=-2 * _STD, b=2 * _STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        if config.init == "waves":
            with torch.no_grad():
                self.positions.weight.copy_(_waves(config.num_positions, config.dim))

    def drop_absent(self, weights: Iterable[str]) -> None:
        """Remove the pooler and heads that have no tensors here, since some models lack them."""
        present = {name.split(".", maxsplit=1)[0] for name in weights}
        for part in ("pooler", *self.OBJECTIVE):
            if part not in present:
                delattr(self, part)

    def context(
        self, ids: Int[Tensor, "batch token"], parts: Int[Tensor, "batch token"], lengths: Int[Tensor, " batch"]
    ) -> list[Tensor]:
        """Return all layers.

        Args:
            ids: token ids, of any value in padding.
            parts: segment of each token.
            lengths: number of real tokens of each text.

        Returns:
            "batch token dim" each: the input of the first block, then the output of every block.

        Raises:
            ValueError: if a text is longer than the number of positions.
        """
        num_tokens = ids.shape[1]
        if num_tokens > self.config.num_positions:
            raise ValueError(
                f"expected texts of at most {self.config.num_positions} tokens, got {num_tokens}; cut them into "
                "shorter ones (texts.max_tokens in training)"
            )
        x = self.tokens(ids) + self.positions.weight[:num_tokens] + self.parts(parts)
        real = valid(lengths, num_tokens) if int(lengths.min()) < num_tokens else None
        return self.transformer(x, real)  # type: ignore[no-any-return]

    def pooled(self, last: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch dim"]:
        """Return a vector for each text, from the last layer's vector of [CLS]."""
        return torch.tanh(self.pooler(last[:, 0]))

    def scores(self, vectors: Float[Tensor, "*axes dim"]) -> Float[Tensor, "*axes class"]:
        """Return the unnormalised log-probabilities of all tokens, from vectors of the last layer."""
        return self.predictor(vectors, self.tokens.weight)  # type: ignore[no-any-return]

    def draw(self, batch: TokenBatch, rng: Rng, device: torch.device) -> RandomDraws:
        """Draw masked tokens and their replacements from `rng["mask"]`, on the host: the same on every device.

        Args:
            batch: texts.
            rng: generators of this micro-batch.
            device: device of the result.
        """
        c, generator = self.config, Rng(*rng.key)["mask"]
        ids, lengths = batch.ids.cpu(), batch.lengths.cpu()
        candidates = valid(lengths, ids.shape[1]) & (ids != c.cls) & (ids != c.sep)
        # In float64, and half to even, as in the paper's code.
        wanted = (c.hidden_share * lengths.double()).round().long().clamp(1, c.max_hidden)
        order = torch.rand(ids.shape, generator=generator).masked_fill(~candidates, 2)
        hidden = candidates & (order.argsort(1).argsort(1) < wanted[:, None])
        fate = torch.rand(ids.shape, generator=generator)
        other = torch.randint(c.num_tokens, ids.shape, generator=generator)
        masked, kept, _ = c.replaced_by
        seen = torch.where(hidden & (fate < masked), c.mask, ids)
        seen = torch.where(hidden & (fate >= masked + kept), other, seen)
        return RandomDraws(seen.to(device), hidden.to(device))

    def loss(self, batch: TokenBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the pre-training loss of one micro-batch, summed over masked tokens.

        Args:
            batch: pairs of segments, labelled 1 where the second is a random one.
            step: optimiser update; not used.
            rng: generators of this micro-batch.

        Raises:
            ValueError: if the model was loaded without the heads for pre-training.
        """
        del step
        missing = [part for part in ("pooler", *self.OBJECTIVE) if not hasattr(self, part)]
        if missing:
            raise ValueError(
                f"this model has no {', '.join(missing)}, which pre-training requires; fine-tune it, or start "
                "from a model with both heads (BertForPreTraining)"
            )
        return self.objective(batch, self.draw(batch, rng, batch.ids.device))

    def objective(self, batch: TokenBatch, draws: RandomDraws) -> LossSum:
        """Return the loss for given masks.

        Terms, all on the scale of the sum: `mlm`, nats of the masked tokens; `correct`, masked tokens whose most likely
        prediction is right; `chance`, ln V for each; `next`, nats of the pairs of segments, and `next_correct`, pairs
        classified correctly, each weighted by its number of masked tokens.

        Args:
            batch: pairs of segments.
            draws: see `draw`.
        """
        last = self.context(draws.ids, batch.parts, batch.lengths)[-1]
        logits, targets = self.scores(last[draws.hidden]).float(), batch.ids[draws.hidden]
        mlm = functional.cross_entropy(logits, targets, reduction="sum")
        pairs, is_other = self.next_sentence(self.pooled(last)).float(), batch.labels[:, 0]
        num_hidden = draws.hidden.sum(1)
        follows = (num_hidden * functional.cross_entropy(pairs, is_other, reduction="none")).sum()
        count = num_hidden.sum()
        terms = {
            "mlm": mlm,
            "correct": (logits.argmax(-1) == targets).sum(),
            "chance": count * math.log(self.config.num_tokens),
            "next": follows,
            "next_correct": (num_hidden * (pairs.argmax(-1) == is_other)).sum(),
        }
        terms = {name: term.detach().float() for name, term in terms.items()}
        return LossSum(mlm + self.config.next_weight * follows, count, terms)


def _waves(num_positions: int, dim: int) -> Float[Tensor, "token dim"]:
    """Return sines and cosines of the position (Vaswani et al. 2017, section 3.5), scaled like the piece embeddings."""
    rates = torch.exp(-math.log(10_000) * torch.arange(0, dim, 2) / dim)
    angles = torch.arange(num_positions)[:, None] * rates
    return _STD * math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]


class Predictor(nn.Module):
    """Output head: scores of all tokens from vectors; its output matrix is the embedding."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.kind: Gelu = config.gelu
        self.dense = nn.Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.num_tokens))

    def forward(
        self, vectors: Float[Tensor, "*axes dim"], embedding: Float[Tensor, "class dim"]
    ) -> Float[Tensor, "*axes class"]:
        """Return the unnormalised log-probabilities."""
        return functional.linear(self.norm(gelu(self.dense(vectors), self.kind)), embedding, self.bias)
