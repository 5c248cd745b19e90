"""Utterances to Lhotse cuts and back; which cuts from other programs are accepted."""

import gzip
import json
import math
import time

import numpy as np
import pytest
import soundfile

from sori.core import audio
from sori.data.manifest import CUTS, TABLE, Utterance, read_manifest, read_with_headers, write_manifest

ABOUT = audio.AudioInfo(44_100, 88_200, 1, "WAV/PCM_16")


def utterance(name="a", **changes):
    about = {"path": "/x/a.wav", "start": 0.0, "num_samples": 32_000}
    about |= {"text": "안녕, “you”", "speaker": "s1", "language": "kor", "split": "train"}
    return Utterance(name, **(about | changes))


def cut(**changes):
    recording = {"id": "r", "sampling_rate": 16_000, "num_samples": 80_000, "duration": 5.0, "channel_ids": [0]}
    recording["sources"] = [{"type": "file", "channels": [0], "source": "/x/r.wav"}]
    about = {"id": "c", "start": 1.0, "duration": 3.0, "channel": 0, "supervisions": [], "recording": recording}
    return about | {"type": "MonoCut"} | changes


def supervision(name, start, duration, **more):
    return {"id": name, "recording_id": "r", "start": start, "duration": duration, "channel": 0} | more


def store(folder, *cuts):
    with gzip.open(folder / CUTS, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in cuts)
    return folder


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [
        (utterance("a"), ABOUT),
        (utterance("b", text=None, speaker=None, language=None, split=None), ABOUT._replace(num_channels=2)),
        (utterance("c", start=0.13, num_samples=4_803), ABOUT),
    ]
    write_manifest(tmp_path, rows)
    assert read_manifest(tmp_path) == [row for row, _ in rows]
    assert sorted(path.name for path in tmp_path.iterdir()) == [CUTS, TABLE]


def test_parts_of_a_list_are_written_without_opening_a_sound_file(tmp_path):
    rows = [(utterance("a"), ABOUT._replace(num_channels=2)), (utterance("b", start=0.13, num_samples=4_803), ABOUT)]
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write_manifest(first, rows)
    write_manifest(second, read_with_headers(first))
    assert (second / CUTS).read_bytes() == (first / CUTS).read_bytes()


def test_a_foreign_cut_without_a_rate_has_no_header(tmp_path):
    foreign = cut()
    del foreign["recording"]["sampling_rate"]
    with pytest.raises(ValueError, match=r"c: expected sampling_rate.*prepare the folder again"):
        read_with_headers(store(tmp_path, foreign))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 44_099])
def test_lengths_survive_every_rate(tmp_path, rate):
    lengths = [*range(400, 450), 12_345, 99_999, 1_000_003]
    infos = [audio.AudioInfo(rate, num_frames, 1, "WAV/PCM_16") for num_frames in lengths]
    rows = [(utterance(str(i), num_samples=about.num_samples), about) for i, about in enumerate(infos)]
    write_manifest(tmp_path, rows)
    assert [u.num_samples for u in read_manifest(tmp_path)] == [about.num_samples for about in infos]


def test_equal_rows_give_equal_bytes(tmp_path, monkeypatch):
    for day, name in enumerate(("one", "two")):
        monkeypatch.setattr(gzip.time, "time", lambda day=day: 86_400.0 * (day + 1))
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, [(utterance(), ABOUT)])
    assert (tmp_path / "one" / CUTS).read_bytes() == (tmp_path / "two" / CUTS).read_bytes()


def test_a_failing_write_leaves_the_old_list(tmp_path):
    write_manifest(tmp_path, [(utterance("old"), ABOUT)])

    def rows():
        yield utterance("new"), ABOUT
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(tmp_path, rows())
    assert [u.id for u in read_manifest(tmp_path)] == ["old"]


def test_lhotse_reads_the_list_and_the_same_samples(tmp_path):
    lhotse = pytest.importorskip("lhotse", exc_type=ImportError)
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (32_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "two.wav", stereo, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", stereo[:, 0], 16_000, subtype="FLOAT")
    rows = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.wav"
        about = audio.info(path)
        rows.append((utterance(name, path=str(path), num_samples=about.num_samples), about))
        rows.append((utterance(f"{name}-part", path=str(path), start=0.25, num_samples=8_001, text=None), about))
    write_manifest(tmp_path, rows)
    cuts = lhotse.load_manifest(tmp_path / CUTS)
    lhotse.validate(cuts)
    assert len(cuts) == 4
    for row, loaded in zip(read_manifest(tmp_path), cuts, strict=True):
        ours = audio.read(row.path, start=row.start, duration=row.duration_seconds).numpy()
        np.testing.assert_allclose(loaded.load_audio().mean(axis=0), ours, atol=1e-7)
        assert loaded.id == row.id
        assert loaded.supervisions[0].text == row.text
        assert loaded.supervisions[0].speaker == "s1"
        assert loaded.custom["split"] == "train"


def test_each_supervision_of_a_foreign_cut_is_an_utterance(tmp_path):
    said = [
        supervision("s1", 0.5, 1.0, text="one", speaker="x"),
        supervision("s2", 2.0, 4.0, text="two", custom={"split": "dev"}),
    ]
    first, second = read_manifest(store(tmp_path, cut(supervisions=said)))
    assert first == Utterance("s1", "/x/r.wav", 1.5, 16_000, "one", "x", None, None)
    assert second == Utterance("s2", "/x/r.wav", 3.0, 16_000, "two", None, None, "dev")


def test_a_foreign_cut_without_supervision_is_untranscribed(tmp_path):
    assert read_manifest(store(tmp_path, cut())) == [Utterance("c", "/x/r.wav", 1.0, 48_000, None, None, None, None)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "MixedCut"}, "got a MixedCut"),
        ({"channel": 1}, r"uses channels \[1\] of \[0\]"),
        ({"recording": cut()["recording"] | {"sources": [{"type": "url", "channels": [0], "source": "s"}]}}, "url"),
        ({"recording": cut()["recording"] | {"transforms": [{"name": "Speed", "kwargs": {}}]}}, "augmentations"),
        ({"recording": 3}, "not a Lhotse cut"),
        ({"start": "early"}, "expected start and duration in seconds, from 0 to 1e.08, got 'early'"),
        ({"id": 5}, "id, path, text, speaker, language and split should be strings"),
        *(
            ({field: value}, "expected start and duration in seconds")
            for field in ("start", "duration")
            for value in (math.inf, math.nan, 1e300, 2e8, -5, "x", None, [1], 10**400)
        ),
    ],
)
def test_cuts_that_are_not_a_segment_of_a_file_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        read_manifest(store(tmp_path, cut(id="fine"), cut(**changes)))
    assert "line 2" in str(error.value)


def test_a_cut_without_a_field_names_it(tmp_path):
    without = cut()
    del without["duration"]
    with pytest.raises(ValueError, match=r"line 1: not a Lhotse cut \('duration' is missing\)"):
        read_manifest(store(tmp_path, without))


def test_features_without_sound_are_refused(tmp_path):
    silent = cut()
    del silent["recording"]
    with pytest.raises(ValueError, match="has no recording"):
        read_manifest(store(tmp_path, silent))


def test_cuts_resampled_by_lhotse_are_accepted(tmp_path):
    recording = cut()["recording"] | {"transforms": [{"name": "Resample", "kwargs": {}}]}
    assert read_manifest(store(tmp_path, cut(recording=recording)))[0].num_samples == 48_000


def test_folders_that_are_not_prepared_are_refused_with_the_command(tmp_path):
    with pytest.raises(ValueError, match=r"sori prepare RECORDINGS .*nowhere"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lists no utterances"):
        read_manifest(store(tmp_path))
    with pytest.raises(ValueError, match="a second utterance is named 'c'"):
        read_manifest(store(tmp_path, cut(), cut()))
    whole = (store(tmp_path, *[cut(id=str(i)) for i in range(100)]) / CUTS).read_bytes()
    (tmp_path / CUTS).write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="damaged"):
        read_manifest(tmp_path)


@pytest.mark.slow
def test_a_hundred_thousand_utterances_load_in_seconds(tmp_path):
    write_manifest(tmp_path, ((utterance(str(i), path=f"/x/{i}.wav"), ABOUT) for i in range(100_000)))
    start = time.process_time()
    assert len(read_manifest(tmp_path)) == 100_000
    assert time.process_time() - start < 5
