"""Windows of bounded length give the frames of the whole."""

from pathlib import Path

import pytest
import soundfile
import torch

from sori.checkpoints import store
from sori.inference import embed, units, windows
from sori.models import factory
from sori.recipes.smoke import vq_wav2vec_smoke

RATE = 16_000
HOP, FIELD = 320, 400


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch):
    monkeypatch.setattr(windows, "CONTEXT_SECONDS", 2.0)


@pytest.fixture(scope="module")
def convolution():
    """Frames that depend on 21 hops of the waveform, and the lengths that were processed."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv1d(1, 8, FIELD, stride=HOP), torch.nn.GELU(), torch.nn.Conv1d(8, 4, 21, padding=10)
    ).double()
    lengths = []

    @torch.no_grad()
    def compute(waveform):
        lengths.append(len(waveform))
        return layers(waveform[None, None])[0].T

    compute.lengths = lengths
    return compute


def noise(num_samples):
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize(
    "num_samples",
    [FIELD, 6 * RATE, 6 * RATE + 1, 6 * RATE + HOP, 20 * RATE, 20 * RATE + 399, 20 * RATE + 400, 61 * RATE],
)
def test_a_convolution_has_exactly_the_frames_of_the_whole(convolution, num_samples):
    waveform = noise(num_samples).double()
    whole = convolution(waveform)
    convolution.lengths.clear()
    read, length = windows.open_reader(waveform)
    found = windows.frames_of(convolution, read, length, hop_samples=HOP, field_samples=FIELD, window_seconds=6.0)
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)
    assert max(convolution.lengths) <= 6 * RATE


@pytest.fixture
def encoder(encoder_run):
    return store.load(encoder_run)


def test_a_transformer_has_nearly_the_vectors_of_the_whole_in_bounded_windows(encoder, tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(61 * RATE + 77).numpy(), RATE, subtype="FLOAT")
    lengths, extract = [], type(encoder).extract_features

    def recorded(self, waveform, *given, **options):
        lengths.append(waveform.shape[1])
        return extract(self, waveform, *given, **options)

    monkeypatch.setattr(type(encoder), "extract_features", recorded)
    found = embed.embed(encoder, path)
    assert max(lengths) <= 30 * RATE
    assert len(lengths) > 1
    from_waveform = embed.embed(encoder, noise(61 * RATE + 77), sample_rate=RATE)
    torch.testing.assert_close(from_waveform.frames, found.frames, rtol=1e-4, atol=1e-4)

    monkeypatch.setattr(embed, "frames_of", lambda compute, read, num, **_: compute(read(0, num)))
    whole = embed.embed(encoder, noise(61 * RATE + 77), sample_rate=RATE)
    assert found.frames.shape == whole.frames.shape
    assert torch.equal(found.times, whole.times)
    error = (found.frames - whole.frames).norm(dim=1) / whole.frames.norm(dim=1)
    assert float(error.median()) < 0.1


def test_units_of_a_long_utterance_are_those_of_the_whole(tmp_path):
    model = factory.build(vq_wav2vec_smoke().system).eval()
    soundfile.write(tmp_path / "long.wav", noise(61 * RATE).numpy(), RATE, subtype="FLOAT")
    from sori.data.manifest import Utterance

    rows = [Utterance("long", str(tmp_path / "long.wav"), 0.0, 61 * RATE, None, None, None, None)]
    [done] = units.write_units(model, rows, tmp_path / "units.txt")
    [(_, found)] = units.read_units(Path(tmp_path / "units.txt"))
    with torch.no_grad():
        whole = model.units(noise(61 * RATE)[None], torch.tensor([61 * RATE])).data[0]
    assert done.num_frames == len(found) == len(whole)
    assert float((found == whole).float().mean()) > 0.95
