"""Length is what the decoder delivers: headers that are missing, wrong, repeated or buried are not believed."""

import io
import os
import struct

import numpy as np
import pytest
import soundfile
import torch

from sori.core import audio
from sori.core.sound import decoders
from sori.core.sound.containers import examine
from sori.core.sound.sound_error import SoundError

RATE = 16_000


def noise(seed, seconds=2.0, rate=RATE):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


def encoded(waveform, container, coding, rate=RATE):
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, coding, None, container) as target:
        for start in range(0, len(waveform), 8000):
            target.write(waveform[start : start + 8000])
    return file.getvalue()


def wav(data, size, *, block=2, channels=1, tag=1, after=b""):
    form = struct.pack("<IHHIIHH", 16, tag, channels, RATE, RATE * block, block, 8 * block // channels)
    return b"RIFF" + struct.pack("<I", 0xFFFF) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + data + after


PCM = np.round(noise(1) * 32767).astype("<i2").tobytes()
STATED = {
    "the file's size": len(PCM) + 44,
    "the RIFF size": len(PCM) + 36,
    "one byte too much": len(PCM) + 1,
    "0": 0,
    "0xFFFFFFFF": 0xFFFFFFFF,
    "0x80000000": 0x80000000,
    "0x7FFFFFFF": 0x7FFFFFFF,
    "half": len(PCM) // 2,
    "a quarter and odd": len(PCM) // 4 + 1,
}


@pytest.mark.parametrize("size", STATED.values(), ids=STATED)
def test_wav_files_with_a_wrong_length_are_read_to_the_end(tmp_path, size):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(PCM, size))
    assert audio.info(path).num_frames == len(PCM) // 2
    expected = torch.from_numpy(np.frombuffer(PCM, "<i2").astype("f4") / 32768)
    assert torch.equal(audio.read(path), expected)
    assert torch.equal(audio.read(path, start=1.5, duration=0.5), expected[24_000:32_000])
    contents = examine(path)
    assert contents.missing is None
    assert contents.warnings


@pytest.mark.parametrize("after", [b"LIST\x04\0\0\0INFO", b"id3 \x03\0\0\0abc\0", b"\0", b"TAG" + bytes(125)])
def test_chunks_and_tags_after_the_sound_are_no_sound(tmp_path, after):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(PCM, len(PCM), after=after))
    assert audio.info(path).num_frames == len(PCM) // 2
    assert examine(path).warnings == ()


def test_sound_that_is_demonstrably_missing_is_named_and_the_rest_is_read(tmp_path, caplog):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(PCM[:40_000], len(PCM)))
    assert examine(path).missing == "the header states 64000 bytes of sound, the file has 40000"
    assert len(audio.read(path)) == 20_000
    assert "is truncated" in caplog.text


def test_wav_files_over_four_gigabytes_whose_length_wrapped_around(tmp_path):
    path = tmp_path / "a.wav"
    length = (1 << 32) + len(PCM)
    with path.open("wb") as file:
        file.write(wav(PCM, length % (1 << 32)))
        file.seek(44 + length - len(PCM))
        file.write(PCM)
    if path.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("the file system has no sparse files")
    assert audio.info(path).num_frames == length // 2
    end = audio.read(path, start=(length - len(PCM)) // 2 / RATE, duration=len(PCM) // 2 / RATE)
    assert torch.equal(end, torch.from_numpy(np.frombuffer(PCM, "<i2").astype("f4") / 32768))


def test_aiff_files_that_were_not_closed(tmp_path):
    path = tmp_path / "a.aiff"
    whole = bytearray(encoded(noise(2), "AIFF", "PCM_16"))
    common, sound = whole.index(b"COMM"), whole.index(b"SSND")
    whole[common + 10 : common + 14] = whole[sound + 4 : sound + 8] = bytes(4)
    path.write_bytes(bytes(whole))
    assert audio.info(path).num_frames == 32_000


@pytest.mark.parametrize("total", [0, 100, 32_000], ids=["none", "too small", "right"])
def test_flac_with_any_length_in_its_header(tmp_path, total):
    content = bytearray(encoded(noise(3), "FLAC", "PCM_16"))
    content[21] &= 0xF0
    content[22:26] = struct.pack(">I", total)
    (tmp_path / "a.flac").write_bytes(bytes(content))
    (tmp_path / "whole.flac").write_bytes(encoded(noise(3), "FLAC", "PCM_16"))
    whole = audio.read(tmp_path / "whole.flac")
    assert torch.equal(audio.read(tmp_path / "a.flac"), whole)
    assert torch.equal(audio.read(tmp_path / "a.flac", start=1.2, duration=0.3), whole[19_200:24_000])


JOINED = {
    "flac": ("FLAC", "PCM_16", 0),
    "ogg": ("OGG", "VORBIS", 0),
    "opus": ("OGG", "OPUS", 0),
    "mp3": ("MP3", "MPEG_LAYER_III", 6 * 1152),
}


@pytest.mark.parametrize("suffix", JOINED)
@pytest.mark.parametrize("tags", [b"", b"ID3\x04\0\0\0\0\x00\x0a" + bytes(10)], ids=["bare", "tagged"])
def test_files_joined_with_cat_are_read_to_the_end_of_the_last(tmp_path, suffix, tags):
    container, coding, tolerance = JOINED[suffix]
    parts = [encoded(noise(seed, seconds), container, coding) for seed, seconds in ((4, 1.5), (5, 2.25), (6, 1.0))]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes((tags if suffix not in ("ogg", "opus") else b"") + b"".join(parts))
    info = audio.info(path)
    assert 0 <= info.num_frames - round(4.75 * RATE) <= tolerance
    assert any(warning.startswith("joined streams: 3 ") for warning in examine(path).warnings)
    whole = audio.read(path)
    assert torch.equal(audio.read(path, start=1.4, duration=2.0), whole[22_400:54_400])
    if suffix == "flac":
        second = soundfile.read(io.BytesIO(parts[1]), dtype="float32")[0]
        assert torch.equal(whole[24_000:60_000], torch.from_numpy(second))


def test_streams_of_different_rates_in_one_file_are_refused(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(encoded(noise(1), "FLAC", "PCM_16") + encoded(noise(2, rate=8_000), "FLAC", "PCM_16", 8_000))
    with pytest.raises(ValueError, match="streams of 16000 Hz and 8000 Hz"):
        audio.info(path)


@pytest.fixture(scope="module")
def mp3():
    """An MP3 of 88 frames without an Info header: the first frame is one."""
    content = encoded(noise(7, 3.0), "MP3", "MPEG_LAYER_III")
    length = content.index(b"\xff", 20)
    assert b"Info" in content[:length] or b"Xing" in content[:length]
    return content


LYRICS = b"ID3\x03\0\0" + bytes((0, 0, 80, 0)) + b"USLT" + b"la la la, sang the sea. " * 500


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ID3\x04\0\0\0\0\x07\x68" + bytes(1000), b""),
        (LYRICS[: 10 + 80 * 128], b""),
        (b"", b"TAG" + bytes(125)),
        (b"", b"APETAGEX" + struct.pack("<IIII", 2000, 32, 1, 0) + bytes(8 + 1968)),
        (b"", b"LYRICSBEGINsome words000013LYRICS200TAG" + bytes(125)),
        (b"", bytes(3000)),
    ],
    ids=["ID3v2", "lyrics", "ID3v1", "APE", "Lyrics3", "zeros"],
)
def test_tags_around_mp3_change_nothing(tmp_path, mp3, before, after):
    (tmp_path / "plain.mp3").write_bytes(mp3)
    (tmp_path / "a.mp3").write_bytes(before + mp3 + after)
    plain = audio.read(tmp_path / "plain.mp3")
    assert len(plain) == 48_000
    assert torch.equal(audio.read(tmp_path / "a.mp3"), plain)
    assert examine(tmp_path / "a.mp3").missing is None


def test_mp3_without_its_length_is_read_to_the_end_and_a_cut_is_seen(tmp_path, mp3):
    path = tmp_path / "a.mp3"
    second = next(
        place for place in range(50, 3000) if mp3[place : place + 2] == mp3[:2] and mp3[place + 2] & 12 == mp3[2] & 12
    )
    path.write_bytes(mp3[second:])
    assert 48_000 <= audio.info(path).num_frames <= 48_000 + 4 * 1152
    assert examine(path).missing is None
    path.write_bytes(mp3[second:-7])
    assert "the last frame has" in examine(path).missing
    path.write_bytes(mp3 + b"spam" * 3000 + mp3[second:])
    assert any(warning.startswith("foreign bytes") for warning in examine(path).warnings)


@pytest.mark.parametrize("rate", [1, 999, 800_000, 2**31 - 1])
@pytest.mark.parametrize("read", [audio.info, audio.read])
def test_absurd_rates_are_refused_before_anything_is_decoded(tmp_path, rate, read):
    path = tmp_path / "a.wav"
    data = bytearray(wav(PCM, len(PCM)))
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=f"absurd header: a sampling rate of {rate} Hz; expected 1000 to 768000 Hz"):
        read(path)


def test_absurd_numbers_of_channels_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(PCM, len(PCM), block=2048, channels=1024))
    with pytest.raises(ValueError, match="1024 channels; expected 1 to 64"):
        audio.read(path)


@pytest.mark.parametrize(
    ("coding", "container"),
    [("GSM610", "WAV"), ("IMA_ADPCM", "WAV"), ("MS_ADPCM", "WAV"), ("G721_32", "AU"), ("G723_24", "AU"),
     ("NMS_ADPCM_32", "WAV")],
)  # fmt: skip
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_codings_that_cannot_be_sought_are_cut_by_reading_forward(tmp_path, coding, container, rate):
    path = tmp_path / f"a.{container.lower()}"
    path.write_bytes(encoded(noise(8, 41.0, rate), container, coding, rate))
    whole = audio.read(path)
    assert abs(len(whole) - 41 * RATE) <= 2048 * RATE // rate
    for start in (39.5, 0.25, 12.0, 12.5, 3.0):
        part = audio.read(path, start=start, duration=1.25)
        assert torch.equal(part, whole[round(start * RATE) :][:20_000])


def test_what_is_no_sound_is_named(tmp_path):
    path = tmp_path / "a.wav"
    for content, reason in ((b"", "empty"), (b"%PDF-1.7" + bytes(99), "wrongly named"), (bytes(9000), "wrongly named")):
        path.write_bytes(content)
        os.utime(path, ns=(1, len(content)))
        with pytest.raises(SoundError) as error:
            examine(path)
        assert error.value.reason == reason


CODED = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "GSM610")]


@pytest.mark.parametrize(("container", "coding"), CODED)
def test_short_files_are_read_without_asking_for_much_more_than_they_have(tmp_path, monkeypatch, container, coding):
    rate = 8_000 if coding == "GSM610" else RATE
    (tmp_path / "a").write_bytes(encoded(noise(1, 0.5, rate), container, coding, rate))
    asked, read = [], decoders._SoundFile.read
    monkeypatch.setattr(decoders._SoundFile, "read", lambda file, num, **kw: asked.append(num) or read(file, num, **kw))
    decoder = decoders.open_decoder(tmp_path / "a")
    whole = np.concatenate([decoder.read(1 << 20), decoder.read(1 << 20)])
    decoder.close()
    assert len(whole) >= 0.5 * rate
    assert sum(asked) <= len(whole) + 2  # libsndfile would fill the rest with zeros, which takes longer than decoding


def test_a_file_with_more_frames_than_the_decoder_announces_is_read_to_the_end(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(wav(PCM, len(PCM)))
    monkeypatch.setattr(decoders._SoundFile, "frames", 1000)
    decoder = decoders.LibsndfileDecoder(str(tmp_path / "a.wav"), examine(tmp_path / "a.wav"))
    parts = [decoder.read(1 << 20), decoder.read(1 << 20)]
    decoder.close()
    assert [len(part) for part in parts] == [len(PCM) // 2, 0]
