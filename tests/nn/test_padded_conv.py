import pytest
import torch
from torch import nn
from torch.nn import functional

from sori.nn.padded_conv import BatchNorm, ChannelNorm, PaddedConv, PaddedConvConfig

NORMS = pytest.mark.parametrize("norm", ["channel", "batch"])


def model(norm="channel", dim=8):
    return PaddedConv(PaddedConvConfig(norm=norm, dim=dim))


def by_torch(front, waveform):
    """The stack as published, with torch's own convolutions in the layout of channels first."""
    x = waveform[:, None]
    for conv, norm, padding in zip(front.convs, front.norms, front.config.paddings, strict=True):
        x = functional.conv1d(x, conv.weight, conv.bias, stride=conv.stride, padding=padding)
        if isinstance(norm, ChannelNorm):
            mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True)
            x = (x - mean) * torch.rsqrt(variance + 1e-5) * norm.weight[:, None] + norm.bias[:, None]
        else:
            theirs = nn.BatchNorm1d(x.shape[1]).to(x.dtype).train(front.training)
            theirs.load_state_dict(
                {
                    "weight": norm.weight,
                    "bias": norm.bias,
                    "running_mean": norm.running_mean,
                    "running_var": norm.running_variance,
                    "num_batches_tracked": torch.tensor(0),
                }
            )
            x = theirs(x)
        x = x.relu()
    return x.transpose(1, 2)


@NORMS
@pytest.mark.parametrize("training", [True, False])
def test_the_same_as_torch(norm, training):
    front = model(norm).double().train(training)
    for layer in front.norms:
        nn.init.normal_(layer.weight, mean=1.0)
        nn.init.normal_(layer.bias)
        if norm == "batch":
            layer.running_mean.normal_()
            layer.running_variance.uniform_(0.5, 2)
    waveform = torch.randn(2, 3000, dtype=torch.float64)
    expected = by_torch(front, waveform)  # first: training moves the running statistics
    found = front(waveform, torch.tensor([3000, 3000])).data
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_a_window_of_the_paper_has_128_frames_and_its_field_is_465_samples():
    front = model()
    assert (front.hop_samples, front.left_samples, front.field_samples) == (160, 153, 465 - 2 * 153)
    assert front(torch.randn(1, 20_480), torch.tensor([20_480])).data.shape[1] == 128


@pytest.mark.parametrize("num_samples", [159, 160, 318, 319, 479, 3000, 3039, 3040, 20_480])
def test_frames_are_counted_as_convolutions_make_them(num_samples):
    front = model()
    frames = front(torch.randn(1, num_samples), torch.tensor([num_samples]))
    assert frames.data.shape[1] == int(frames.lengths) == by_torch(front, torch.randn(1, num_samples)).shape[1]


def test_too_short_input_is_refused():
    with pytest.raises(ValueError, match="158 samples is shorter than one frame, which needs 159"):
        model()(torch.randn(1, 158), torch.tensor([158]))


@pytest.mark.parametrize("frame", [0, 1, 7, 18])
def test_frame_t_sees_samples_from_160_t_minus_153_to_160_t_plus_311(frame):
    waveform = torch.randn(1, 3200, dtype=torch.float64, requires_grad=True)
    model(dim=32).double()(waveform, torch.tensor([3200])).data[0, frame].square().sum().backward()
    seen = waveform.grad[0].nonzero().flatten()
    assert int(seen[0]) == max(0, 160 * frame - 153)
    assert int(seen[-1]) == min(3199, 160 * frame + 311)


@NORMS
def test_padding_changes_nothing(norm):
    front = model(norm).eval()
    lengths = torch.tensor([3000, 159, 1777])
    waveform = torch.randn(3, 3500)  # noise in place of silence after the ends
    together = front(waveform, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = front(waveform[row : row + 1, :length], lengths[row : row + 1])
        count = int(alone.lengths)
        assert count == int(together.lengths[row])
        torch.testing.assert_close(together.data[row, :count], alone.data[0], rtol=0, atol=1e-5)
        assert (together.data[row, count:] == 0).all()


def test_statistics_are_of_real_frames_only():
    norm, x = BatchNorm(4), torch.randn(2, 6, 4)
    real = torch.arange(6) < torch.tensor([[6], [3]])
    y = norm(x, real)
    torch.testing.assert_close(y[real], functional.batch_norm(x[real], None, None, training=True))
    assert (y[~real] == 0).all()
    torch.testing.assert_close(norm.running_mean, 0.1 * x[real].mean(0))
    torch.testing.assert_close(norm.running_variance, 0.9 + 0.1 * x[real].var(0))


def test_a_frozen_front_end_keeps_its_statistics():
    norm, x = BatchNorm(4).train(), torch.randn(2, 6, 4)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), x * (1 + 1e-5) ** -0.5)
    assert (norm.running_mean == 0).all()


def test_channel_norm_has_the_unbiased_variance():
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    expected = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(ChannelNorm(5, affine=False)(x), expected, rtol=0, atol=1e-12)
    biased = functional.layer_norm(x, (5,), eps=0)
    torch.testing.assert_close(expected, biased * (4 / 5) ** 0.5, rtol=1e-3, atol=1e-3)
