import pytest
import torch
from torch import nn

from sori.training.muon import orthogonal
from sori.training.optim import OptimConfig, make_optimizer, set_lr


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"wide": nn.Linear(8, 5), "square": nn.Linear(8, 8)}) for _ in range(2)
        )


CONFIG = OptimConfig(kind="muon", lr=0.1, momentum=0.9, weight_decay=0.2, max_norm=None)


def with_gradients(net: nn.Module, *, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return net


def test_matrices_of_the_blocks_are_updated_as_by_torch_muon_and_the_rest_as_by_adamw():
    torch.manual_seed(0)
    ours, reference = Net(), Net()
    reference.load_state_dict(ours.state_dict())
    optimizer = make_optimizer(ours, CONFIG)
    matrices = [p for p in reference.blocks.parameters() if p.ndim == 2]
    others = [p for p in reference.parameters() if all(p is not m for m in matrices)]
    options = {"lr": 0.1, "weight_decay": 0.2}
    muon = torch.optim.Muon(matrices, momentum=0.9, adjust_lr_fn="match_rms_adamw", **options)
    adamw = torch.optim.AdamW(others, betas=CONFIG.betas, eps=CONFIG.eps, **options)
    for step in range(4):
        with_gradients(ours, seed=step)
        with_gradients(reference, seed=step)
        optimizer.step()
        muon.step()
        adamw.step()
    for (name, found), expected in zip(ours.named_parameters(), reference.parameters(), strict=True):
        exact = found.ndim == 1 or name.startswith("front")
        # Rounding to bfloat16, here and there in another order, in steps of 0.2 * sqrt(8) * 0.1 at most.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 if exact else 4e-3)


@pytest.mark.parametrize("shape", [(3, 20, 7), (2, 7, 20), (1, 16, 16)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonal(matrices).float()
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    changed = left.mT @ found @ right.mT
    diagonal = changed.diagonal(dim1=1, dim2=2)
    clear = values > 0.05 * values.amax(dim=1, keepdim=True)
    assert diagonal[clear].min() > 0.6
    assert diagonal[clear].max() < 1.3
    assert (changed - torch.diag_embed(diagonal)).abs().max() < 0.05


def test_the_scale_of_the_gradient_does_not_matter():
    weights = []
    for scale in (1.0, 1e-5):
        torch.manual_seed(0)
        net = with_gradients(Net(), seed=0)
        for parameter in net.parameters():
            parameter.grad *= scale
        make_optimizer(net, CONFIG).step()
        weights.append(net.blocks[0]["wide"].weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=2e-3)


def test_learning_rate_factors_are_those_of_adamw():
    torch.manual_seed(0)
    net = with_gradients(Net(), seed=0)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = make_optimizer(net, CONFIG, lr_factors={"blocks.0": 0.0})
    set_lr(optimizer, 0.3)
    optimizer.step()
    changed = {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name in before if not name.startswith("blocks.0")}


def test_parameters_without_gradient_stay():
    net = with_gradients(Net(), seed=0)
    weight = net.blocks[1]["square"].weight
    weight.grad = None
    before = weight.detach().clone()
    make_optimizer(net, CONFIG).step()
    assert torch.equal(weight, before)


def test_a_system_without_trained_blocks_is_updated_by_adamw_and_says_so(caplog):
    caplog.set_level("INFO", logger="sori")
    weights = []
    for config in (CONFIG, CONFIG.model_copy(update={"kind": "adamw"})):
        torch.manual_seed(0)
        net = Net()
        net.blocks.requires_grad_(False)
        optimizer = make_optimizer(net, config)
        with_gradients(net.front, seed=0)
        optimizer.step()
        weights.append(net.front.weight.detach())
    assert torch.equal(*weights)
    assert caplog.messages == ["optim.kind muon: no blocks are trained here, so AdamW updates all parameters"]
