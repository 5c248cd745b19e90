"""Sixty and more damaged files beside healthy ones: each is listed with its reason, none is kept, nothing crashes."""

import io
import json
import struct

import numpy as np
import pytest
import soundfile

from sori.core.audio import read
from sori.data.manifest import read_manifest
from sori.data.preparation.checks import check
from sori.data.preparation.prepare import prepare
from sori.data.sources.reading import Reading

RATE = 16_000
CODINGS = {
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}


def noise(seed, num_samples=3 * RATE):
    return 0.1 * np.random.default_rng(seed).standard_normal(num_samples)


def encoded(suffix, waveform, rate=RATE, coding=None):
    container, usual = CODINGS[suffix]
    file = io.BytesIO()
    if (coding or usual) == "PCM_16":
        waveform = np.round(waveform * 32767).astype(np.int16)  # WAV and FLAC writers scale floats differently
    soundfile.write(file, waveform, rate, format=container, subtype=coding or usual)
    return file.getvalue()


def patched(content, offset, layout, value):
    changed = bytearray(content)
    struct.pack_into(layout, changed, offset, value)
    return bytes(changed)


def flac_header(content, *, rate=RATE, total=3 * RATE):
    """STREAMINFO holds 20 bits of rate, 3 of channels, 5 of sample size and 36 of length from byte 18 on."""
    rest = (int.from_bytes(content[18:26], "big") >> 36) & 0xFF
    return content[:18] + (rate << 44 | rest << 36 | total).to_bytes(8, "big") + content[26:]


def truncated_files():
    for suffix in CODINGS:
        whole = encoded(suffix, noise(1))
        for fraction in (0.25, 0.5, 0.75):
            yield f"cut at {fraction}.{suffix}", whole[: int(len(whole) * fraction)], "truncated"
        if suffix not in ("wav", "aiff"):  # their headers are often wrong by some bytes
            yield f"last bytes lost.{suffix}", whole[:-3], "truncated"
        if suffix not in ("mp3", "aiff", "flac"):
            yield f"header only.{suffix}", whole[:60], "truncated"
    yield "cut at 0.1.opus", encoded("opus", noise(1))[:1_000], "truncated"
    yield "cut in header.wav", encoded("wav", noise(1))[:20], "truncated"
    yield "header only.flac", encoded("flac", noise(1))[:60], "unreadable"
    yield "cut in header.flac", encoded("flac", noise(1))[:3], "unreadable"
    yield "cut in header.mp3", encoded("mp3", noise(1))[:50], "unreadable"


def absurd_headers():
    wav, flac = encoded("wav", noise(2)), encoded("flac", noise(2))
    yield "rate 0.wav", patched(wav, 24, "<I", 0), "absurd header"
    yield "rate 1.wav", patched(wav, 24, "<I", 1), "absurd header"
    yield "rate 4 GHz.wav", patched(wav, 24, "<I", 4_000_000_000), "absurd header"
    yield "no channels.wav", patched(wav, 22, "<H", 0), "absurd header"
    yield "1000 channels.wav", patched(wav, 22, "<H", 1_000), "absurd header"
    yield "65535 channels.wav", patched(wav, 22, "<H", 65_535), "absurd header"
    yield "rate 1 MHz.flac", flac_header(flac, rate=1_000_000), "absurd header"
    yield "0 bits.wav", patched(wav, 34, "<H", 0), "unreadable"
    yield "unknown coding.wav", patched(wav, 20, "<H", 0x99), "unreadable"
    yield "three billion bytes.wav", patched(wav, 40, "<I", 3_000_000_000), "truncated"
    yield "fmt of two billion bytes.wav", patched(wav, 16, "<I", 0x7FFFFFFF), "truncated"
    yield "twice the length.wav", patched(wav, 40, "<I", 12 * RATE), "truncated"
    yield "sixty-eight billion samples.flac", flac_header(flac, total=(1 << 36) - 1), "truncated"


def wrong_contents():
    rng = np.random.default_rng(3)
    yield "nothing.wav", b"", "empty"
    yield "nothing.mp3", b"", "empty"
    yield "no samples.wav", encoded("wav", noise(3, 0)), "empty"
    yield "text.wav", b"This is no sound at all.\n" * 40, "wrongly named"
    yield "text.mp3", b"This is no sound at all.\n" * 40, "wrongly named"
    yield "text.ogg", b"This is no sound at all.\n" * 40, "wrongly named"
    yield "page.flac", b"<!DOCTYPE html><html>404</html>", "wrongly named"
    yield "picture.wav", b"\x89PNG\r\n\x1a\n" + rng.bytes(500), "wrongly named"
    yield "zip.flac", b"PK\x03\x04" + rng.bytes(500), "wrongly named"
    yield "video.wav", b"\x00\x00\x00\x20ftypM4A " + rng.bytes(500), "truncated"
    yield "broken.webm", b"\x1aE\xdf\xa3" + rng.bytes(500), "unreadable"
    yield "broken.wma", b"0&\xb2u\x8ef\xcf\x11" + rng.bytes(500), "unreadable"
    yield "zeros.wav", bytes(10_000), "wrongly named"
    yield "zeros.mp3", bytes(10_000), "wrongly named"
    yield "random.wav", rng.bytes(10_000), "unreadable"
    yield "random.flac", rng.bytes(10_000), "unreadable"
    yield "voice.m4a", b"\x00\x00\x00\x20ftypM4A " + rng.bytes(500), "truncated"
    flac, ogg = encoded("flac", noise(4)), encoded("ogg", noise(4))
    yield "scratched.flac", flac[:40_000] + rng.bytes(2_000) + flac[42_000:], "damaged"
    yield "scratched.ogg", ogg[:6_000] + rng.bytes(8_000) + ogg[14_000:], "damaged"
    yield "zeroed half.opus", (opus := encoded("opus", noise(5)))[:5_000] + bytes(len(opus) - 5_000), "damaged"


def useless_samples():
    hole, spike = noise(6), noise(7)
    hole[100], spike[-1] = np.nan, np.inf
    yield "nan.wav", encoded("wav", hole, coding="FLOAT"), "not finite"
    yield "inf.wav", encoded("wav", spike, coding="DOUBLE"), "not finite"
    yield "silent.wav", encoded("wav", np.zeros(RATE)), "silent"
    yield "silent.flac", encoded("flac", 1e-5 * noise(8)), "silent"
    yield "constant.wav", encoded("wav", np.full(RATE, 0.25)), "silent"
    yield "clipped.wav", encoded("wav", np.clip(30 * noise(9), -1, 1)), "clipped"
    yield "clipped.mp3", encoded("mp3", np.clip(30 * noise(10), -1, 1)), "clipped"
    yield "clipped 8 bit.wav", encoded("wav", np.clip(30 * noise(11), -1, 1), coding="PCM_U8"), "clipped"
    yield "399 samples.wav", encoded("wav", noise(12, 399)), "too short"
    yield "399 samples at 48 kHz.flac", encoded("flac", noise(13, 1_199), rate=48_000), "too short"
    yield "copy of healthy.wav", encoded("wav", noise(20)), "duplicate"
    yield "copy of healthy.flac", encoded("flac", noise(20)), "duplicate"


BAD = [*truncated_files(), *absurd_headers(), *wrong_contents(), *useless_samples()]


def healthy_files():
    yield "a healthy.wav", encoded("wav", noise(20))
    yield "400 samples.wav", encoded("wav", noise(21, 400))
    yield "healthy.mp3", encoded("mp3", noise(22))
    yield "healthy.ogg", encoded("ogg", noise(23))
    yield "healthy.opus", encoded("opus", noise(24, 48_000), rate=48_000)
    yield "healthy.FLAC", encoded("flac", noise(25))
    yield "wrong riff size.wav", patched(encoded("wav", noise(26)), 4, "<I", 100)
    yield "from a pipe.wav", patched(encoded("wav", noise(27)), 40, "<I", 0xFFFFFFFF)
    yield "garbage at the end.opus", encoded("opus", noise(28)) + bytes(range(256)) * 20
    yield "mp3 inside.wav", encoded("mp3", noise(29))
    wav, flac = encoded("wav", noise(30)), encoded("flac", noise(31))
    yield "last bytes lost.wav", encoded("wav", noise(32))[:-3]
    yield "last bytes lost.aiff", encoded("aiff", noise(33))[:-3]
    yield "never closed.wav", patched(wav, 40, "<I", 0)
    yield "rate 0.flac", flac_header(encoded("flac", noise(35)), rate=0)
    yield "length unknown.flac", flac_header(flac, total=0)
    yield "length too small.flac", flac_header(encoded("flac", noise(34)), total=100)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of damaged and healthy files, prepared once; the sum of what was there before and after."""
    folder = tmp_path_factory.mktemp("damaged")
    for name, content, _ in BAD:
        (folder / name).write_bytes(content)
    for name, content in healthy_files():
        (folder / name).write_bytes(content)
    (folder / "folder.wav").mkdir()
    (folder / "gone.flac").symlink_to(folder / "nowhere.flac")
    (folder / "notes.pdf").write_text("no sound")
    into = tmp_path_factory.mktemp("prepared") / "out"
    report = prepare(folder, into, num_workers=2)
    excluded = [json.loads(line) for line in (into / "excluded.jsonl").read_text(encoding="utf-8").splitlines()]
    flagged = [json.loads(line) for line in (into / "flagged.jsonl").read_text(encoding="utf-8").splitlines()]
    return folder, into, report, {row["path"].rpartition("/")[2]: row for row in excluded}, flagged


def test_there_are_sixty():
    assert len(BAD) >= 60
    assert len({name for name, _, _ in BAD}) == len(BAD)


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, _, reason in BAD])
def test_each_is_listed_with_its_reason(prepared, name, reason):
    row = prepared[3][name]
    assert row["reason"] == reason, row["detail"]
    assert row["detail"]


def test_folders_and_broken_links_are_listed(prepared):
    excluded = prepared[3]
    assert excluded["folder.wav"]["reason"] == "wrongly named"
    assert excluded["gone.flac"]["reason"] == "missing"
    assert len(excluded) == len(BAD) + 2


def test_healthy_files_beside_them_are_kept(prepared):
    _, into, report, _, flagged = prepared
    kept = {utterance.path.rpartition("/")[2] for utterance in read_manifest(into)}
    assert kept == {name for name, _ in healthy_files()}
    assert {row["path"].rpartition("/")[2]: row["warning"] for row in flagged} == {
        "from a pipe.wav": "no length in the header",
        "never closed.wav": "no length in the header",
        "last bytes lost.wav": "wrong length in the header",
        "last bytes lost.aiff": "wrong length in the header",
        "length unknown.flac": "no length in the header",
        "length too small.flac": "wrong length in the header",
        "mp3 inside.wav": "wrongly named",
    }
    assert report.others == {".pdf": 1}


def test_the_report_counts_every_reason(prepared):
    _, into, report, excluded, _ = prepared
    assert sum(report.excluded.values()) == len(excluded)
    text = (into / "report.md").read_text(encoding="utf-8")
    for reason, count in report.excluded.items():
        assert f"| {reason} | {count} |" in text


def test_a_device_is_not_opened(tmp_path):
    (found,) = check("/dev/zero")
    assert found.reason == "wrongly named"


def test_truncated_files_are_kept_if_wanted(prepared, tmp_path):
    folder, into, *_ = prepared
    report = prepare(folder, tmp_path / "out", num_workers=2, reading=Reading(keep_truncated=True))
    before = {utterance.path for utterance in read_manifest(into)}
    more = {utterance.path.rpartition("/")[2]: utterance for utterance in read_manifest(tmp_path / "out")}
    assert report.excluded["truncated"] < 12
    for suffix in CODINGS:
        half = more[f"cut at 0.5.{suffix}"]
        assert 0.8 < half.duration_seconds < 1.7
        assert len(read(half.path, duration=half.duration_seconds)) == half.num_samples
    assert len(more) > len(before) + 15
    flagged = [json.loads(line) for line in (tmp_path / "out/flagged.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "truncated" in {row["warning"] for row in flagged}
