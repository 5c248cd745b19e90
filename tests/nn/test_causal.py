import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sori.nn.causal import CausalConv, StepPredictors


def without_norms(conv: CausalConv) -> CausalConv:
    for i in range(len(conv.norms)):
        conv.norms[i] = Through()
    return conv


class Through(nn.Module):
    def forward(self, x, _lengths):
        return x


@pytest.mark.parametrize("skip", [False, True])
def test_no_frame_sees_a_later_one_and_each_sees_its_whole_past(skip):
    conv = without_norms(CausalConv(4, kernels=(2, 3, 4), skip=skip)).double()
    x = torch.randn(1, 20, 4, dtype=torch.float64, requires_grad=True)
    # strictly increasing in place of ReLU, whose zeros would hide what is seen
    conv.activation = "gelu"
    out = conv(x, torch.tensor([20]))[-1]
    (gradient,) = torch.autograd.grad(out[0, 12].sum(), x)
    seen = gradient[0].abs().sum(1) > 0
    assert not seen[13:].any()
    assert seen[12 - 6 : 13].all()  # taps less one of all layers: 1 + 2 + 3
    assert not seen[: 12 - 6].any()


@pytest.mark.parametrize("skip", [False, True])
def test_layers_by_hand(skip):
    conv = CausalConv(4, kernels=(2, 5), skip=skip)
    x = torch.randn(2, 11, 4)
    outputs = conv(x, torch.tensor([11, 11]))
    y = x.transpose(1, 2)
    for layer, norm, kernel, output in zip(conv.convs, conv.norms, (2, 5), outputs, strict=True):
        before = y
        first = torch.stack([y[:, :, 0]] * (kernel - 1), dim=2)
        y = functional.conv1d(torch.cat([first, y], 2), layer.weight, layer.bias)
        y = functional.relu(functional.group_norm(y, 1, norm.weight, norm.bias))
        y = (y + before) * math.sqrt(0.5) if skip else y
        torch.testing.assert_close(output, y.transpose(1, 2))


def test_padding_changes_nothing():
    conv = CausalConv(4, kernels=(2, 3), skip=True)
    x, lengths = torch.randn(2, 30, 4), torch.tensor([30, 17])
    together = conv(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = conv(x[row : row + 1, :length], lengths[row : row + 1])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[row, :length], b[0], rtol=1e-5, atol=1e-5)


def test_heads_are_one_linear_layer_with_a_tied_bias():
    predictors, c = StepPredictors(6, num_steps=4), torch.randn(2, 7, 6)
    found = predictors(c)
    linear = nn.Linear(6, 24)
    with torch.no_grad():
        linear.weight.copy_(predictors.weight.reshape(24, 6))
        linear.bias.copy_(predictors.bias.repeat(4))
    torch.testing.assert_close(found, linear(c).view(2, 7, 4, 6))
    # the reference's transposed convolution over a dummy axis: weight "in out 1 step"
    weight = predictors.weight.permute(2, 1, 0).unsqueeze(2)
    picture = functional.conv_transpose2d(c.transpose(1, 2).unsqueeze(-1), weight, predictors.bias)
    torch.testing.assert_close(found, picture.permute(0, 2, 3, 1))


def test_heads_are_drawn_as_a_transposed_convolution():
    ours, theirs = StepPredictors(64, num_steps=12), nn.ConvTranspose2d(64, 64, (1, 12))
    for name in ("weight", "bias"):
        a, b = getattr(ours, name).detach(), getattr(theirs, name).detach()
        assert float(a.abs().max()) == pytest.approx(float(b.abs().max()), rel=0.1)
    assert float(ours.weight.detach().std()) == pytest.approx(float(theirs.weight.detach().std()), rel=0.02)
