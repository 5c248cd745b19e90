import pytest
import torch

from sori.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fraction_scale_and_gradient(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(201, 501, dtype=dtype, requires_grad=True)
    y = Dropout(p)(x)
    dropped = y == 0
    assert dropped.float().mean().item() == pytest.approx(p, abs=0.006)  # 4 standard deviations at p = 0.5
    torch.testing.assert_close(y[~dropped], torch.full_like(y[~dropped], 1 / (1 - p)), rtol=5e-3, atol=0)
    y.sum().backward()
    assert torch.equal(x.grad, y)


def test_neighbours_use_one_draw_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(40_000, 4)) == 0).float()
    correlation = torch.corrcoef(dropped.T) - torch.eye(4)
    assert correlation.abs().max() < 0.02


def test_odd_sizes_and_the_global_generator():
    drop = Dropout(0.3)
    for size in (1, 2, 3, 5, 7):
        torch.manual_seed(size)
        first = drop(torch.ones(size))
        torch.manual_seed(size)
        assert torch.equal(drop(torch.ones(size)), first)
        assert first.shape == (size,)


def test_nothing_happens_in_evaluation_or_at_zero():
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
