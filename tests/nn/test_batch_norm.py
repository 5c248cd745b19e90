import pytest
import torch
from torch import nn

from sori.core import distributed
from sori.nn.batch_norm import BatchNorm


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 2)])
def test_values_and_gradients_are_those_of_torch(shape):
    theirs = nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4)
    ours = BatchNorm(4)
    for step in range(3):
        x = 2 + torch.randn(shape, generator=torch.Generator().manual_seed(step))
        torch.testing.assert_close(ours(x), theirs(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys() - {"num_batches_tracked"}
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_without_shift_the_mean_stays_0():
    norm = BatchNorm(4, shift=False, first_scale=3.0)
    y = norm(2 + torch.randn(50, 4))
    torch.testing.assert_close(y.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.std(0, correction=0), torch.full((4,), 3.0), rtol=1e-4, atol=0)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


def test_it_is_computed_in_float32_under_autocast():
    x = torch.randn(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert BatchNorm(4)(x.bfloat16()).dtype == torch.float32


def test_the_path_over_processes_gives_the_same(monkeypatch):
    """Values of one of two processes that have the same rows."""
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    alone, two = BatchNorm(4).double(), BatchNorm(4).double()
    expected = alone(torch.cat([x, x]))[:6]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce_sum", lambda value: 2 * value)
    torch.testing.assert_close(two(x), expected)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(two.get_buffer(name), alone.get_buffer(name))
