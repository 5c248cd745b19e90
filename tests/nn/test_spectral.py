import cmath
import math

import pytest
import torch

from sori.nn.spectral import (
    Cepstrum,
    CepstrumConfig,
    LogMel,
    LogMelConfig,
    cosine_transform,
    delta,
    mel_filters,
    normalize,
    stretch,
)


def by_loops(samples: list[float], start: int, num_mels: int) -> list[float]:
    """One window in float64: pre-emphasis, Hann, discrete Fourier transform, triangles, logarithm."""
    window = []
    for n in range(400):
        i = start + n
        emphasised = samples[i] - (0.97 * samples[i - 1] if i else 0.0)
        window.append(emphasised * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)))
    power = [
        abs(sum(x * cmath.exp(-2j * math.pi * k * n / 512) for n, x in enumerate(window))) ** 2 for k in range(257)
    ]

    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    step = (mel(7600) - mel(60)) / (num_mels + 1)
    edges = [700 * (10 ** ((mel(60) + j * step) / 2595) - 1) for j in range(num_mels + 2)]
    bands = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        energy = 0.0
        for k, value in enumerate(power):
            hertz = k * 16000 / 512
            if low < hertz <= middle:
                energy += value * (hertz - low) / (middle - low)
            elif middle < hertz < high:
                energy += value * (high - hertz) / (high - middle)
        bands.append(math.log(energy + 1e-6))
    return bands


def test_log_mel_by_loops():
    torch.manual_seed(0)
    waveform = torch.randn(800) * 0.1
    out = LogMel(LogMelConfig(num_mels=20)).log_mel(waveform[None])[0]
    assert out.shape == (3, 20)
    for index in (0, 2):
        expected = torch.tensor(by_loops(waveform.double().tolist(), 160 * index, 20))
        torch.testing.assert_close(out[index], expected, rtol=1e-4, atol=1e-4)


def test_a_tone_is_strongest_in_its_own_filter():
    time = torch.arange(8000) / 16000
    for hertz in (200.0, 1000.0, 5000.0):
        waveform = torch.sin(2 * math.pi * hertz * time)[None]
        best = LogMel(LogMelConfig()).log_mel(waveform)[0, 10].argmax()
        assert abs(int(best) - int(mel_filters(80)[round(hertz * 512 / 16000)].argmax())) <= 1


@pytest.mark.parametrize(("stack", "field", "hop"), [(1, 400, 160), (2, 560, 320), (4, 880, 640)])
def test_frames_are_whole_windows(stack, field, hop):
    front = LogMel(LogMelConfig(stack=stack))
    assert (front.field_samples, front.hop_samples, front.dim) == (field, hop, 80 * stack)
    for samples in (field, field + hop - 1, field + hop, 16000):
        out = front(torch.randn(1, samples), torch.tensor([samples]))
        assert out.data.shape == (1, (samples - field) // hop + 1, 80 * stack)
    with pytest.raises(ValueError, match="shorter than one frame"):
        front(torch.randn(1, field), torch.tensor([field - 1]))


def test_neighbouring_windows_are_stacked():
    torch.manual_seed(0)
    waveform = torch.randn(1, 4000)
    single = LogMel(LogMelConfig(stack=1, num_mels=8))(waveform, torch.tensor([4000])).data[0]
    double = LogMel(LogMelConfig(stack=2, num_mels=8))(waveform, torch.tensor([4000])).data[0]
    kept = normalize(single[None, : 2 * len(double)], torch.tensor([2 * len(double)]))[0]
    torch.testing.assert_close(double[3], torch.cat([kept[6], kept[7]]), rtol=0, atol=0.03)


def test_padding_changes_nothing():
    torch.manual_seed(0)
    front, lengths = LogMel(LogMelConfig()), torch.tensor([6000, 3333, 560])
    waveform = torch.randn(3, 7000)
    for row, length in zip(waveform, lengths, strict=True):
        row[length:] = 0
    together = front(waveform, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = front(waveform[i : i + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together.data[i, : together.lengths[i]], alone.data[0], rtol=0, atol=1e-5)
        assert (together.data[i, together.lengths[i] :] == 0).all()


def test_loudness_does_not_matter():
    torch.manual_seed(0)
    front, lengths, waveform = LogMel(LogMelConfig()), torch.tensor([8000]), torch.randn(1, 8000) * 0.1
    # Only the floor under the logarithm and the one under the deviation are left.
    torch.testing.assert_close(front(waveform, lengths).data, front(5 * waveform, lengths).data, rtol=0, atol=0.03)


def test_silence_is_finite():
    assert LogMel(LogMelConfig())(torch.zeros(1, 4000), torch.tensor([4000])).data.abs().max() < 1e-3


def test_normalized_frames():
    torch.manual_seed(0)
    out = normalize(torch.randn(2, 50, 3) * 7 + 4, torch.tensor([50, 20]))
    for row, length in zip(out, (50, 20), strict=True):
        torch.testing.assert_close(row[:length].mean(0), torch.zeros(3), rtol=0, atol=1e-5)
        torch.testing.assert_close(row[:length].std(0, unbiased=False), torch.ones(3), rtol=0, atol=1e-3)


def test_cosine_transform_is_that_of_scipy():
    fft = pytest.importorskip("scipy.fft")
    x = torch.randn(80)
    expected = torch.from_numpy(fft.dct(x.numpy(), norm="ortho"))
    expected[0] *= math.sqrt(2)
    torch.testing.assert_close(x @ cosine_transform(80), expected, rtol=0, atol=1e-5)


def test_delta_by_loops():
    x, length = torch.randn(1, 9, 2), 6
    x[0, length:] = 99  # padding must not be read
    for t in range(length):
        slope = torch.zeros(2)
        for n in (1, 2):
            slope += n * (x[0, min(t + n, length - 1)] - x[0, max(t - n, 0)]) / 10
        out = delta(x, torch.tensor([length]), num_windows=2)[0, t]
        torch.testing.assert_close(out, slope, rtol=0, atol=1e-6)


def test_delta_of_a_line_is_its_slope():
    line = 3.0 * torch.arange(20.0)[None, :, None]
    torch.testing.assert_close(delta(line, torch.tensor([20]), num_windows=2)[0, 2:-2], torch.full((16, 1), 3.0))


@pytest.mark.parametrize(
    ("changes", "dim"),
    [
        ({"num_cepstra": 12}, 24),
        ({"num_cepstra": 13, "delta_windows": 2, "pool": "mean", "windows": LogMelConfig(stack=4)}, 39),
        ({"num_cepstra": 5, "delta_windows": 1, "windows": LogMelConfig(stack=3)}, 45),
    ],
)
def test_padding_changes_nothing_in_cepstra(changes, dim):
    torch.manual_seed(0)
    front = Cepstrum(CepstrumConfig(**changes))
    assert front.dim == dim
    lengths, waveform = torch.tensor([6000, 3333, 900]), torch.randn(3, 7000)
    for row, length in zip(waveform, lengths, strict=True):
        row[length:] = 0
    together = front(waveform, lengths)
    expected = LogMel(front.config.windows)(waveform, lengths).lengths
    assert together.lengths.tolist() == expected.tolist()
    for i, length in enumerate(lengths.tolist()):
        alone = front(waveform[i : i + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together.data[i, : together.lengths[i]], alone.data[0], rtol=0, atol=1e-5)


def test_cepstra_are_normalised_and_averaged():
    torch.manual_seed(0)
    waveform, lengths = torch.randn(1, 16_000), torch.tensor([16_000])
    config = CepstrumConfig(num_cepstra=3, windows=LogMelConfig(stack=4))
    stacked = Cepstrum(config)(waveform, lengths).data[0]
    windows = stacked.view(-1, 3)
    torch.testing.assert_close(windows.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(windows.std(0, unbiased=False), torch.ones(3), rtol=0, atol=0.02)
    averaged = Cepstrum(config.model_copy(update={"pool": "mean"}))(waveform, lengths).data[0]
    torch.testing.assert_close(averaged, stacked.view(-1, 4, 3).mean(1))


def test_stretched_bands_by_loops():
    x = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(0))
    factors = torch.tensor([0.8, 1.3])
    out = stretch(x, factors)
    for b, factor in enumerate(factors.tolist()):
        for window in range(3):
            row = x[b, window].tolist()
            for band in range(10):
                place = min(band * factor, 9.0)
                below = min(int(place), 8)
                expected = row[below] + (place - below) * (row[below + 1] - row[below])
                assert out[b, window, band].item() == pytest.approx(expected, abs=1e-5)


def test_a_factor_of_one_stretches_nothing():
    front = Cepstrum(CepstrumConfig())
    waveform, lengths = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)), torch.tensor([8000, 6000])
    torch.testing.assert_close(front(waveform, lengths, warp=torch.ones(2)).data, front(waveform, lengths).data)
    other = front(waveform, lengths, warp=torch.tensor([1.0, 0.9])).data
    torch.testing.assert_close(other[0], front(waveform, lengths).data[0])
    assert not torch.allclose(other[1], front(waveform, lengths).data[1], atol=0.1)
