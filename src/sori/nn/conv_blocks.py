"""Blocks of gated depthwise convolution and feed-forward network: a Transformer's stack, but local.

A network of this size has to learn from minutes of transcripts that speech is local; here its structure says so.
Convolution module: Gulati et al. 2020 (Conformer, arXiv 2005.08100, section 2.2), without attention beside it.
"""

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from sori.core.config import Config
from sori.core.shapes import Bool, Float, Tensor
from sori.nn.dropout import Dropout


class ConvBlocksConfig(Config):
    """Settings of the convolution in each block; width and number of blocks are those of the encoder."""

    kernel: int = Field(default=15, ge=1, le=1001)
    """Number of frames, odd."""

    @model_validator(mode="after")
    def _odd(self) -> "ConvBlocksConfig":
        if self.kernel % 2 == 0:
            raise ValueError(f"conv_blocks.kernel must be odd, so that it has a frame in the middle, got {self.kernel}")
        return self


class ConvBlock(nn.Module):
    """A gated depthwise convolution and a two-layer feed-forward network, each with a residual connection.

    Args:
        dim: width of the frames.
        kernel: number of frames of the convolution, odd.
        ffn_dim: inner width of the feed-forward network.
        dropout: dropout rate of the output of each part.
        activation_dropout: dropout rate inside the feed-forward network.
    """

    def __init__(self, dim: int, *, kernel: int, ffn_dim: int, dropout: float, activation_dropout: float) -> None:
        super().__init__()
        self.conv_norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, ffn_dim)
        self.contract = nn.Linear(ffn_dim, dim)
        self.dropout = Dropout(dropout)
        self.activation_dropout = Dropout(activation_dropout)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], valid: Bool[Tensor, "batch frame"] | None = None
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames after this block; `valid` None: all frames are real."""
        gated = functional.glu(self.gate(self.conv_norm(x)))
        if valid is not None:
            gated = gated.masked_fill(~valid.unsqueeze(-1), 0)
        x = x + self.dropout(self.out(functional.silu(self.inner_norm(self._mix(gated)))))
        inner = self.activation_dropout(functional.silu(self.expand(self.ffn_norm(x))))
        return x + self.dropout(self.contract(inner))  # type: ignore[no-any-return]

    def _mix(self, frames: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        # As an image of height 1: a CPU computes conv1d ten times as slowly, because it transposes the frames.
        image, weight = frames.transpose(1, 2).unsqueeze(2), self.depthwise.weight.unsqueeze(2)
        padding = (0, weight.shape[3] // 2)
        mixed = functional.conv2d(image, weight, self.depthwise.bias, padding=padding, groups=frames.shape[2])
        return mixed.squeeze(2).transpose(1, 2)


class ConvBlocks(nn.Module):
    """A stack of `ConvBlock`; called as `transformer.Transformer` and with the same layers.

    Args:
        dim: width of the frames.
        num_layers: number of blocks.
        kernel: number of frames of the convolutions, odd.
        ffn_dim: inner width of the feed-forward networks.
        dropout: dropout rate of the input and of the output of each part.
        activation_dropout: dropout rate inside the feed-forward networks.
    """

    def __init__(
        self, dim: int, *, num_layers: int, kernel: int, ffn_dim: int, dropout: float, activation_dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            ConvBlock(dim, kernel=kernel, ffn_dim=ffn_dim, dropout=dropout, activation_dropout=activation_dropout)
            for _ in range(num_layers)
        )

    def forward(
        self,
        x: Float[Tensor, "batch frame dim"],
        valid: Bool[Tensor, "batch frame"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Return every layer, "batch frame dim" each: the input, then the output of each block, the last normalised.

        Args:
            x: frames.
            valid: True where a frame is real; None: all are.
            generator: not used; no block is skipped.
        """
        return self.upper(self.lower(x, valid, num_blocks=0), valid, first=0, generator=generator)

    def lower(
        self, x: Float[Tensor, "batch frame dim"], valid: Bool[Tensor, "batch frame"] | None, *, num_blocks: int
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames after the lowest `num_blocks` blocks; 0: the input of the first."""
        x = self.dropout(x)
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
        del generator
        layers = [x]
        for block in self.blocks[first:]:
            x = block(x, valid)
            layers.append(x)
        layers[-1] = self.norm(x)
        return layers
