"""Tests of reading whole files and parts in every format, and of messages for files that cannot be read."""

import math

import numpy as np
import pytest
import soundfile
import soxr
import torch

from sori.core import audio
from sori.core.sound.decoders import open_decoder

SLICES = [(0.0, 1.0), (0.5, 0.7), (1.23456, 1.5), (2.9, 0.05), (0.0001, 0.01), (2.75, 0.25)]

RNG = np.random.default_rng(7)

FORMATS = [
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "ULAW"),
    ("flac", "FLAC", "PCM_16"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
]


def write(path, waveform, rate, container="WAV", coding="FLOAT"):
    with soundfile.SoundFile(
        path, "w", rate, 1 if waveform.ndim == 1 else waveform.shape[1], coding, None, container
    ) as file:
        for start in range(0, len(waveform), 8000):  # long Vorbis writes overflow libvorbis' stack
            file.write(waveform[start : start + 8000])
    return path


def tone(rate, seconds, frequency=440.0):
    return 0.3 * np.sin(2 * math.pi * frequency * np.arange(int(rate * seconds)) / rate)


def decibel(error, signal):
    return 20 * math.log10(float(error.abs().max() / signal.std()) + 1e-20)


@pytest.mark.parametrize(("suffix", "container", "coding"), FORMATS)
def test_every_format_gives_the_tone_that_was_written(tmp_path, suffix, container, coding):
    path = write(tmp_path / f"a.{suffix}", tone(48_000, 1.5), 48_000, container, coding)
    waveform = audio.read(path)
    assert waveform.dtype == torch.float32
    assert len(waveform) == audio.info(path).num_samples == 24_000
    inner = slice(2_000, -2_000)  # codecs ring at the edges
    expected = torch.from_numpy(tone(16_000, 1.5)).float()[inner]
    assert decibel(waveform[inner] - expected, expected) < (-20 if suffix in ("mp3", "ogg", "opus") else -30)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 44_099])
def test_resampling_keeps_a_tone_in_time_and_level(tmp_path, rate):
    waveform = audio.read(write(tmp_path / "a.wav", tone(rate, 2.0), rate))
    expected = torch.from_numpy(tone(16_000, 2.0)).float()[: len(waveform)]
    assert len(waveform) == 32_000
    inner = slice(1_000, -1_000)
    assert decibel(waveform[inner] - expected[inner], expected) < -90


def test_frequencies_above_half_the_rate_are_removed(tmp_path):
    waveform = audio.read(write(tmp_path / "a.wav", tone(48_000, 1.0, frequency=10_000), 48_000))
    assert float(waveform[1_000:-1_000].abs().max()) < 1e-4


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 44_099])
def test_blocks_are_joined_without_a_trace(tmp_path, rate):
    noise = RNG.standard_normal(9 * rate) * 0.1
    waveform = audio.read(write(tmp_path / "a.wav", noise, rate))
    expected = torch.from_numpy(soxr.resample(noise.astype("f4"), rate, 16_000, quality="HQ"))
    assert len(waveform) == len(expected)
    assert decibel(waveform - expected, expected) < -90


def test_channels_of_opposite_phase_do_not_cancel_out(tmp_path):
    left = RNG.standard_normal(90_000).astype(np.float32) * 0.1
    path = write(tmp_path / "a.wav", np.stack([0.9 * left, -left], axis=1), 16_000)
    assert audio.info(path).channel == 1
    assert torch.equal(audio.read(path), torch.from_numpy(-left))
    assert torch.equal(audio.read(path, start=1.0, duration=0.5), torch.from_numpy(-left[16_000:24_000]))
    assert torch.equal(audio.read(path, channel=0), torch.from_numpy(np.float32(0.9) * left))
    assert float(audio.read(path, channel="average").abs().max()) < 0.05
    with pytest.raises(ValueError, match="expected channel 2, counted from 0, got a file with 2 channels"):
        audio.read(path, channel=2)


def test_stretches_of_a_file_that_is_read_forward_decode_it_once(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp3", RNG.standard_normal(60 * 22_050) * 0.1, 22_050, "MP3", "MPEG_LAYER_III")
    opened = []
    monkeypatch.setattr(audio, "open_decoder", lambda path: opened.append(path) or open_decoder(path))
    whole = audio.read(path)
    for start in range(0, 59, 2):
        part = audio.read(path, start=float(start), duration=2.5 if start < 57 else 1.0)
        assert torch.equal(part, whole[start * 16_000 : start * 16_000 + len(part)])
    assert len(opened) <= 2


def test_channels_are_averaged(tmp_path):
    channels = RNG.standard_normal((5_000, 3)).astype(np.float32) * 0.1
    waveform = audio.read(write(tmp_path / "a.wav", channels, 16_000))
    torch.testing.assert_close(waveform, torch.from_numpy(channels).mean(dim=1))


@pytest.mark.parametrize(("suffix", "container", "coding"), FORMATS)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_part_equals_the_slice_of_the_whole(tmp_path, suffix, container, coding, rate):
    rate = 48_000 if coding == "OPUS" and rate == 44_100 else rate
    noise = RNG.standard_normal(3 * rate + 13) * 0.1
    path = write(tmp_path / f"a.{suffix}", noise, rate, container, coding)
    whole = audio.read(path)
    for start, duration in SLICES:
        part = audio.read(path, start=start, duration=duration)
        first = round(start * 16_000)
        expected = whole[first : first + round(duration * 16_000)]
        assert part.shape == expected.shape
        assert torch.equal(part, expected), (start, duration)


@pytest.mark.parametrize("rate", [11_111, 44_099])
def test_parts_of_odd_rates_stay_on_the_grid_of_the_whole(tmp_path, rate):
    path = write(tmp_path / "a.wav", RNG.standard_normal(rate * 7) * 0.1, rate)
    whole = audio.read(path)
    part = audio.read(path, start=4.0001, duration=2.5)
    assert torch.equal(part, whole[64_002 : 64_002 + 40_000])


def test_the_last_page_of_a_long_vorbis_file_is_where_it_should_be(tmp_path):
    path = write(tmp_path / "a.ogg", RNG.standard_normal(45 * 16_000) * 0.1, 16_000, "OGG", "VORBIS")
    whole = audio.read(path)
    for start in (2.0, 39.0, 44.9, 44.99):
        part = audio.read(path, start=start)
        assert torch.equal(part, whole[round(start * 16_000) :])


def test_without_duration_the_rest_is_read(tmp_path):
    path = write(tmp_path / "a.wav", tone(22_050, 1.0), 22_050)
    assert len(audio.read(path, start=0.25)) == 12_000
    assert len(audio.read(path, start=1.0)) == 0


def test_a_part_past_the_end_says_where_the_sound_ends(tmp_path):
    path = write(tmp_path / "a.wav", tone(16_000, 1.0), 16_000)
    with pytest.raises(ValueError, match=r"a\.wav: expected 0\.6 s from 0\.5 s on, but the sound ends at 1 s"):
        audio.read(path, start=0.5, duration=0.6)
    with pytest.raises(ValueError, match="0 s or more"):
        audio.read(path, start=-0.5)


def test_a_part_missing_from_a_truncated_file_is_an_error(tmp_path):
    path = write(tmp_path / "a.flac", RNG.standard_normal(64_000) * 0.1, 16_000, "FLAC", "PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 20_000 < audio.info(path).num_samples < 40_000
    with pytest.raises(ValueError, match="truncated"):
        audio.read(path, start=3.0, duration=0.5)


def test_a_missing_file_and_a_text_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.wav: no such file"):
        audio.read(tmp_path / "gone.wav")
    text = tmp_path / "note.wav"
    text.write_text("not a sound at all")
    with pytest.raises(
        ValueError, match=r"note\.wav: expected a sound file.*18 bytes.*the content is text.*ffmpeg -i note\.wav"
    ):
        audio.info(text)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.3001, 8.0, 12.3457])
def test_zeros_are_not_resampled_and_have_the_length_of_other_samples(tmp_path, monkeypatch, rate, seconds):
    zeros = np.zeros(round(rate * seconds))
    expected = audio.read(write(tmp_path / "almost.wav", zeros + 1e-30, rate))
    monkeypatch.setattr(soxr, "resample", lambda *_, **__: pytest.fail("resampled"))
    found = audio.read(write(tmp_path / "zeros.wav", zeros, rate))
    assert not found.any()
    assert len(found) == len(expected) == audio.info(tmp_path / "zeros.wav").num_samples


def test_zeros_beside_sound_change_nothing(tmp_path):
    noise = 0.1 * RNG.standard_normal(44_100 * 5)
    path = write(tmp_path / "a.wav", np.concatenate([np.zeros(44_100 * 9), noise, np.zeros(44_100 * 9)]), 44_100)
    found = audio.read(path).numpy()
    expected = soxr.resample(soundfile.read(path, dtype="float32")[0], 44_100, 16_000, quality="HQ")
    assert np.abs(found - expected[: len(found)]).max() < 1e-6
    assert np.abs(found[9 * 16_000 - 2000 : 9 * 16_000]).max() > 0  # the filter rings before the sound begins
