import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sori.nn import conv as module
from sori.nn.conv import ConvConfig, PositionalConv, WaveformConv, normalize_waveform, scale_gradient
from sori.nn.lengths import valid

NARROW = {"group": ConvConfig(dim=8), "layer": ConvConfig(dim=8, norm="layer", bias=True, normalize=True)}


@pytest.fixture(params=NARROW)
def front(request) -> WaveformConv:
    torch.manual_seed(0)
    front = WaveformConv(NARROW[request.param])
    with torch.no_grad():
        for norm in front.norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
    return front


def by_torch(front: WaveformConv, waveform: torch.Tensor) -> torch.Tensor:
    """The same front end, written with torch's own layers in their own layout."""
    x = waveform.unsqueeze(1)
    for i, conv in enumerate(front.convs):
        x = functional.conv1d(x, conv.weight, conv.bias, stride=front.config.strides[i])
        if front.config.norm == "layer":
            norm = front.norms[i]
            x = functional.layer_norm(x.transpose(1, 2), (8,), norm.weight, norm.bias).transpose(1, 2)
        elif i == 0:
            x = functional.group_norm(x, 8, front.norms[0].weight, front.norms[0].bias)
        x = functional.gelu(x)
    return x.transpose(1, 2)


def test_values_and_gradients_are_those_of_torch(front):
    waveform = torch.randn(3, 2001)
    x = functional.layer_norm(waveform, (2001,)) if front.config.normalize else waveform
    ours, theirs = front(waveform, torch.tensor([2001] * 3)).data, by_torch(front, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * weight).sum(), list(front.parameters())) for y in (ours, theirs)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_strong_low_frequency_is_normalised_exactly():
    """Where the first layer suppresses low frequencies, almost none of the variance remains."""
    torch.manual_seed(0)
    front = WaveformConv(ConvConfig(dim=64))
    seconds = torch.arange(16_000) / 16_000
    waveform = 0.3 * torch.sin(2 * math.pi * 110 * seconds) + 0.0005 * torch.randn(16_000)
    weight = front.convs[0].weight[:, 0]
    with torch.no_grad():
        weight -= weight.mean(1, keepdim=True)
        exact = functional.conv1d(waveform.double()[None, None], weight.double()[:, None], stride=5)
        exact = functional.group_norm(exact, 64).transpose(1, 2).float()
        inputs, scaled, bias = front.first_product(waveform[None])
        torch.testing.assert_close(torch.baddbmm(bias, inputs, scaled.mT), exact, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (719, 1), (720, 2), (1040, 3), (16000, 49), (48000, 149)])
def test_number_of_frames_of_a_waveform(front, samples, frames):
    out = front(torch.randn(1, samples), torch.tensor([samples]))
    assert out.data.shape == (1, frames, 8)
    assert out.lengths.tolist() == [frames]


def test_first_frame_sees_samples_0_to_399():
    front = WaveformConv(NARROW["layer"].model_copy(update={"normalize": False}))
    waveform = torch.randn(1, 2000, requires_grad=True)
    front(waveform, torch.tensor([2000])).data[0, 0].square().sum().backward()
    seen = waveform.grad[0].nonzero().flatten()
    assert (seen.min(), seen.max()) == (0, 399)
    assert (front.field_samples, front.hop_samples) == (400, 320)


def test_padding_changes_nothing(front):
    lengths = torch.tensor([3000, 1700, 400])
    waveform = torch.randn(3, 3000) + 0.3
    for row, length in zip(waveform, lengths, strict=True):
        row[length:] = 0
    together = front(waveform, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = front(waveform[i : i + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together.data[i, : together.lengths[i]], alone.data[0], rtol=0, atol=1e-5)


def test_a_batch_of_different_lengths_is_that_of_each_alone(front, monkeypatch):
    """As on a GPU; padding is loud, so that it would be noticed."""
    lengths = torch.tensor([3000, 1700, 405, 400])
    waveform = torch.randn(4, 3000) + 0.3
    loud = torch.where(valid(lengths, 3000), waveform, 5.0)
    rows = zip(waveform, lengths.tolist(), strict=True)
    alone = [front(row[None, :length], torch.tensor([length])).data[0] for row, length in rows]
    monkeypatch.setattr(module, "ONE_BY_ONE", ())
    together = front(loud, lengths)
    assert together.lengths.tolist() == [len(one) for one in alone]
    assert together.data.isfinite().all()
    real = valid(together.lengths, together.data.shape[1])
    found, expected = together.data[real], torch.cat(alone)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((y * weight).sum(), list(front.parameters())) for y in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_a_gpu_gives_the_values_of_the_cpu(front):
    lengths = torch.tensor([3000, 1700, 400])
    waveform = torch.where(valid(lengths, 3000), torch.randn(3, 3000), 0)
    expected = front(waveform, lengths)
    found = front.cuda()(waveform.cuda(), lengths.cuda())
    real = valid(expected.lengths, expected.data.shape[1])
    torch.testing.assert_close(found.data.cpu()[real], expected.data[real], rtol=1e-4, atol=1e-4)


def test_group_norm_would_mix_padding_into_every_frame():
    """The reason why the statistics are those of the real frames."""
    front = WaveformConv(NARROW["group"])
    waveform = torch.randn(1, 1700)
    padded = functional.pad(waveform, (0, 1300))
    difference = front(padded, torch.tensor([3000])).data[:, :5] - front(waveform, torch.tensor([1700])).data
    assert difference.abs().max() > 0.1


def test_too_short_input_is_refused(front):
    with pytest.raises(ValueError, match="399 samples is shorter than one frame"):
        front(torch.randn(2, 800), torch.tensor([800, 399]))


def test_normalised_waveform():
    waveform = torch.randn(2, 900) * 0.1 + 5
    waveform[1, 500:] = 0
    out = normalize_waveform(waveform, torch.tensor([900, 500]))
    torch.testing.assert_close(out[1, :500], functional.layer_norm(waveform[1, :500], (500,)), rtol=1e-4, atol=1e-4)
    assert (out[1, 500:] == 0).all()
    assert out[0].mean().abs() < 1e-4


@pytest.mark.parametrize("kernel", [7, 8])
@pytest.mark.parametrize("frames", [3, 20])
def test_positions_by_loops(kernel, frames):
    torch.manual_seed(0)
    conv = PositionalConv(6, kernel=kernel, num_groups=3)
    with torch.no_grad():
        conv.gain.mul_(torch.rand(1, 1, kernel))
        conv.bias.normal_()
    x = torch.randn(1, frames, 6)
    direction = conv.direction.detach().double()
    expected = torch.zeros(frames, 6, dtype=torch.float64)
    for t in range(frames):
        for out in range(6):
            total = conv.bias[out].detach().double()
            for tap in range(kernel):
                source = t + tap - kernel // 2
                if 0 <= source < frames:
                    scale = conv.gain[0, 0, tap].detach().double() / math.sqrt(direction[:, :, tap].square().sum())
                    first = 2 * (out // 2)
                    total = total + scale * (direction[out, :, tap] * x[0, source, first : first + 2]).sum()
            expected[t, out] = total
    torch.testing.assert_close(conv(x)[0], functional.gelu(expected).float(), rtol=1e-5, atol=1e-5)


def test_positions_are_those_of_torchs_weight_norm():
    torch.manual_seed(0)
    ours = PositionalConv(12, kernel=16, num_groups=4)
    theirs = nn.Conv1d(12, 12, 16, padding=8, groups=4)
    with torch.no_grad():
        theirs.weight.copy_(ours.direction)
        theirs.bias.copy_(ours.bias)
    theirs = nn.utils.parametrizations.weight_norm(theirs, dim=2)
    x = torch.randn(2, 40, 12)
    a, b = ours(x), functional.gelu(theirs(x.transpose(1, 2))[..., :-1]).transpose(1, 2)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    a.square().sum().backward()
    b.square().sum().backward()
    weight = theirs.parametrizations.weight
    torch.testing.assert_close(ours.gain.grad, weight.original0.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.direction.grad, weight.original1.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0])
def test_scale_gradient_scales_the_gradient_alone(scale):
    x = torch.randn(5, requires_grad=True)
    y = scale_gradient(x, scale)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert torch.equal(x.grad, 2 * x * scale)
