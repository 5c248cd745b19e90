"""Recognisers whose matrix products are of 8-bit integers, on processors with instructions for these.

Weights have one scale for each output, activations one for each row (`nn/eight_bit_rows.py`), as in Yao et al. 2022
(ZeroQuant, arXiv 2206.01861). In integers are the linear layers of the Transformer's blocks and the convolutions over
the waveform except the first, which has one channel. Positions, softmax, normalisations and the output layer are as
they are otherwise.
"""

import torch
from torch import nn
from torch.nn import functional

from sori.core.precision import has_bfloat16, has_int8
from sori.core.shapes import Bool, Float, Frames, Int, Tensor
from sori.models.ctc import Ctc
from sori.models.factory import System, encoder_of
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.conv import PositionalConv, WaveformConv, normalize_waveform
from sori.nn.eight_bit_rows import LARGEST, Norm, Rows, add_norm, empty, gelu_windows, quantise, to_bfloat16
from sori.nn.lengths import num_frames
from sori.nn.transformer import Block, Transformer

_TILE = 512
"""Windows of the first convolution computed at a time, so that its output stays in the processor's cache."""


def is_supported(model: System) -> bool:
    """Return whether a model has layers for which this is made: a recogniser with wav2vec 2.0's Transformer."""
    if not isinstance(model, Ctc):
        return False
    encoder = encoder_of(model)
    if not isinstance(encoder, Wav2Vec2) or not isinstance(encoder.transformer, Transformer):
        return False
    return all(isinstance(block, Block) and block.gelu == "erf" for block in encoder.transformer.blocks)


def convert(model: System) -> None:
    """Replace the layers of a recogniser in place by their 8-bit counterparts; it can then only transcribe.

    Raises:
        ValueError: the processor has no such instructions, or the model no such layers.
    """
    device = next(model.parameters()).device
    if not has_int8(device):
        raise ValueError(
            f"expected a processor with AVX-512 VNNI or AMX for 8-bit integers, got {device.type} without, which would "
            "take longer than in float32; use --precision auto or float32"
        )
    if not is_supported(model):
        raise ValueError(
            "expected a recogniser with the Transformer of wav2vec 2.0 (base, large, xlsr_300m and the like) for 8-bit "
            "integers, got a model without, for whose layers integers are not implemented: use --precision auto"
        )
    assert isinstance(model, Ctc)  # noqa: S101 - checked above
    encoder = encoder_of(model)
    assert isinstance(encoder, Wav2Vec2)  # noqa: S101 - checked above
    assert isinstance(encoder.transformer, Transformer)  # noqa: S101 - checked above
    dtype = torch.bfloat16 if has_bfloat16(device) else torch.float32
    if isinstance(encoder.front, WaveformConv) and len(encoder.front.convs) > 1:
        setattr(encoder, "front", EightBitFront(encoder.front))  # noqa: B010 - not a `Front`, but used like one
    if isinstance(encoder.positions, PositionalConv):
        encoder.positions.fold(dtype)
    for i, block in enumerate(encoder.transformer.blocks):
        assert isinstance(block, Block)  # noqa: S101 - checked above
        encoder.transformer.blocks[i] = EightBitBlock(block, dtype)
    model.precision = "int8"


class EightBitLinear(nn.Module):
    """Product of rows of 8-bit integers with 8-bit weights, which are buffers: they are not trained, and not saved.

    Args:
        weight: `out in` float32.
        bias: ` out`; None: zeros.
    """

    bias: Tensor
    scales: Tensor
    zeros: Tensor
    packed: Tensor
    """The integers, in the layout of oneDNN."""

    def __init__(self, weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None) -> None:
        super().__init__()
        weight = weight.detach().float()
        scales = weight.abs().amax(1).clamp(min=1e-30) / LARGEST
        integers = (weight / scales[:, None]).round().to(torch.int8)
        buffers = {
            "bias": torch.zeros(len(weight)) if bias is None else bias.detach().float(),
            "scales": scales,
            "zeros": torch.zeros(len(weight), dtype=torch.int32),
            "packed": torch.ops.onednn.qlinear_prepack(integers, None),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def sums(self, rows: Rows) -> Float[Tensor, "row out"]:
        """Return the product without bias and without the scales of the rows."""
        made = torch.ops.onednn.qlinear_pointwise(
            rows.values, 1.0, 0, self.packed, self.scales, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        assert isinstance(made, Tensor)  # noqa: S101 - as documented
        return made

    def forward(self, rows: Rows) -> Float[Tensor, "row out"]:
        """Return the product."""
        return torch.addcmul(self.bias, self.sums(rows), rows.scales[:, None])


class EightBitFront(nn.Module):
    """The convolutions of `WaveformConv` in 8-bit integers; each utterance is computed by itself."""

    def __init__(self, front: WaveformConv) -> None:
        super().__init__()
        self.config, self.dim = front.config, front.dim
        self.field_samples, self.hop_samples = front.field_samples, front.hop_samples
        convs = list(front.convs)
        self._products = [
            EightBitLinear(conv.get_parameter("weight").transpose(1, 2).flatten(1), getattr(conv, "bias", None))
            for conv in convs[1:]
        ]
        self.registered = nn.ModuleList(self._products)  # so that their weights are found
        self._norms = [None] * len(convs) if front.config.norm == "group" else list(front.norms)
        front.convs = nn.ModuleList(convs[:1])  # the others are packed
        self.first = front

    def forward(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the vectors of the last layer, as `WaveformConv` does.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        frame_lengths = num_frames(lengths, field_samples=self.field_samples, hop_samples=self.hop_samples)
        with torch.autocast("cpu", enabled=False):
            if self.config.normalize:
                waveform = normalize_waveform(waveform, lengths, floor=self.config.normalize_floor)
            alone = [self._frames(row[:length]) for row, length in zip(waveform, lengths.tolist(), strict=True)]
        return Frames(nn.utils.rnn.pad_sequence(alone, batch_first=True), frame_lengths)

    def _frames(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        kernels, strides = self.config.kernels, self.config.strides
        rows = self._first_rows(waveform)
        for i, product in enumerate(self._products[:-1], start=1):
            sums, norm = product.sums(rows), Norm.of(self._norms[i])
            rows = gelu_windows(sums, rows.scales, product.bias, norm, taps=kernels[i + 1], stride=strides[i + 1])
        last, norm_layer = self._products[-1](rows), self._norms[-1]
        return functional.gelu(last if norm_layer is None else norm_layer(last))

    def _first_rows(self, waveform: Float[Tensor, " sample"]) -> Rows:
        """Return the windows of the first layer's output."""
        inputs, weight, bias = self.first.first_product(waveform[None])
        taps, stride = self.config.kernels[1], self.config.strides[1]
        num_windows = (inputs.shape[1] - taps) // stride + 1
        rows, ones, norm = empty(num_windows, taps * self.dim), torch.ones(inputs.shape[1]), Norm.of(self._norms[0])
        transposed = weight[0].T
        for first in range(0, num_windows, _TILE):
            last = min(first + _TILE, num_windows)
            frames = inputs[0, first * stride : (last - 1) * stride + taps] @ transposed
            into = Rows(rows.values[first:last], rows.scales[first:last])
            gelu_windows(frames, ones[: len(frames)], bias, norm, taps=taps, stride=stride, into=into)
        return rows


class EightBitBlock(nn.Module):
    """A `transformer.Block` whose linear layers are in 8-bit integers, without dropout.

    Args:
        block: the block, which it takes over.
        dtype: type of the attention weights.
    """

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        super().__init__()
        self.pre_norm, self.num_heads, self._dtype = block.pre_norm, block.attention.num_heads, dtype
        self.attention_norm, self.ffn_norm, self.adapter = block.attention_norm, block.ffn_norm, block.adapter
        layers = (block.attention.qkv, block.attention.out, block.expand, block.contract)
        self._qkv, self._out, self._expand, self._contract = (
            EightBitLinear(layer.weight, layer.bias) for layer in layers
        )

    def forward(
        self,
        x: Float[Tensor, "batch frame dim"],
        valid: Bool[Tensor, "batch frame"] | None = None,
        *,
        skip: bool = False,  # noqa: ARG002 - the interface of `Block`, where training sets it
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames after this block."""
        with torch.autocast("cpu", enabled=False):
            x = x.float().contiguous()
            flat = x.flatten(0, 1)
            normed = self.attention_norm(flat) if self.pre_norm else flat
            mixed = quantise(self._attention(quantise(normed), x.shape[:2], valid))
            norm = self.attention_norm if not self.pre_norm else self.ffn_norm
            sums, bias = self._out.sums(mixed), self._out.bias
            kept, rows = add_norm(flat, sums, mixed.scales, bias, Norm.of(norm), keep_sum=self.pre_norm)
            inner = gelu_windows(self._expand.sums(rows), rows.scales, self._expand.bias, Norm.of(None))
            kept.add_(self._contract(inner))
            flat = kept if self.pre_norm else self.ffn_norm(kept)
        return self.adapter(flat.view_as(x))  # type: ignore[no-any-return]

    def _attention(self, rows: Rows, shape: torch.Size, valid: Tensor | None) -> Float[Tensor, "row dim"]:
        sums, bias = self._qkv.sums(rows), self._qkv.bias
        if self._dtype is torch.bfloat16:
            qkv = to_bfloat16(sums, rows.scales, bias)
        else:
            qkv = torch.addcmul(bias, sums, rows.scales[:, None])
        q, k, v = qkv.view(*shape, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if valid is None else valid[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return mixed.transpose(1, 2).flatten(2).flatten(0, 1).float()
