"""The blocks of an encoder, of attention or of convolution, by its settings."""

from typing import Literal, Protocol, runtime_checkable

from sori.nn.conv_blocks import ConvBlocks, ConvBlocksConfig
from sori.nn.transformer import Transformer, add_adapters, scale_init


@runtime_checkable
class BlockSettings(Protocol):
    """Settings of the blocks, as `wav2vec2.Wav2Vec2Config` has and describes them."""

    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def conv_blocks(self) -> ConvBlocksConfig | None: ...  # noqa: D102
    @property
    def num_layers(self) -> int: ...  # noqa: D102
    @property
    def num_heads(self) -> int: ...  # noqa: D102
    @property
    def ffn_dim(self) -> int: ...  # noqa: D102
    @property
    def pre_norm(self) -> bool: ...  # noqa: D102
    @property
    def adapter_dim(self) -> int: ...  # noqa: D102
    @property
    def init(self) -> Literal["bert", "width"]: ...  # noqa: D102
    @property
    def dropout(self) -> float: ...  # noqa: D102
    @property
    def attention_dropout(self) -> float: ...  # noqa: D102
    @property
    def activation_dropout(self) -> float: ...  # noqa: D102
    @property
    def layerdrop(self) -> float: ...  # noqa: D102


def build(settings: BlockSettings) -> Transformer | ConvBlocks:
    """Build randomly initialised blocks."""
    if settings.conv_blocks is not None:
        return ConvBlocks(
            settings.dim,
            num_layers=settings.num_layers,
            kernel=settings.conv_blocks.kernel,
            ffn_dim=settings.ffn_dim,
            dropout=settings.dropout,
            activation_dropout=settings.activation_dropout,
        )
    transformer = Transformer(
        settings.dim,
        num_layers=settings.num_layers,
        num_heads=settings.num_heads,
        ffn_dim=settings.ffn_dim,
        pre_norm=settings.pre_norm,
        dropout=settings.dropout,
        attention_dropout=settings.attention_dropout,
        activation_dropout=settings.activation_dropout,
        layerdrop=settings.layerdrop,
    )
    if settings.adapter_dim:
        add_adapters(transformer, inner_dim=settings.adapter_dim)
    if settings.init == "width":
        scale_init(transformer)
    return transformer
