"""Transformer blocks over frames, with the normalisation before or after (Vaswani et al. 2017; Baevski et al. 2020)."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from sori.core.shapes import Bool, Float, Tensor
from sori.nn.dropout import Dropout

Gelu = Literal["erf", "tanh"]
"""GELU as it is defined, or the approximation that BERT was trained with (Hendrycks and Gimpel 2016)."""


class Attention(nn.Module):
    """Multi-head self-attention over the real frames of an utterance.

    Args:
        dim: of the frames.
        num_heads: a divisor of dim.
        dropout: of the attention weights.
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
        hidden = None if valid is None else ~valid[:, None, None, :]
        if x.device.type == "cpu" and torch.is_grad_enabled():
            # Torch's fused kernel has a slow backward pass on the CPU (2 to 3 times slower than this, in bfloat16).
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            if hidden is not None:
                scores = scores.masked_fill(hidden, -torch.inf)
            mixed = self.dropout(scores.softmax(-1)) @ v
        else:
            mixed = functional.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=None if hidden is None else ~hidden,
                dropout_p=self.dropout.p if self.training else 0.0,
            )
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Adapter(nn.Module):
    """A narrow network added to what a block returns, so that a language can be learnt with 1 % of the weights.

    Houlsby et al. 2019 (arXiv 1902.00751); in this form in MMS (Pratap et al. 2023, arXiv 2305.13516, section 5.4).

    Args:
        dim: of the frames.
        inner_dim: width between the two layers.
    """

    def __init__(self, dim: int, *, inner_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.reduce = nn.Linear(dim, inner_dim)
        self.expand = nn.Linear(inner_dim, dim)

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """The frames with what the adapter adds."""
        return x + self.expand(functional.relu(self.reduce(self.norm(x))))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a two-layer network, each added to its input.

    Args:
        dim: of the frames.
        num_heads: of the attention.
        ffn_dim: inner width of the network.
        pre_norm: normalise the input of each part (True) or the sum after it (False).
        dropout: of what each part adds.
        attention_dropout: of the attention weights.
        activation_dropout: inside the network.
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

    def forward(
        self, x: Float[Tensor, "batch frame dim"], valid: Bool[Tensor, "batch frame"] | None = None
    ) -> Float[Tensor, "batch frame dim"]:
        """The frames after this block."""
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

    With `pre_norm` a last normalisation follows the last block; else it precedes the first. Weights are drawn from
    N(0, 0.02), biases are 0, as in BERT.

    Args:
        dim: of the frames.
        num_layers: blocks.
        num_heads: of the attention.
        ffn_dim: inner width.
        pre_norm: see `Block`.
        dropout: of the input and of what each part adds.
        attention_dropout: of the attention weights.
        activation_dropout: inside the two-layer networks.
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
        """Every layer, "batch frame dim" each.

        Args:
            x: frames.
            valid: which are real; None: all.
            generator: on the host, for the choice of skipped blocks; needed in training with layerdrop.

        Returns:
            The input of the first block, then the output of each; a skipped block repeats its input.
        """
        x = self.dropout(x if self.pre_norm else self.norm(x))
        layers = [x]
        for block, keep in zip(self.blocks, self._kept(generator), strict=True):
            if keep:
                x = block(x, valid)
            layers.append(x)
        if self.pre_norm:
            layers[-1] = self.norm(x)
        return layers

    def _kept(self, generator: torch.Generator | None) -> list[bool]:
        if not self.training or self.layerdrop == 0:
            return [True] * len(self.blocks)
        if generator is None:
            raise ValueError("in training, layerdrop needs a random generator; call eval() to read features out")
        return (torch.rand(len(self.blocks), generator=generator) >= self.layerdrop).tolist()


def add_adapters(transformer: Transformer, *, inner_dim: int) -> None:
    """An `Adapter` after each block, for models that normalise before each part."""
    for block in transformer.blocks:
        assert isinstance(block, Block)  # noqa: S101 - as made above
        block.adapter = Adapter(block.expand.in_features, inner_dim=inner_dim)


def set_arithmetic(transformer: Transformer, *, norm_eps: float, gelu: Gelu) -> None:
    """Compute as BERT does: another epsilon in every normalisation, another GELU in every block."""
    for module in transformer.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = norm_eps
        elif isinstance(module, Block):
            module.gelu = gelu


def gelu(x: Float[Tensor, "*axes"], kind: Gelu) -> Float[Tensor, "*axes"]:
    """GELU, exact or approximated; the same shape."""
    return functional.gelu(x, approximate="tanh" if kind == "tanh" else "none")


def scale_init(transformer: Transformer) -> None:
    """Draw the weights again, with deviations that fit the width: for narrow models.

    N(0, 0.02) is made for 768 inputs and more. In narrow models it leaves attention almost uniform and GELU almost
    linear, so that the blocks compute next to nothing. Here what enters attention and network has variance 1 / inputs,
    and what leaves them is divided by the square root of the number of parts that are added up (Radford et al. 2019).
    """
    for block in transformer.blocks:
        for name, layer in block.named_modules():
            if isinstance(layer, nn.Linear):
                added = name in ("attention.out", "contract")
                parts = 2 * len(transformer.blocks) if added else 1
                nn.init.normal_(layer.weight, std=(layer.in_features * parts) ** -0.5)
