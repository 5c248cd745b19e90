import pytest
import torch

from sori.nn.mel_network import MelNetwork, MelNetworkConfig
from sori.nn.spectral import LogMelConfig


def model(**changes):
    return MelNetwork(MelNetworkConfig(windows=LogMelConfig(num_mels=20, **changes), dim=16))


def test_frames_see_their_own_windows_and_nothing_of_the_future():
    """Unlike log-mel features, which are normalised over the utterance."""
    front = model(stack=2)
    assert (front.field_samples, front.hop_samples) == (560, 320)
    waveform = torch.randn(1, 4000, requires_grad=True)
    front(waveform, torch.tensor([4000])).data[0, 3].square().sum().backward()
    seen = waveform.grad[0].nonzero().flatten()
    # pre-emphasis sees one sample more; a Hann window begins with 0
    assert 3 * 320 - 1 <= int(seen[0]) <= 3 * 320 + 1
    assert 3 * 320 + 558 <= int(seen[-1]) <= 3 * 320 + 559


def test_padding_changes_nothing():
    front = model(stack=2)
    lengths = torch.tensor([4000, 560, 1999])
    waveform = torch.randn(3, 4000)
    together = front(waveform, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = front(waveform[row : row + 1, :length], lengths[row : row + 1])
        count = int(alone.lengths)
        torch.testing.assert_close(together.data[row, :count], alone.data[0], rtol=0, atol=1e-5)


def test_the_level_is_added_to_the_normalised_log_mel():
    front = model(stack=1)
    seen = []
    front.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    waveform, lengths = 0.1 * torch.randn(1, 4000), torch.tensor([4000])
    for factor in (0.0, 1.0, 2.0):
        front(factor * waveform, lengths)
    assert [x.shape[-1] for x in seen] == [21] * 3
    assert seen[0][..., -1].abs().max() < 1e-6
    quiet, loud = seen[1:]
    assert (loud[..., -1] > quiet[..., -1] + 0.05).all()
    torch.testing.assert_close(loud[..., :-1], quiet[..., :-1], rtol=0, atol=0.02)


def test_too_short_input_is_refused():
    with pytest.raises(ValueError, match="559 samples is shorter than one frame"):
        model(stack=2)(torch.randn(1, 559), torch.tensor([559]))
