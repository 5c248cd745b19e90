"""The front end of convolutions over log-mel windows."""

import numpy as np
import pytest
import torch

from sori.nn.mel_conv import MelConv, MelConvConfig
from sori.nn.spectral import LogMel, LogMelConfig


def front(stack=2, *, num_mels=10, channels=3, dim=7):
    windows = LogMelConfig(stack=stack, num_mels=num_mels)
    return MelConv(MelConvConfig(windows=windows, num_channels=channels, dim=dim)).double()


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def convolved(x, weight, bias, strides):
    """A 3x3 convolution with a margin of zeros, by definition; x: channel, window, band."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    num = [(size - 3) // stride + 1 for size, stride in zip(x.shape[1:], strides, strict=True)]
    out = np.zeros((len(weight), *num))
    for o, i, j in np.ndindex(*out.shape):
        patch = x[:, i * strides[0] : i * strides[0] + 3, j * strides[1] : j * strides[1] + 3]
        out[o, i, j] = max(0, (patch * weight[o]).sum() + bias[o])
    return out


@pytest.mark.parametrize(("stack", "strides"), [(1, (1, 1)), (2, (2, 1)), (4, (2, 2))])
def test_it_is_two_convolutions_and_a_linear_layer(stack, strides):
    model, waveform = front(stack), noise(1, 3000)
    lengths = torch.tensor([3000])
    stacked = LogMel(model.config.windows).double()(waveform, lengths).data[0]
    x = stacked.reshape(len(stacked) * stack, -1).numpy()[None]
    for conv, stride in zip(model.convs, strides, strict=True):
        x = convolved(x, conv.weight.detach().numpy(), conv.bias.detach().numpy(), (stride, 2))
    expected = x.transpose(1, 2, 0).reshape(len(stacked), -1) @ model.out.weight.detach().numpy().T
    np.testing.assert_allclose(
        model(waveform, lengths).data[0].detach().numpy(), expected + model.out.bias.detach().numpy(), atol=1e-9
    )


@pytest.mark.parametrize("stack", [1, 2, 4])
def test_padding_changes_nothing(stack):
    model, waveform = front(stack), noise(2, 4000)
    lengths = torch.tensor([4000, 2100])
    together, alone = model(waveform, lengths), model(waveform[1:, :2100], lengths[1:])
    num = int(alone.lengths)
    assert together.lengths.tolist()[1] == num
    torch.testing.assert_close(together.data[1, :num], alone.data[0], rtol=0, atol=1e-9)


def test_hidden_bands_are_not_seen():
    model, lengths = front(), torch.tensor([3000])
    first, second = noise(2, 3000)
    every = torch.ones(1, 10, dtype=torch.bool)
    seen = [model(x[None], lengths, bands=every).data for x in (first, second)]
    assert torch.equal(*seen)
    half = torch.arange(10)[None] < 5
    assert not torch.equal(model(first[None], lengths, bands=half).data, model(first[None], lengths).data)


def test_a_factor_that_two_strides_cannot_give_is_refused():
    with pytest.raises(ValueError, match=r"windows\.stack must be 1, 2 or 4.*got 3"):
        MelConvConfig(windows=LogMelConfig(stack=3))
