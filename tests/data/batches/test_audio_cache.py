import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from sori.data.batches import audio_cache, cache_index
from sori.data.batches.loader import CropBatches, FileReader
from sori.data.batches.sampler import DataConfig
from sori.data.manifest import Utterance

RATE = 16_000


@pytest.fixture
def utterances(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(4):
        path = tmp_path / f"{number}.wav"
        noise = rng.integers(-32768, 32768, RATE + 100 * number).astype(np.int16)
        soundfile.write(path, noise, RATE, subtype="PCM_16")
        rows.append(Utterance(f"u{number}", str(path), 0.25, len(noise) - 4_000, None, None, None, None))
    return rows


def test_a_cache_gives_the_same_samples_as_the_files(utterances, tmp_path, capfd):
    reader = audio_cache.open_audio(utterances, folder=tmp_path, policy="always")
    assert isinstance(reader, audio_cache.PcmReader)
    assert "decoding all audio once into 0.00 GB" in capfd.readouterr().err
    files = FileReader(utterances)
    for row, first, count in [(0, 0, 12_000), (3, 17, 5_000), (2, 12_199, 1)]:
        assert torch.equal(reader(row, first, count), files(row, first, count))
    config = DataConfig(min_seconds=0.1)
    for index in range(3):
        from_cache = CropBatches(utterances, config, seed=0, reader=reader)[index]
        assert torch.equal(from_cache.waveform, CropBatches(utterances, config, seed=0)[index].waveform)


def test_a_cache_reads_any_part_of_its_utterances_in_any_order_and_without_the_files(utterances, tmp_path, monkeypatch):
    expected = FileReader(utterances)(2, 5, 100)
    audio_cache.build(utterances, tmp_path)
    monkeypatch.setattr(audio_cache, "build", lambda *_: pytest.fail("built again"))
    (tmp_path / "2.wav").unlink()
    reader = audio_cache.open_audio([utterances[2], utterances[0]], folder=tmp_path, policy="auto")
    assert torch.equal(reader(0, 5, 100), expected)


def other_samples(path):
    """Write other samples of the same number into a file."""
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples[::-1], rate, subtype="PCM_16")


def test_utterances_not_in_the_cache_or_changed_files_make_a_new_cache(utterances, tmp_path):
    audio_cache.build(utterances[:3], tmp_path)
    assert audio_cache._find(tmp_path, utterances) is None
    assert audio_cache._find(tmp_path, utterances[:3]) is not None
    os.utime(tmp_path / "1.wav", ns=(1, 1))  # touched: the content is the same
    assert audio_cache._find(tmp_path, utterances[:3]) is not None
    other_samples(tmp_path / "1.wav")
    assert audio_cache._find(tmp_path, utterances[:3]) is None
    assert audio_cache._find(tmp_path, utterances[:1]) is not None
    audio_cache.build(utterances[:3], tmp_path)
    assert audio_cache._find(tmp_path, utterances[:3]) is not None


@pytest.fixture
def never_built(monkeypatch):
    def forbid():
        monkeypatch.setattr(audio_cache, "build", lambda *_: pytest.fail("built again"))

    return forbid


def moved(utterances, folder):
    return [u._replace(path=str(folder / u.path.rsplit("/", 1)[1])) for u in utterances]


@pytest.mark.parametrize("keeps_times", [True, False])
def test_a_cache_moves_with_its_recordings(utterances, tmp_path, never_built, monkeypatch, keeps_times):
    expected = FileReader(utterances)(2, 5, 100)
    (tmp_path / "old").mkdir()
    audio_cache.build(utterances, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "elsewhere").mkdir()
    for utterance in utterances:
        (shutil.copy2 if keeps_times else shutil.copy)(utterance.path, tmp_path / "elsewhere")
        Path(utterance.path).unlink()
    never_built()
    here = moved(utterances, tmp_path / "elsewhere")
    assert torch.equal(audio_cache.open_audio(here, folder=tmp_path / "new", policy="auto")(2, 5, 100), expected)
    # Their places are now in the list, so that they are not read again, and can be removed.
    monkeypatch.setattr(cache_index, "content_digest", lambda *_: pytest.fail("read again"))
    assert audio_cache.open_audio(here[:1], folder=tmp_path / "new", policy="auto")(0, 0, 10) is not None
    Path(here[2].path).unlink()
    assert torch.equal(audio_cache.open_audio(here, folder=tmp_path / "new", policy="auto")(2, 5, 100), expected)


def test_other_files_of_the_same_names_and_sizes_are_not_taken_from_a_cache(utterances, tmp_path):
    audio_cache.build(utterances, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for utterance in utterances:
        shutil.copy2(utterance.path, tmp_path / "elsewhere")
    here = moved(utterances, tmp_path / "elsewhere")
    other_samples(here[1].path)
    os.utime(here[1].path, ns=(Path(utterances[1].path).stat().st_mtime_ns,) * 2)
    assert audio_cache._find(tmp_path, here) is None
    reader = audio_cache.open_audio(here, folder=tmp_path, policy="always")
    assert torch.equal(reader(1, 0, 500), FileReader(here)(1, 0, 500))


def test_copies_of_a_file_share_its_samples_in_a_cache(utterances, tmp_path):
    audio_cache.build(utterances, tmp_path)
    shutil.copy(utterances[0].path, tmp_path / "copy.wav")
    both = [utterances[0], utterances[0]._replace(id="copy", path=str(tmp_path / "copy.wav"))]
    for _ in range(2):
        reader = audio_cache._find(tmp_path, both, noting=True)
        assert torch.equal(reader(0, 0, 500), reader(1, 0, 500))


def test_a_cache_without_digests_is_valid_where_it_was_and_is_built_again_elsewhere(utterances, tmp_path):
    audio_cache.build(utterances, tmp_path)
    (index,) = (tmp_path / audio_cache.FOLDER).glob("*.json")
    held = json.loads(index.read_text())
    held["files"] = {path: stamp[:2] for path, stamp in held["files"].items()}
    index.write_text(json.dumps(held))
    expected = FileReader(utterances)(1, 5, 100)
    assert torch.equal(audio_cache._find(tmp_path, utterances, noting=True)(1, 5, 100), expected)
    (tmp_path / "elsewhere").mkdir()
    for utterance in utterances:
        shutil.copy2(utterance.path, tmp_path / "elsewhere")
    here = moved(utterances, tmp_path / "elsewhere")
    assert audio_cache._find(tmp_path, here) is None
    reader = audio_cache.open_audio(here, folder=tmp_path, policy="always")
    assert torch.equal(reader(1, 5, 100), FileReader(here)(1, 5, 100))


def test_an_interrupted_build_leaves_nothing(utterances, tmp_path):
    (tmp_path / "3.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.wav"):
        audio_cache.open_audio(utterances, folder=tmp_path, policy="always")
    assert list((tmp_path / audio_cache.FOLDER).iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"utterances": [["a"]], "files": {}}', '{"utterances": []}'])
def test_a_damaged_list_is_reported_and_the_cache_built_again(utterances, tmp_path, content, caplog):
    assert isinstance(audio_cache.open_audio(utterances, folder=tmp_path, policy="always"), audio_cache.PcmReader)
    (index,) = (tmp_path / audio_cache.FOLDER).glob("*.json")
    whole = index.read_text()
    index.write_text(content)
    assert isinstance(audio_cache.open_audio(utterances, folder=tmp_path, policy="always"), audio_cache.PcmReader)
    assert "is damaged" in caplog.text
    assert index.read_text() == whole


def test_samples_without_their_list_are_not_used_as_a_cache(utterances, tmp_path):
    audio_cache.build(utterances, tmp_path)
    (samples,) = (tmp_path / audio_cache.FOLDER).glob("*.bin")
    samples.write_bytes(samples.read_bytes()[:-2])
    assert audio_cache._find(tmp_path, utterances) is None


def test_automatic_caching_depends_on_decoding_speed_and_disk_space(utterances, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(audio_cache, "decoding_speed", lambda _: 10_000.0)
    assert isinstance(audio_cache.open_audio(utterances, folder=tmp_path, policy="auto"), FileReader)
    monkeypatch.setattr(audio_cache, "decoding_speed", lambda _: 100.0)
    usage = audio_cache.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(audio_cache.shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    assert isinstance(audio_cache.open_audio(utterances, folder=tmp_path, policy="auto"), FileReader)
    assert "100x real time" in capfd.readouterr().err
    monkeypatch.setattr(audio_cache.shutil, "disk_usage", lambda _: usage)
    assert isinstance(audio_cache.open_audio(utterances, folder=tmp_path, policy="auto"), audio_cache.PcmReader)
    assert isinstance(audio_cache.open_audio(utterances, folder=tmp_path, policy="never"), FileReader)


def test_too_little_disk_space_is_an_error_if_the_cache_is_required(utterances, tmp_path, monkeypatch):
    usage = audio_cache.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(audio_cache.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(OSError, match="not enough disk space"):
        audio_cache.open_audio(utterances, folder=tmp_path, policy="always")


@pytest.fixture
def decoded(monkeypatch):
    """The rows that were decoded, each of them in a quarter of a second by the clock of the cache."""
    rows, read = [], FileReader.__call__

    def slowly(reader, row, first, num_samples):
        rows.append(row)
        return read(reader, row, first, num_samples)

    monkeypatch.setattr(FileReader, "__call__", slowly)
    monkeypatch.setattr(audio_cache, "time", SimpleNamespace(perf_counter=lambda: 0.25 * len(rows)))
    return rows


def test_decoding_speed_is_seconds_of_audio_in_a_second(utterances, decoded):
    audio_seconds = sum(utterance.num_samples for utterance in utterances) / RATE
    assert audio_cache.decoding_speed(FileReader(utterances)) == pytest.approx(audio_seconds / 1.0)
    assert decoded == [0, 1, 2, 3]


def test_decoding_speed_is_measured_on_a_few_utterances_spread_over_the_list(utterances, decoded):
    audio_cache.decoding_speed(FileReader(utterances * 25), num_tried=4, max_seconds=10.0)
    assert decoded == [0, 25, 50, 75]


def test_measuring_the_decoding_speed_ends_in_time(utterances, decoded):
    audio_seconds = sum(utterance.num_samples for utterance in utterances[:3]) / RATE
    assert audio_cache.decoding_speed(FileReader(utterances), max_seconds=0.6) == pytest.approx(audio_seconds / 0.75)
    assert decoded == [0, 1, 2]


@pytest.mark.parametrize("peak_db", [18.0, 12.0, 0.0, -60.0, -90.0])
@pytest.mark.parametrize("coding", ["FLOAT", "PCM_24"])
def test_no_level_is_clipped_or_loses_resolution(tmp_path, peak_db, coding):
    if coding == "PCM_24" and (peak_db > 0 or peak_db < -60):
        pytest.skip("24 bits hold less")
    noise = np.random.default_rng(1).standard_normal(RATE)
    soundfile.write(tmp_path / "a.wav", noise / np.abs(noise).max() * 10 ** (peak_db / 20), RATE, subtype=coding)
    utterances = [Utterance("a", str(tmp_path / "a.wav"), 0.0, RATE, None, None, None, None)]
    reader = audio_cache.open_audio(utterances, folder=tmp_path, policy="always")
    expected = FileReader(utterances)(0, 0, RATE)
    error = (reader(0, 0, RATE) - expected).square().mean() / expected.square().mean()
    assert 10 * float(error.log10()) < -60


@pytest.mark.parametrize("values", [[-32768, 1, 3], [-32768, 32767, 1], [-5, 4, 3], [0, 0, 0], [1, 0, 0], [-1, 0, 0]])
def test_16_bit_samples_stay_what_they_are(tmp_path, values):
    soundfile.write(tmp_path / "a.wav", np.array(values * 200, dtype=np.int16), RATE)
    utterances = [Utterance("a", str(tmp_path / "a.wav"), 0.0, 600, None, None, None, None)]
    reader = audio_cache.open_audio(utterances, folder=tmp_path, policy="always")
    assert torch.equal(reader(0, 0, 600), FileReader(utterances)(0, 0, 600))


def test_channels_of_a_file_are_cached_apart_and_files_in_any_order(tmp_path):
    both = np.random.default_rng(2).integers(-3000, 3000, (2 * RATE, 2)).astype(np.int16)
    soundfile.write(tmp_path / "b.wav", both, RATE)
    soundfile.write(tmp_path / "a.mp3", both[:, 0], RATE)
    rows = [("b.wav", 1.0, 1), ("a.mp3", 1.0, None), ("b.wav", 1.0, 0), ("a.mp3", 0.0, None), ("b.wav", 0.5, None)]
    utterances = [
        Utterance(str(n), str(tmp_path / name), start, 9000, None, None, None, None, channel)
        for n, (name, start, channel) in enumerate(rows)
    ]
    reader = audio_cache.open_audio(utterances, folder=tmp_path, policy="always")
    assert isinstance(reader, audio_cache.PcmReader)
    files = FileReader(utterances)
    for row in (0, 2, 4):
        torch.testing.assert_close(reader(row, 10, 500), files(row, 10, 500), atol=2**-16, rtol=0)
    for row in (1, 3):
        assert (reader(row, 10, 500) - files(row, 10, 500)).abs().max() < 2**-16
    assert torch.equal(reader(2, 0, 9000), torch.from_numpy(both[RATE : RATE + 9000, 0] / np.float32(32768)))


def test_a_cache_of_version_0_1_is_read(utterances, tmp_path):
    audio_cache.build(utterances, tmp_path)
    (index,) = (tmp_path / audio_cache.FOLDER).glob("*.json")
    held = json.loads(index.read_text())
    held["utterances"] = [row[:3] for row in held["utterances"]]
    del held["exponents"]
    index.write_text(json.dumps(held))
    reader = audio_cache._find(tmp_path, utterances)
    assert torch.equal(reader(1, 5, 100), FileReader(utterances)(1, 5, 100))


def test_unfinished_caches_are_removed_by_the_next_builder_and_other_files_kept(utterances, tmp_path):
    (tmp_path / audio_cache.FOLDER).mkdir()
    left = ("abc.123.partial", ".0123456789ab.partial.bin")
    abandoned = [tmp_path / audio_cache.FOLDER / name for name in left]
    others = [tmp_path / audio_cache.FOLDER / name for name in ("thesis.partial", "my.123.partial", "a.b.partial")]
    for file in (*abandoned, *others):
        file.touch()
    audio_cache.open_audio(utterances, folder=tmp_path, policy="always")
    assert all(other.exists() for other in others)
    assert not any(path.exists() for path in abandoned)


BUILD = """
import sys, time
from pathlib import Path
from sori.data.batches import audio_cache, cache_index
from sori.data.manifest import Utterance

build = audio_cache.build
def slow(utterances, folder):
    print("building", flush=True)
    time.sleep(1.5)
    build(utterances, folder)
audio_cache.build = slow
utterances = [Utterance(*eval(line)) for line in sys.stdin]
audio_cache.open_audio(utterances, folder=Path(sys.argv[1]), policy="always")
"""


def test_of_two_builders_the_second_waits_and_uses_the_cache_of_the_first(utterances, tmp_path, monkeypatch):
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        first.stdin.write("".join(f"{tuple(utterance)!r}\n" for utterance in utterances))
        first.stdin.close()
        assert first.stdout.readline() == "building\n"
        partial = tmp_path / audio_cache.FOLDER / f"abc.{first.pid}.partial"
        partial.touch()
        monkeypatch.setattr(audio_cache, "build", lambda *_: pytest.fail("built again"))
        reader = audio_cache.open_audio(utterances, folder=tmp_path, policy="always")
        assert isinstance(reader, audio_cache.PcmReader)
        assert first.wait(timeout=60) == 0
