import pytest
import torch
from torch import nn

from sori.training.optim import OptimConfig, make_optimizer, set_lr


def test_updates_of_a_scalar_match_hand_calculation():
    """g = 0.5 + 0.1 * 2 = 0.7, r = 0.01 * 2 / 0.7, v = 3 * r * g = 0.06; then with momentum."""
    system = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(system.weight, 2.0)
    config = OptimConfig(kind="lars", lr=1.0, momentum=0.9, trust=0.01, weight_decay=0.1)
    optimizer = make_optimizer(system, config)
    set_lr(optimizer, 3.0)
    system.weight.grad = torch.tensor([[0.5]], dtype=torch.float64)
    optimizer.step()
    assert system.weight.item() == pytest.approx(2 - 0.06, rel=1e-12)
    set_lr(optimizer, 1.0)
    optimizer.step()
    assert system.weight.item() == pytest.approx(1.94 - (0.9 * 0.06 + 0.01 * 1.94), rel=1e-12)


def test_the_norm_of_the_gradient_does_not_matter():
    weights = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        system = nn.Linear(3, 2, bias=False).double()
        optimizer = make_optimizer(system, OptimConfig(kind="lars", lr=1.0, weight_decay=0.0))
        system.weight.grad = scale * torch.ones_like(system.weight)
        optimizer.step()
        weights.append(system.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])


def test_biases_and_norms_get_plain_steps_without_decay():
    system = nn.LayerNorm(2)
    optimizer = make_optimizer(system, OptimConfig(kind="lars", lr=0.1, weight_decay=0.5))
    for p in system.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    torch.testing.assert_close(system.weight.detach(), torch.tensor([0.9, 0.9]))
    torch.testing.assert_close(system.bias.detach(), torch.tensor([-0.1, -0.1]))


def test_tensors_of_norm_zero_are_updated():
    system = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(system.weight)
    optimizer = make_optimizer(system, OptimConfig(kind="lars", lr=0.1, weight_decay=0.0))
    system.weight.grad = torch.ones_like(system.weight)
    optimizer.step()
    torch.testing.assert_close(system.weight.detach(), torch.full((2, 2), -0.1))
