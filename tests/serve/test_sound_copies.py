"""A decoded copy has the samples that `sori.read` returns, and the peaks show it."""

import numpy as np
import pytest
import soundfile

from sori.core.audio import read
from sori.core.sound.sound_error import SoundError
from sori.serve.sound_copies import write_copy


@pytest.fixture
def noise():
    rng = np.random.default_rng(0)
    return 0.2 * rng.standard_normal((44_100 * 2, 2)).astype(np.float32)


def copied(path, folder, **options):
    found = write_copy(path, folder / "copy.wav", folder / "peaks", **{"max_seconds": 600.0, **options})
    samples, rate = soundfile.read(folder / "copy.wav", dtype="float32")
    assert rate == 16_000
    assert len(samples) == found.num_samples
    return found, samples, np.frombuffer((folder / "peaks").read_bytes(), np.uint8)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_the_samples_are_those_of_read(name, noise, tmp_path):
    soundfile.write(tmp_path / name, noise, 44_100)
    _, samples, peaks = copied(tmp_path / name, tmp_path)
    np.testing.assert_array_equal(samples, read(tmp_path / name).numpy())
    padded = np.pad(np.abs(samples), (0, -len(samples) % 160)).reshape(-1, 160).max(axis=1)
    np.testing.assert_allclose(peaks / 255, np.minimum(padded, 1), atol=1 / 255)


def test_channels_of_opposite_phase_do_not_cancel_out(noise, tmp_path):
    noise[:, 1] = -noise[:, 0]
    soundfile.write(tmp_path / "a.wav", noise, 44_100)
    _, samples, _ = copied(tmp_path / "a.wav", tmp_path)
    assert samples.std() > 0.1
    np.testing.assert_array_equal(samples, read(tmp_path / "a.wav").numpy())


def test_a_file_of_several_blocks(tmp_path):
    waveform = np.sin(np.arange(16_000 * 150) * 0.01).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    found, samples, peaks = copied(tmp_path / "a.wav", tmp_path)
    np.testing.assert_array_equal(samples, waveform)
    assert (found.num_samples, len(peaks)) == (len(waveform), 15_000)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_recording_that_is_too_long_is_not_decoded_to_its_end(tmp_path, channels):
    soundfile.write(tmp_path / "a.flac", np.zeros((16_000 * 300, channels)), 16_000)  # a few kilobytes
    with pytest.raises(SoundError, match="too long"):
        copied(tmp_path / "a.flac", tmp_path, max_seconds=100.0)
    assert (tmp_path / "copy.wav").stat().st_size < 16_000 * 4 * 130 if channels == 1 else True


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"hello world, this is text\n" * 9, "text"), (b"RIFF\0\0\0\0WAVE", "truncated|unreadable|empty")],
)
def test_what_is_no_sound_is_refused_with_the_reason(content, reason, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(SoundError, match=reason):
        copied(tmp_path / "a.wav", tmp_path)


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan] * 800, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(SoundError, match="not finite"):
        copied(tmp_path / "a.wav", tmp_path)
