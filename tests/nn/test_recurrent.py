import pytest
import torch

from sori.nn.recurrent import Recurrent

KINDS = pytest.mark.parametrize("kind", ["gru", "lstm"])


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def by_steps(layer, x, suffix=""):
    """Compute frame by frame, by the equations in torch's documentation."""
    w, u, b, v = (getattr(layer, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h = cell = torch.zeros(u.shape[1], dtype=x.dtype)
    states = []
    for frame in x:
        a, r = w @ frame + b, u @ h + v
        if isinstance(layer, torch.nn.GRU):
            (ar, az, an), (rr, rz, rn) = a.chunk(3), r.chunk(3)
            z = sigmoid(az + rz)
            h = (1 - z) * torch.tanh(an + sigmoid(ar + rr) * rn) + z * h
        else:
            i, f, g, o = (a + r).chunk(4)
            cell = sigmoid(f) * cell + sigmoid(i) * torch.tanh(g)
            h = sigmoid(o) * torch.tanh(cell)
        states.append(h)
    return torch.stack(states)


@KINDS
@torch.no_grad()
def test_both_directions_frame_by_frame(kind):
    model = Recurrent(3, 4, kind=kind, bidirectional=True).double()
    x, lengths = torch.randn(2, 6, 3, dtype=torch.float64), torch.tensor([6, 4])
    (found,) = model(x, lengths)
    assert found.shape == (2, 6, 8)
    assert model.dim == 8
    for row, length in enumerate(lengths.tolist()):
        there = by_steps(model.layers[0], x[row, :length])
        back = by_steps(model.layers[0], x[row, :length].flip(0), "_reverse").flip(0)
        torch.testing.assert_close(found[row, :length], torch.cat([there, back], dim=1), rtol=0, atol=1e-10)
        assert (found[row, length:] == 0).all()


@KINDS
def test_layers_read_each_other(kind):
    model = Recurrent(3, 4, kind=kind, num_layers=2)
    x, lengths = torch.randn(2, 5, 3), torch.tensor([5, 5])
    first, second = model(x, lengths)
    torch.testing.assert_close(second[0], by_steps(model.layers[1], first[0]))


@KINDS
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(kind, bidirectional):
    model = Recurrent(3, 4, kind=kind, num_layers=2, bidirectional=bidirectional)
    x, lengths = torch.randn(3, 9, 3), torch.tensor([9, 2, 5])
    together = model(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(x[row : row + 1, :length], lengths[row : row + 1])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[row, :length], b[0], rtol=0, atol=1e-6)
            assert (a[row, length:] == 0).all()


@KINDS
def test_one_direction_sees_the_past_only_and_two_see_all(kind):
    for bidirectional in (False, True):
        model = Recurrent(3, 4, kind=kind, num_layers=2, bidirectional=bidirectional)
        x = torch.randn(1, 8, 3, requires_grad=True)
        model(x, torch.tensor([8]))[-1][0, 3].sum().backward()
        seen = x.grad[0].abs().sum(1) > 0
        assert seen.tolist() == [bidirectional or frame <= 3 for frame in range(8)]


def test_half_precision_does_not_reach_the_recurrence():
    model = Recurrent(3, 4, kind="gru")
    x, lengths = torch.randn(1, 8, 3), torch.tensor([8])
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x, lengths)[0]
    assert torch.equal(rough, model(x, lengths)[0])
