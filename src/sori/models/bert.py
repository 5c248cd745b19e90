"""BERT: find the hidden words of a text from both sides, and tell whether two passages follow each other.

Devlin, Chang, Lee, Toutanova: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, NAACL
2019 (arXiv 1810.04805). wav2vec 2.0 has its Transformer from here, and this file takes it back: the same blocks, with
the normalisation after each part.

The way of a text: pieces of words -> sum of three embeddings (piece, place, first or second passage) -> layer norm ->
Transformer (`context`) -> two heads: the vector of a hidden piece tells the piece (`predictor`, whose output matrix is
the embedding itself), the vector of [CLS] tells whether the second passage is the true one (`pooler`,
`next_sentence`). Only hidden pieces are projected onto the vocabulary.

The loss is the paper's sum of two means, one over hidden pieces, one over pairs of passages. The loop divides one sum
by one count, the hidden pieces. So a pair enters the sum as often as it hides pieces: where all texts are equally long
this is the mean over pairs exactly, else a longer pair counts for more; and a batch can be cut anywhere without
changing the gradient.

Departures: masks are drawn anew whenever a text is seen (Liu et al. 2019) instead of ten times in advance; AdamW
corrects the bias of its moments, which BERT's optimiser does not; `init="waves"` is for runs of few updates, in which
blocks would otherwise not learn where their neighbours are (`docs/systems/bert.md`).
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
    """Everything that decides what the model computes and is scored by."""

    kind: Literal["bert"] = "bert"
    num_tokens: int = Field(default=30_522, ge=6)
    """V, pieces of words and special tokens; a run takes it, and the four places below, from its vocabulary."""
    pad: int = 0
    cls: int = 101
    sep: int = 102
    mask: int = 103
    num_positions: int = 512
    """Longest text, in tokens."""
    num_parts: int = 2
    """Passages that are told apart."""

    dim: int = 768
    """H."""
    num_layers: int = 12
    """L."""
    num_heads: int = 12
    """A."""
    ffn_dim: int = 3072
    gelu: Gelu = "tanh"
    """`tanh`: the approximation that the published models were trained with; `erf`: as transformers computes it."""
    norm_eps: float = 1e-12
    init: Literal["bert", "waves"] = "bert"
    """All weights: N(0, 0.02) cut off at 0.04 as published. `waveforms`: but positions begin as sines and cosines."""
    dropout: float = 0.1
    """Of the embeddings and of what each part of a block adds."""
    attention_dropout: float = 0.1

    hidden_share: float = Field(default=0.15, gt=0, le=1)
    """Of all tokens, [CLS] and [SEP] counted, so many are hidden; at least one."""
    max_hidden: int = Field(default=80, ge=1)
    """At most so many in a text. Paper's code: 20 of 128 tokens, about 80 of 512."""
    replaced_by: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of the hidden tokens that become [MASK], stay as they are, and become any token of the vocabulary."""
    next_weight: float = Field(default=1.0, ge=0)
    """Weight of the second task; 0: none (the paper's "No NSP")."""

    @model_validator(mode="after")
    def _consistent(self) -> "BertConfig":
        if not math.isclose(sum(self.replaced_by), 1) or min(self.replaced_by) < 0:
            raise ValueError(f"replaced_by holds three shares that sum to 1, got {self.replaced_by}")
        if max(self.pad, self.cls, self.sep, self.mask) >= self.num_tokens:
            raise ValueError(f"the special tokens need places below num_tokens, which is {self.num_tokens}")
        return self


class RandomDraws(NamedTuple):
    """All that is random in the objective, but for dropout."""

    ids: Int[Tensor, "batch token"]
    """What the model sees."""
    hidden: Bool[Tensor, "batch token"]
    """Which tokens are to be found."""


class Bert(nn.Module):
    """The system: a `contracts.System`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("predictor", "next_sentence")
    """Parts that only pre-training needs; a model may also come without `pooler`."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.wordpiece: WordPiece | None = None
        """What the tokens stand for; the loss needs none, whoever reads or writes text does."""
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
        """Remove the pooler and the heads of which none of these tensors is a part: some models come without."""
        present = {name.split(".", maxsplit=1)[0] for name in weights}
        for part in ("pooler", *self.OBJECTIVE):
            if part not in present:
                delattr(self, part)

    def context(
        self, ids: Int[Tensor, "batch token"], parts: Int[Tensor, "batch token"], lengths: Int[Tensor, " batch"]
    ) -> list[Tensor]:
        """All layers.

        Args:
            ids: pieces of words, of whatever value in padding.
            parts: passage of each.
            lengths: real tokens of each text.

        Returns:
            "batch token dim" each: the input of the first block, then the output of every block.

        Raises:
            ValueError: a text is longer than there are positions.
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
        """One vector for a text, from the last layer's of [CLS]."""
        return torch.tanh(self.pooler(last[:, 0]))

    def scores(self, vectors: Float[Tensor, "*axes dim"]) -> Float[Tensor, "*axes class"]:
        """Unnormalised log-probabilities of all tokens, from vectors of the last layer."""
        return self.predictor(vectors, self.tokens.weight)  # type: ignore[no-any-return]

    def draw(self, batch: TokenBatch, rng: Rng, device: torch.device) -> RandomDraws:
        """Which tokens are hidden, and by what; from `rng["mask"]` on the host, the same on every device.

        Args:
            batch: texts.
            rng: of this micro-batch.
            device: where the draws are needed.
        """
        c, generator = self.config, Rng(*rng.key)["mask"]
        ids, lengths = batch.ids.cpu(), batch.lengths.cpu()
        candidates = valid(lengths, ids.shape[1]) & (ids != c.cls) & (ids != c.sep)
        # In double, and to the even one of two, as the paper's code rounds.
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
        """Pre-training loss of one micro-batch, summed over hidden tokens.

        Args:
            batch: pairs of passages; its labels say which second ones are from elsewhere.
            step: optimiser update; nothing depends on it.
            rng: of this micro-batch.

        Raises:
            ValueError: the model was read without the heads that pre-training needs.
        """
        del step
        missing = [part for part in ("pooler", *self.OBJECTIVE) if not hasattr(self, part)]
        if missing:
            raise ValueError(
                f"this model has no {', '.join(missing)}, which pre-training needs; it can be fine-tuned, or start "
                "from one with both heads (BertForPreTraining)"
            )
        return self.objective(batch, self.draw(batch, rng, batch.ids.device))

    def objective(self, batch: TokenBatch, draws: RandomDraws) -> LossSum:
        """The loss for given masks.

        Terms, all on the scale of the sum: `mlm`, nats for a hidden token; `correct`, hidden tokens whose likeliest
        answer is right; `chance`, ln V for each; `next`, nats for a pair of passages, and `next_correct`, pairs told
        rightly, each counted as often as it hides tokens.

        Args:
            batch: pairs of passages.
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
    """Sines and cosines of the place (Vaswani et al. 2017, section 3.5), as strong as the embeddings of pieces."""
    rates = torch.exp(-math.log(10_000) * torch.arange(0, dim, 2) / dim)
    angles = torch.arange(num_positions)[:, None] * rates
    return _STD * math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]


class Predictor(nn.Module):
    """From vectors to scores of all tokens; the matrix of the last step is the embedding."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.kind: Gelu = config.gelu
        self.dense = nn.Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.num_tokens))

    def forward(
        self, vectors: Float[Tensor, "*axes dim"], embedding: Float[Tensor, "class dim"]
    ) -> Float[Tensor, "*axes class"]:
        """Unnormalised log-probabilities."""
        return functional.linear(self.norm(gelu(self.dense(vectors), self.kind)), embedding, self.bias)
