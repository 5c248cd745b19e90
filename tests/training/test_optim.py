import math

import pytest
import torch
from torch import nn

from sori.training.optim import OptimConfig, make_optimizer, scale_and_clip, set_lr


def net() -> nn.Module:
    return nn.ModuleDict(
        {"encoder": nn.ModuleDict({"1": nn.Linear(2, 2), "10": nn.Linear(2, 2)}), "head": nn.Linear(2, 1)}
    )


def test_updates_match_the_formula_of_adamw():
    config = OptimConfig(lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2)
    system = nn.Linear(1, 1, bias=False).double()
    optimizer = make_optimizer(system, config)
    weight, first, second = system.weight.item(), 0.0, 0.0
    for step, gradient in enumerate([0.5, -2.0, 0.1], 1):
        system.weight.grad = torch.tensor([[gradient]], dtype=torch.float64)
        optimizer.step()
        weight -= 0.1 * 0.2 * weight
        first = 0.8 * first + 0.2 * gradient
        second = 0.9 * second + 0.1 * gradient**2
        weight -= 0.1 * (first / (1 - 0.8**step)) / (math.sqrt(second / (1 - 0.9**step)) + 1e-3)
        assert system.weight.item() == pytest.approx(weight, rel=1e-10)


def test_the_longest_prefix_is_used_and_ends_at_a_dot():
    system = net()
    optimizer = make_optimizer(system, OptimConfig(lr=1.0), lr_factors={"encoder": 0.1, "encoder.1": 0.01})
    set_lr(optimizer, 0.5)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert rates["encoder.1.weight"] == rates["encoder.1.bias"] == 0.005
    assert rates["encoder.10.weight"] == 0.05
    assert rates["head.bias"] == 0.5
    assert len(rates) == 6


def test_frozen_parameters_are_left_out():
    system = net()
    system["encoder"].requires_grad_(False)
    optimizer = make_optimizer(system, OptimConfig())
    assert [name for group in optimizer.param_groups for name in group["names"]] == ["head.weight", "head.bias"]


def test_misspelt_prefixes_and_systems_without_parameters_are_refused():
    with pytest.raises(ValueError, match=r"'encodr'.*encoder, head"):
        make_optimizer(net(), OptimConfig(), lr_factors={"encodr": 0.1})
    with pytest.raises(ValueError, match="all are frozen"):
        make_optimizer(net().requires_grad_(False), OptimConfig())


@pytest.mark.parametrize("max_norm", [None, 1.0, 100.0])
def test_gradients_are_scaled_measured_and_clipped(max_norm):
    system = net()
    gradients = [torch.randn_like(p) for p in system.parameters()]
    for parameter, gradient in zip(list(system.parameters())[1:], gradients[1:], strict=True):
        parameter.grad = gradient.clone()
    expected = math.sqrt(sum(float((0.5 * g).double().square().sum()) for g in gradients[1:]))
    norm = scale_and_clip(system, scale=0.5, max_norm=max_norm)
    assert norm == pytest.approx(expected)
    factor = 0.5 * (max_norm / expected if max_norm is not None and max_norm < expected else 1)
    for parameter, gradient in zip(list(system.parameters())[1:], gradients[1:], strict=True):
        torch.testing.assert_close(parameter.grad, factor * gradient)
    assert next(system.parameters()).grad is None


def test_infinite_gradients_give_an_infinite_norm():
    system = nn.Linear(1, 1)
    system.weight.grad = torch.tensor([[math.inf]])
    assert not math.isfinite(scale_and_clip(system, scale=1.0, max_norm=1.0))


def test_biases_and_norms_can_be_excluded_from_decay():
    system = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    excluded = make_optimizer(system, OptimConfig(lr=0.1, weight_decay=0.5, decay_vectors=False))
    assert {n: group["weight_decay"] for group in excluded.param_groups for n in group["names"]} == {
        "0.weight": 0.5,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }
    (all_decayed,) = make_optimizer(system, OptimConfig(weight_decay=0.5)).param_groups
    assert all_decayed["weight_decay"] == 0.5
