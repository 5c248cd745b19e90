import pytest
import torch
from torch.nn import functional

from sori.nn.clip_norm import ClipConv, ClipNorm


def waveforms(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.randn(len(lengths), max(lengths), 1, generator=generator)
    for row, length in zip(waveform, lengths, strict=True):
        row[length:] = 0
    return waveform, torch.tensor(lengths)


@pytest.mark.parametrize("num_groups", [1, 3])
def test_statistics_by_loops(num_groups):
    norm = ClipNorm(6, num_groups=num_groups).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x, lengths = torch.randn(2, 6, 9, dtype=torch.float64), [9, 4]
    found = norm(x, torch.tensor(lengths))
    size = 6 // num_groups
    for row, length in enumerate(lengths):
        for group in range(num_groups):
            part = x[row, group * size : (group + 1) * size, :length]
            values = [float(v) for v in part.flatten()]
            mean = sum(values) / len(values)
            variance = sum((v - mean) ** 2 for v in values) / len(values)
            for channel in range(size):
                c = group * size + channel
                expected = (part[channel] - mean) / (variance + 1e-5) ** 0.5 * norm.weight[c] + norm.bias[c]
                torch.testing.assert_close(found[row, c, :length], expected, rtol=0, atol=1e-12)


def test_without_padding_it_is_group_norm_and_both_paths_agree():
    norm, x = ClipNorm(6, num_groups=2), torch.randn(3, 6, 50)
    plain = norm(x, None)
    assert torch.equal(plain, functional.group_norm(x, 2, norm.weight, norm.bias))
    torch.testing.assert_close(norm(x, torch.tensor([50, 50, 50])), plain, rtol=1e-5, atol=1e-6)


def test_equal_lengths_take_the_fast_path(monkeypatch):
    conv = ClipConv(1, 8, kernels=(10, 3), strides=(5, 2))
    seen = []
    forward = ClipNorm.forward
    monkeypatch.setattr(ClipNorm, "forward", lambda self, x, lengths: seen.append(lengths) or forward(self, x, lengths))
    conv(*waveforms([400, 400]))
    conv(*waveforms([400, 300]))
    assert seen[:2] == [None, None]
    assert [lengths.tolist() for lengths in seen[2:]] == [[79, 59], [39, 29]]


def test_padding_changes_neither_values_nor_gradients():
    conv = ClipConv(1, 8, kernels=(10, 3, 1), strides=(5, 2, 1))
    waveform, lengths = waveforms([900, 500, 333])
    together, frame_lengths = conv(waveform, lengths)
    real = torch.arange(together.shape[1]) < frame_lengths[:, None]
    (together[real] ** 2).sum().backward()
    padded = [p.grad.clone() for p in conv.parameters()]
    conv.zero_grad()
    for row, length in enumerate(lengths.tolist()):
        alone = conv(waveform[row : row + 1, :length], lengths[row : row + 1])
        assert int(alone.lengths) == int(frame_lengths[row])
        torch.testing.assert_close(together[row, : int(alone.lengths)], alone.data[0], rtol=1e-5, atol=1e-5)
        (alone.data**2).sum().backward()
    for p, expected in zip(conv.parameters(), padded, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-4, atol=1e-3)


def test_layers_by_hand():
    conv = ClipConv(1, 4, kernels=(10, 3), strides=(5, 2), log_compression=False)
    waveform, lengths = waveforms([120, 120])
    x = waveform.transpose(1, 2)
    for layer, norm, stride in zip(conv.convs, conv.norms, (5, 2), strict=True):
        assert layer.bias is None
        x = functional.conv1d(x, layer.weight, stride=stride)
        x = functional.relu(functional.group_norm(x, 1, norm.weight, norm.bias))
    torch.testing.assert_close(conv(waveform, lengths).data, x.transpose(1, 2))
    conv.log_compression = True
    torch.testing.assert_close(conv(waveform, lengths).data, torch.log(1 + x.transpose(1, 2)))
    assert (conv(waveform, lengths).data >= 0).all()
    conv.activation = "gelu"
    assert (conv(waveform, lengths).data >= 0).all()


def test_loudness_is_removed():
    conv = ClipConv(1, 8, kernels=(10,), strides=(5,))
    waveform, lengths = waveforms([4000])
    torch.testing.assert_close(conv(50 * waveform, lengths).data, conv(waveform, lengths).data, rtol=1e-3, atol=1e-3)


def test_statistics_are_float32_under_autocast():
    norm, x = ClipNorm(8), 100 + torch.randn(2, 8, 100)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x, None)
    assert out.dtype == torch.float32
    assert torch.equal(out, norm(x, None))


def test_less_than_a_frame_is_refused():
    with pytest.raises(ValueError, match="9 samples is shorter than one frame"):
        ClipConv(1, 8, kernels=(10,), strides=(5,))(*waveforms([9]))
