"""When processes share the weights of a system, and what a block does then; several processes: `test_several.py`."""

import pytest
import torch
from torch import nn

from sori.core import distributed
from sori.nn.transformer import Block
from sori.training.processes import SHARDED_FROM, is_sharded


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)


def system(size, *, trainable=True):
    made = nn.Module()
    made.weight = nn.Parameter(torch.empty(size, device="meta"), requires_grad=trainable)
    return made


def test_one_process_shares_nothing():
    assert not is_sharded(system(SHARDED_FROM), True, optimizer="adamw")


@pytest.mark.usefixtures("two_processes")
def test_large_systems_are_shared_and_small_ones_on_request():
    assert is_sharded(system(SHARDED_FROM), "auto", optimizer="adamw")
    assert not is_sharded(system(SHARDED_FROM - 1), "auto", optimizer="adamw")
    assert not is_sharded(system(SHARDED_FROM, trainable=False), "auto", optimizer="adamw")
    assert not is_sharded(system(SHARDED_FROM), False, optimizer="adamw")
    assert is_sharded(system(1), True, optimizer="adamw")


@pytest.mark.usefixtures("two_processes")
def test_lars_needs_whole_tensors():
    assert not is_sharded(system(SHARDED_FROM), "auto", optimizer="lars")
    with pytest.raises(ValueError, match=r"expected optim.kind adamw.*got lars.*train.shard to false"):
        is_sharded(system(1), True, optimizer="lars")


def block(**settings):
    torch.manual_seed(0)
    rates = {"dropout": 0.3, "attention_dropout": 0.3, "activation_dropout": 0.3}
    made = Block(8, num_heads=2, ffn_dim=16, pre_norm=True, **rates)
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def test_a_block_that_is_computed_again_has_the_same_gradients_and_keeps_less():
    found, kept = [], []
    for recompute in (False, True):
        made, x = block(recompute=recompute), torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
        kept.append(0)

        def pack(tensor):
            kept[-1] += tensor.numel()
            return tensor

        torch.manual_seed(2)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = made(x.requires_grad_())
        y.square().sum().backward()
        found.append([y.detach(), x.grad, *(parameter.grad for parameter in made.parameters())])
    for plain, again in zip(*found, strict=True):
        assert torch.equal(plain, again)
    assert kept[1] < kept[0] / 3


def test_a_skipped_block_changes_nothing_and_gives_zero_gradients():
    made, x = block(), torch.randn(2, 5, 8, requires_grad=True)
    state = torch.get_rng_state()
    y = made(x, skip=True)
    y.sum().backward()
    assert torch.equal(y, x)
    assert torch.equal(x.grad, torch.ones_like(x))
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in made.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert not made.is_used
    made(x)
    assert made.is_used
