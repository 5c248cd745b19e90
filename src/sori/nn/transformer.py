"""Transformer blocks over frames, with the normalisation before or after (Vaswani et al. 2017; Baevski et al. 2020)."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sori.core.shapes import Bool, Float, Tensor
from sori.nn.dropout import Dropout

Gelu = Literal["erf", "tanh"]
"""Exact GELU, or the approximation that BERT was trained with (Hendrycks and Gimpel 2016)."""


class Attention(nn.Module):
    """Multi-head self-attention over the real frames of an utterance.

    Args:
        dim: width of the frames.
        num_heads: number of heads, a divisor of dim.
        dropout: dropout rate of the attention weights.
    """

    def __init__(self, dim: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} cannot be divided into {num_heads} heads")
        self.num_heads = num_heads
        self.dropout = Dropout(dropout)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], valid: Bool[Tensor, "batch frame"] | None = None
    ) -> Float[Tensor, "batch frame dim"]:
        """Mix frames by softmax(q k / sqrt(dim / num_heads)); `valid` None: all frames are real."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        padding = None if valid is None else ~valid[:, None, None, :]
        if x.device.type == "cpu" and torch.is_grad_enabled():
            # Torch's fused kernel has a slow backward pass on the CPU (2 to 3 times slower than this, in bfloat16).
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            if padding is not None:
                scores = scores.masked_fill(padding, -torch.inf)
            mixed = self.dropout(scores.softmax(-1)) @ v
        else:
            mixed = functional.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=None if padding is None else ~padding,
                dropout_p=self.dropout.p if self.training else 0.0,
            )
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Adapter(nn.Module):
    """Bottleneck network added to the output of a block, to train a language with 1 % of the weights.

    Houlsby et al. 2019 (arXiv 1902.00751); in this form in MMS (Pratap et al. 2023, arXiv 2305.13516, section 5.4).

    Args:
        dim: width of the frames.
        inner_dim: width between the two layers.
    """

    def __init__(self, dim: int, *, inner_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.reduce = nn.Linear(dim, inner_dim)
        self.expand = nn.Linear(inner_dim, dim)

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return the frames plus the output of the adapter network."""
        return x + self.expand(functional.relu(self.reduce(self.norm(x))))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a two-layer feed-forward network, each with a residual connection.

    Args:
        dim: width of the frames.
        num_heads: number of attention heads.
        ffn_dim: inner width of the feed-forward network.
        pre_norm: whether to normalise the input of each part (True) or the sum after it (False).
        dropout: dropout rate of the output of each part.
        attention_dropout: dropout rate of the attention weights.
        activation_dropout: dropout rate inside the feed-forward network.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        ffn_dim: int,
        pre_norm: bool,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(dim, num_heads=num_heads, dropout=attention_dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, ffn_dim)
        self.contract = nn.Linear(ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.activation_dropout = Dropout(activation_dropout)
        self.adapter: nn.Module = nn.Identity()
        self.gelu: Gelu = "erf"
        self.recompute = False
        """Whether to compute the block again in the backward pass instead of keeping what is inside it."""
        self.is_used = False
        """Whether the block has been computed since this was last set to False."""

    def forward(
        self,
        x: Float[Tensor, "batch frame dim"],
        valid: Bool[Tensor, "batch frame"] | None = None,
        *,
        skip: bool = False,
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames after this block; with `skip` the frames, with zero gradients for all weights."""
        if skip:
            return x + 0 * sum(parameter.sum() for parameter in self.parameters()).to(x.dtype)  # type: ignore[union-attr]
        self.is_used = True
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._compute, x, valid, use_reentrant=False)  # type: ignore[no-any-return]
        return self._compute(x, valid)

    def _compute(
        self, x: Float[Tensor, "batch frame dim"], valid: Bool[Tensor, "batch frame"] | None
    ) -> Float[Tensor, "batch frame dim"]:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), valid))
            x = x + self._feed_forward(self.ffn_norm(x))
        else:
            x = self.attention_norm(x + self.dropout(self.attention(x, valid)))
            x = self.ffn_norm(x + self._feed_forward(x))
        return self.adapter(x)  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor) -> Tensor:
        inner = self.activation_dropout(gelu(self.expand(x), self.gelu))
        return self.dropout(self.contract(inner))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A stack of blocks; returns the frames before the first and after each one.

    With `pre_norm` a final normalisation follows the last block; else one precedes the first. Weights are initialised
    from N(0, 0.02) and biases with 0, as in BERT.

    Args:
        dim: width of the frames.
        num_layers: number of blocks.
        num_heads: number of attention heads.
        ffn_dim: inner width of the feed-forward networks.
        pre_norm: see `Block`.
        dropout: dropout rate of the input and of the output of each part.
        attention_dropout: dropout rate of the attention weights.
        activation_dropout: dropout rate inside the feed-forward networks.
        layerdrop: probability that a block is skipped in training (Fan et al. 2019).
    """

    def __init__(
        self,
        dim: int,
        *,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        pre_norm: bool,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
        layerdrop: float,
    ) -> None:
        super().__init__()
        self.pre_norm, self.layerdrop = pre_norm, layerdrop
        self.in_step = False
        """Whether skipped blocks still take part in what processes exchange for each block (see `Block.forward`)."""
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                num_heads=num_heads,
                ffn_dim=ffn_dim,
                pre_norm=pre_norm,
                dropout=dropout,
                attention_dropout=attention_dropout,
                activation_dropout=activation_dropout,
            )
            for _ in range(num_layers)
        )
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        x: Float[Tensor, "batch frame dim"],
        valid: Bool[Tensor, "batch frame"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Return every layer, "batch frame dim" each.

        Args:
            x: frames.
            valid: True where a frame is real; None: all are.
            generator: random generator on the host, for the skipped blocks; required in training with layerdrop.

        Returns:
            The input of the first block, then the output of each; a skipped block repeats its input.
        """
        return self.upper(self.lower(x, valid, num_blocks=0), valid, first=0, generator=generator)

    def lower(
        self, x: Float[Tensor, "batch frame dim"], valid: Bool[Tensor, "batch frame"] | None, *, num_blocks: int
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames after the lowest `num_blocks` blocks (0: the input of the first), none of them skipped."""
        x = self.dropout(x if self.pre_norm else self.norm(x))
        for block in self.blocks[:num_blocks]:
            x = block(x, valid)
        return x

    def upper(
        self,
        x: Float[Tensor, "batch frame dim"],
        valid: Bool[Tensor, "batch frame"] | None,
        *,
        first: int,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Return the input of block number `first`, which `lower` computes, and the output of each from there on."""
        layers = [x]
        for block, keep in list(zip(self.blocks, self._kept(generator), strict=True))[first:]:
            if keep:
                x = block(x, valid)
            elif self.in_step:
                x = block(x, valid, skip=True)
            layers.append(x)
        if self.pre_norm:
            layers[-1] = self.norm(x)
        return layers

    def _kept(self, generator: torch.Generator | None) -> list[bool]:
        if not self.training or self.layerdrop == 0:
            return [True] * len(self.blocks)
        if generator is None:
            raise ValueError("layerdrop needs a random generator in training; call eval() first to extract features")
        return (torch.rand(len(self.blocks), generator=generator) >= self.layerdrop).tolist()


def add_adapters(transformer: Transformer, *, inner_dim: int) -> None:
    """Add an `Adapter` after each block, for models with `pre_norm`."""
    for block in transformer.blocks:
        assert isinstance(block, Block)  # noqa: S101 - as made above
        block.adapter = Adapter(block.expand.in_features, inner_dim=inner_dim)


def set_arithmetic(transformer: Transformer, *, norm_eps: float, gelu: Gelu) -> None:
    """Set the epsilon of every normalisation and the GELU of every block, for example to those of BERT."""
    for module in transformer.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = norm_eps
        elif isinstance(module, Block):
            module.gelu = gelu


def gelu(x: Float[Tensor, "*axes"], kind: Gelu) -> Float[Tensor, "*axes"]:
    """Apply the exact or the approximate GELU; same shape."""
    return functional.gelu(x, approximate="tanh" if kind == "tanh" else "none")


def scale_init(transformer: Transformer) -> None:
    """Reinitialise the weights with standard deviations that fit the width of narrow models.

    N(0, 0.02) suits 768 inputs and more. In narrow models it leaves attention almost uniform and GELU almost linear, so
    that the blocks have almost no effect. Here the input weights of attention and network have variance 1 / inputs, and
    the output weights are divided by the square root of the number of residual parts (Radford et al. 2019).
    """
    for block in transformer.blocks:
        for name, layer in block.named_modules():
            if isinstance(layer, nn.Linear):
                added = name in ("attention.out", "contract")
                parts = 2 * len(transformer.blocks) if added else 1
                nn.init.normal_(layer.weight, std=(layer.in_features * parts) ** -0.5)
