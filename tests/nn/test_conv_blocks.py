"""Convolutional blocks."""

import pytest
import torch
from torch.nn import functional

from sori.nn.conv_blocks import ConvBlock, ConvBlocks, ConvBlocksConfig


def blocks(**changes):
    settings = {"num_layers": 2, "kernel": 5, "ffn_dim": 12, "dropout": 0.0, "activation_dropout": 0.0} | changes
    return ConvBlocks(6, **settings).double().eval()


def frames(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_a_block_is_what_it_says():
    block, x = ConvBlock(6, kernel=3, ffn_dim=12, dropout=0.0, activation_dropout=0.0).double(), frames(1, 9, 6)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * frames(*parameter.shape))
        value, gate = block.gate(block.conv_norm(x)).chunk(2, dim=-1)
        gated = value / (1 + (-gate).exp())
        mixed = torch.zeros_like(gated)
        for t in range(9):
            for tap in range(3):
                if 0 <= t + tap - 1 < 9:
                    mixed[0, t] += block.depthwise.weight[:, 0, tap] * gated[0, t + tap - 1]
        mixed = block.inner_norm(mixed + block.depthwise.bias)
        expected = x + block.out(mixed / (1 + (-mixed).exp()))
        inner = block.expand(block.ffn_norm(expected))
        expected = expected + block.contract(inner / (1 + (-inner).exp()))
        torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_padding_changes_nothing():
    model, x = blocks(), frames(2, 20, 6)
    valid = torch.arange(20) < torch.tensor([[20], [13]])
    together = model(x, valid)
    alone = model(x[1:, :13])
    assert len(together) == 3
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours[1, :13], theirs[0], rtol=0, atol=1e-12)


def test_a_frame_depends_on_its_neighbourhood_alone():
    model, x = blocks(), frames(1, 30, 6).requires_grad_()
    model(x)[-1][0, 15].sum().backward()
    reached = x.grad[0].abs().sum(-1).nonzero().squeeze(1).tolist()
    assert reached == list(range(11, 20))  # two blocks of two frames on either side


def test_the_last_layer_is_normalised():
    model = blocks()
    top = model(frames(1, 8, 6))[-1]
    torch.testing.assert_close(top, functional.layer_norm(top, (6,)), rtol=0, atol=1e-4)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"must be odd.*got 14"):
        ConvBlocksConfig(kernel=14)
