"""Rows of 8-bit integers against the same arithmetic in torch, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sori.nn.eight_bit_rows import Norm, Rows, add_norm, gelu_windows, quantise, to_bfloat16

GELU_ERROR = 4.2e-5 * 20
"""Of the approximation, for values up to 20."""


def values_of(rows: Rows) -> torch.Tensor:
    return rows.values.double() * rows.scales[:, None].double()


def assert_rounded(rows: Rows, exact: torch.Tensor, *, error: float = 0.0) -> None:
    """Every value is the nearest multiple of the scale of its row, which is the largest value divided by 127."""
    largest = exact.abs().amax(1)
    torch.testing.assert_close(rows.scales.double(), largest / 127, rtol=1e-5, atol=error)
    half = rows.scales[:, None] / 2 * 1.0001
    assert ((values_of(rows) - exact).abs() <= half + error + 1e-6 * largest[:, None]).all()


def draws(num_rows: int = 37, dim: int = 50):
    """Return a product, the scales of its rows and a bias, which are of different sizes."""
    generator = torch.Generator().manual_seed(0)
    sums = torch.randn(num_rows, dim, generator=generator) * 20
    return sums, torch.rand(num_rows, generator=generator) * 0.2, torch.randn(dim, generator=generator)


def norm_layer(dim: int) -> nn.LayerNorm:
    layer = nn.LayerNorm(dim, eps=1e-3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def exact_norm(x: torch.Tensor, layer: nn.LayerNorm | None) -> torch.Tensor:
    if layer is None:
        return x
    return functional.layer_norm(x, x.shape[-1:], layer.weight.double(), layer.bias.double(), layer.eps).detach()


def test_values_are_rounded_to_the_scale_of_their_row():
    x = torch.randn(20, 33) * torch.logspace(-6, 6, 20)[:, None]
    rows = quantise(x)
    assert_rounded(rows, x.double())
    assert rows.values.abs().amax(1).tolist() == [127] * 20


def test_a_row_of_zeros_stays_zero_and_one_with_nan_shows_it():
    x = torch.zeros(2, 8)
    x[1, 3] = torch.nan
    values = values_of(quantise(x))
    assert values[0].tolist() == [0] * 8
    assert values[1].isnan().all()


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize(("taps", "stride"), [(1, 1), (2, 2), (3, 2), (3, 1), (2, 3)])
def test_windows_of_gelu(taps, stride, normalised):
    sums, scales, bias = draws()
    layer = norm_layer(50) if normalised else None
    rows = gelu_windows(sums, scales, bias, Norm.of(layer), taps=taps, stride=stride)
    frames = exact_norm(sums.double() * scales[:, None].double() + bias.double(), layer)
    exact = functional.gelu(frames).unfold(0, taps, stride).transpose(1, 2).flatten(1)
    assert_rounded(rows, exact, error=GELU_ERROR)


def test_gelu_is_as_close_as_stated():
    x = torch.linspace(-6, 6, 4001)
    # One value in each row: its scale is its absolute value, so that nothing is lost by rounding.
    rows = gelu_windows(x[:, None].contiguous(), torch.ones(len(x)), torch.zeros(1), Norm.of(None))
    error = (values_of(rows)[:, 0] - functional.gelu(x.double())).abs()
    assert (error / x.abs().clamp(min=1)).max() < 4.2e-5
    assert error[x.abs() < 4].max() < 4.2e-5


@pytest.mark.parametrize("keep_sum", [False, True])
def test_sum_and_normalisation(keep_sum):
    sums, scales, bias = draws()
    x, layer = torch.randn(37, 50), norm_layer(50)
    out, rows = add_norm(x, sums, scales, bias, Norm.of(layer), keep_sum=keep_sum)
    total = x.double() + sums.double() * scales[:, None].double() + bias.double()
    normed = exact_norm(total, layer)
    torch.testing.assert_close(out.double(), total if keep_sum else normed, rtol=1e-5, atol=1e-5)
    assert_rounded(rows, normed, error=1e-5)


def test_bfloat16_is_rounded_like_torch():
    x = torch.randn(16, 40)
    x[0, :3] = torch.tensor([1.00390625, 1.01171875, -1.00390625])  # between two numbers: the even one
    assert torch.equal(to_bfloat16(x, torch.ones(16), torch.zeros(40)), x.bfloat16())
    sums, scales, bias = draws()
    exact = (sums.double() * scales[:, None] + bias).float()
    torch.testing.assert_close(to_bfloat16(sums, scales, bias).float(), exact, rtol=2**-8, atol=1e-4)


def test_no_row_changes_another():
    sums, scales, bias = draws()
    alone = gelu_windows(sums[10:20], scales[10:20], bias, Norm.of(None))
    together = gelu_windows(sums, scales, bias, Norm.of(None))
    assert torch.equal(alone.values, together.values[10:20])
    assert torch.equal(alone.scales, together.scales[10:20])
