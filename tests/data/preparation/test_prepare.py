"""From recordings to a prepared folder: what is kept, how long ones are cut, and that sources stay untouched."""

import errno
import hashlib
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sori.core import audio
from sori.core.sound.decoders import open_decoder
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance, read_manifest
from sori.data.preparation import checks
from sori.data.preparation.checks import Segment
from sori.data.preparation.prepare import prepare
from sori.data.sources.reading import Reading

RATE = 16_000


def noise(seconds, seed=0, rate=RATE):
    return 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fingerprints(folder):
    return {
        path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def recordings(tmp_path):
    """Five recordings of several kinds, one with a transcript, one as long as four, and a table beside them."""
    folder = tmp_path / "recordings"
    (folder / "anna").mkdir(parents=True)
    soundfile.write(folder / "anna/one.wav", noise(1.0, 1), RATE)
    (folder / "anna/one.txt").write_text("  hello\n there \n")
    soundfile.write(folder / "anna/two.flac", np.stack([noise(1.5, 2, 44_100)] * 2, axis=1), 44_100)
    soundfile.write(folder / "three.mp3", noise(1.2, 3, 22_050), 22_050)
    (folder / "three.txt").write_text(" \n")
    soundfile.write(folder / "four.opus", noise(2.0, 4, 48_000), 48_000, format="OGG", subtype="OPUS")
    pauses = np.concatenate([part for seed in range(4) for part in (noise(2.0, 10 + seed), 1e-4 * noise(0.6, seed))])
    soundfile.write(folder / "long.wav", pauses, RATE, subtype="FLOAT")
    return folder


def test_a_folder_of_recordings(recordings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = fingerprints(recordings)
    report = prepare("recordings", "out", language="eng", max_seconds=6.0, num_workers=2)
    assert fingerprints(recordings) == before
    monkeypatch.chdir("/")
    utterances = read_manifest(tmp_path / "out")
    assert utterances[0] == Utterance("four", str(recordings / "four.opus"), 0.0, 32_000, None, None, "eng", None)
    by_id = {utterance.id: utterance for utterance in utterances}
    assert list(by_id) == ["four", "long-0001", "long-0002", "three", "anna/one", "anna/two"]
    assert by_id["anna/one"].text == "hello there"
    assert by_id["anna/two"].num_samples == 24_000
    assert by_id["anna/two"].speaker == "anna"
    for utterance in utterances:
        waveform = audio.read(utterance.path, start=utterance.start, duration=utterance.duration_seconds)
        assert len(waveform) == utterance.num_samples
    (flag,) = lines(tmp_path / "out/flagged.jsonl")
    assert (flag["id"], flag["warning"]) == ("three", "empty transcript")
    assert (report.num_utterances, report.num_files, report.num_speakers) == (6, 5, 1)
    assert report.hours == pytest.approx(sum(u.duration_seconds for u in utterances) / 3600)
    assert report.transcribed_hours == pytest.approx(1 / 3600)


def test_long_recordings_are_cut_in_their_pauses(recordings, tmp_path):
    prepare(recordings, tmp_path / "out", max_seconds=3.0)
    pieces = [u for u in read_manifest(tmp_path / "out") if u.path.endswith("long.wav")]
    assert len(pieces) == 4
    for number, piece in enumerate(pieces):
        assert piece.start <= 2.6 * number <= piece.start + 0.3
        assert 2.0 < piece.duration_seconds <= 2.6
    text = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "recordings longer than 3 s: 1 (0.00 h), cut at silences into 4 pieces" in text


def test_a_long_recording_with_one_transcript_is_left_out_with_the_cure(recordings, tmp_path):
    (recordings / "long.txt").write_text("a very long story")
    prepare(recordings, tmp_path / "out", max_seconds=5.0)
    (row,) = lines(tmp_path / "out/excluded.jsonl")
    assert (row["id"], row["reason"]) == ("long", "too long for its transcript")
    assert "start and end of each sentence" in row["detail"]


def test_segments_of_a_long_recording(recordings, tmp_path):
    table = recordings / "table.csv"
    rows = ["0,1.99,eins", "2.6,4.6,zwei", "2.6,4.6,zwei", "5.2,99,drei", "7.8,,vier"]
    table.write_text("audio,start,end,text\n" + "".join(f"long.wav,{row}\n" for row in rows))
    prepare(table, tmp_path / "out")
    assert [(u.id, u.start, u.num_samples, u.text) for u in read_manifest(tmp_path / "out")] == [
        ("long", 0.0, 31_840, "eins"),
        ("long~2", 2.6, 32_000, "zwei"),
        ("long~5", 7.8, 41_600, "vier"),
    ]
    reasons = {row["id"]: row["reason"] for row in lines(tmp_path / "out/excluded.jsonl")}
    assert reasons == {"long~3": "duplicate", "long~4": "beyond the end"}


def test_impossible_times_cost_only_their_own_rows(recordings, tmp_path):
    times = ("1e308", "1e308"), ("0", "1e308"), ("NaN", "1"), ("-5", "1"), ("0", "NaN")
    rows = [("0.0", "1.9"), *times]
    lines_ = [f'{{"audio_filepath": "long.wav", "offset": {a}, "duration": {b}, "text": "eins"}}\n' for a, b in rows]
    (recordings / "train_manifest.json").write_text("".join(lines_))
    prepare(recordings, tmp_path / "out", reading=Reading(layout="nemo"), num_workers=1)
    assert [(u.start, u.num_samples) for u in read_manifest(tmp_path / "out")] == [(0.0, 30_400)]
    reasons = [row["reason"] for row in lines(tmp_path / "out/excluded.jsonl")]
    assert reasons == ["beyond the end"] * len(times)


def test_among_duplicates_the_transcribed_one_is_kept(recordings, tmp_path):
    soundfile.write(recordings / "aaa.flac", soundfile.read(recordings / "anna/one.wav", dtype="int16")[0], RATE)
    prepare(recordings, tmp_path / "out")
    (row,) = lines(tmp_path / "out/excluded.jsonl")
    assert (row["id"], row["reason"], row["detail"]) == ("aaa", "duplicate", "the same audio as anna/one")


def test_recordings_shorter_than_the_minimum_are_left_out(recordings, tmp_path):
    prepare(recordings, tmp_path / "out", min_seconds=1.3, num_workers=1)
    short = {row["id"]: row["reason"] for row in lines(tmp_path / "out/excluded.jsonl")}
    assert short == {"anna/one": "too short", "three": "too short"}


def test_the_result_does_not_depend_on_the_number_of_workers(recordings, tmp_path):
    for num_workers in (1, 3):
        prepare(recordings, tmp_path / f"out{num_workers}", num_workers=num_workers)
    for name in ("cuts.jsonl.gz", "excluded.jsonl", "flagged.jsonl"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out3" / name).read_bytes()


def test_several_sources_with_equal_names(recordings, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "three.wav", noise(1.0, 99), RATE)
    (other / "table.tsv").write_text("audio\tsplit\nthree.wav\tdev\ngone.wav\tdev\n")
    prepare([recordings, other / "table.tsv"], tmp_path / "out")
    found = {u.id: u.split for u in read_manifest(tmp_path / "out")}
    assert found["three~2"] == "dev"
    assert found["three"] is None
    (row,) = lines(tmp_path / "out/excluded.jsonl")
    assert (row["path"], row["reason"]) == (str(other / "gone.wav"), "missing")


def test_a_prepared_folder_as_the_source_is_named(recordings, tmp_path):
    prepare(recordings, tmp_path / "p")
    for source in ("p", "p/cuts.jsonl.gz"):
        for into, overwrite in (("q", False), ("p", True)):
            with pytest.raises(ValueError, match=r"p is prepared already: .*--data .*name them as the source"):
                prepare([recordings, tmp_path / source], tmp_path / into, overwrite=overwrite)
    assert not (tmp_path / "q").exists()
    (tmp_path / "p/excluded.jsonl").unlink()  # as Lhotse writes it
    with pytest.raises(ValueError, match=r"a list of Lhotse cuts, which needs no preparation: .*--data "):
        prepare(tmp_path / "p/cuts.jsonl.gz", tmp_path / "q")


def test_recordings_beside_a_list_of_lhotse_are_read(recordings, tmp_path):
    (recordings / "cuts.jsonl.gz").write_bytes(b"")
    assert prepare(recordings, tmp_path / "q").num_files == 5


def test_preparing_again_needs_overwrite(recordings, tmp_path):
    prepare(recordings, tmp_path / "out")
    with pytest.raises(ValueError, match=r"was prepared before; .* --overwrite"):
        prepare(recordings, tmp_path / "out")
    (recordings / "four.opus").unlink()
    assert prepare(recordings, tmp_path / "out", overwrite=True).num_files == 4
    assert len(read_manifest(tmp_path / "out")) == 4
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "cuts.jsonl.gz",
        "excluded.jsonl",
        "flagged.jsonl",
        "report.md",
        "report.png",
        "utterances.arrow",
    }


@pytest.mark.parametrize("writer", ["write_report", "write_manifest"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt()])
def test_preparing_again_that_fails_leaves_the_older_lists(writer, error, recordings, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    prepare(recordings, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (recordings / "four.opus").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(f"sori.data.preparation.prepare.{writer}", fail)
        with pytest.raises(type(error)):
            prepare(recordings, tmp_path / "out", overwrite=True)
    (tmp_path / "out/prepare.journal").unlink()  # what was found out is kept, for the same command
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert prepare(recordings, tmp_path / "out", overwrite=True).num_files == 4


@pytest.mark.parametrize("name", ["report.md", "report.png", "flagged.jsonl", "cuts.jsonl.gz"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_such_names_that_are_not_ours_stay(name, overwrite, recordings, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(
        ValueError, match=rf"contains {name} but no excluded.jsonl, so it was not made by `sori prepare`"
    ):
        prepare(recordings, tmp_path / "out", overwrite=overwrite)
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_unsuitable_folders_are_refused(recordings, tmp_path):
    with pytest.raises(ValueError, match="is inside"):
        prepare(recordings, recordings / "out")
    with pytest.raises(ValueError, match=r"contains other files \(recordings\)"):
        prepare(recordings, tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        prepare(recordings / "anna", recordings / "three.mp3")
    with pytest.raises(ValueError, match=r"no such file or folder; .*CORPUS:FOLDER"):
        prepare(tmp_path / "gone", tmp_path / "out")
    with pytest.raises(ValueError, match=r"expected a folder or a table .* got a \.mp3 file"):
        prepare(recordings / "three.mp3", tmp_path / "out")
    with pytest.raises(ValueError, match="min_seconds < max_seconds"):
        prepare(recordings, tmp_path / "out", min_seconds=0.01)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(b"picture")
    with pytest.raises(ValueError, match=r"contains no sound files \(it contains 1 x \.png\)"):
        prepare(tmp_path / "pictures", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_usable_is_an_error_that_counts_the_reasons(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / f"in/{name}.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the recordings can be used \(empty: 2\)"):
        prepare(tmp_path / "in", tmp_path / "out")
    assert len(lines(tmp_path / "out/excluded.jsonl")) == 2
    with pytest.raises(ValueError, match="not a prepared folder"):
        read_manifest(tmp_path / "out")
    soundfile.write(tmp_path / "in/c.wav", noise(1.0), RATE)
    assert prepare(tmp_path / "in", tmp_path / "out").num_files == 1  # no --overwrite: nothing was prepared yet


def test_the_report_shows_what_there_is(recordings, tmp_path):
    (recordings / "anna/two.txt").write_text("한국어 | ça", encoding="utf-8")
    prepare(recordings, tmp_path / "out", language="kor")
    text = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "Language: kor (all utterances)." in text
    assert "| 44100 Hz | 1 |" in text
    assert "| OGG/OPUS | 1 |" in text
    assert "| `한` | U+D55C | hangul syllable han | 1 |" in text
    assert "| `\\|` | U+007C | vertical line | 1 |" in text
    assert (tmp_path / "out/report.png").stat().st_size > 10_000


def test_recordings_with_a_warning_are_kept_and_flagged(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    half = noise(2.0, 5)
    half[: int(1.2 * RATE)] = 0
    peaks = noise(2.0, 6)
    peaks[::700] = 1.0
    spectrum = np.fft.rfft(noise(2.0, 7))
    spectrum[np.fft.rfftfreq(2 * RATE, 1 / RATE) > 3_800] = 0
    for name, waveform in {
        "quiet": 0.01 * noise(2.0, 8),
        "offset": noise(2.0, 9) + 0.1,
        "mostly zeros": half,
        "some clipping": peaks,
        "telephone": np.fft.irfft(spectrum),
        "fine": noise(2.0, 10),
    }.items():
        soundfile.write(folder / f"{name}.wav", waveform, RATE)
    prepare(folder, tmp_path / "out")
    flags = {(row["id"], row["warning"]) for row in lines(tmp_path / "out/flagged.jsonl")}
    names = ("offset", "mostly zeros", "some clipping", "telephone")
    assert flags == {("quiet", "very quiet"), *((name, name) for name in names)}
    assert len(read_manifest(tmp_path / "out")) == 6


def test_faint_speech_is_kept_and_steady_noise_of_its_level_is_silent(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    envelope = np.repeat([1e-5, 2e-4, 1e-5, 1.5e-4, 1e-5], RATE // 2)  # -100 dB, and -74 dB as a distant speaker
    speech = 10 * noise(2.5, 1) * envelope
    zeros = np.concatenate([np.zeros(RATE), 2e-3 * noise(2.0, 2)])
    for name, waveform in {
        "faint": speech,
        "nothing": speech / 10,
        "steady": 2e-3 * noise(2.0, 3),
        "zeros": zeros,
    }.items():
        soundfile.write(folder / f"{name}.wav", waveform, RATE, subtype="FLOAT")
    prepare(folder, tmp_path / "out")
    (flag,) = [row for row in lines(tmp_path / "out/flagged.jsonl") if row["warning"] == "very quiet"]
    assert [u.id for u in read_manifest(tmp_path / "out")] == [flag["id"]] == ["faint"]
    assert {row["id"]: row["reason"] for row in lines(tmp_path / "out/excluded.jsonl")} == dict.fromkeys(
        ("nothing", "steady", "zeros"), "silent"
    )


def two_channels(path, first, second, rate=RATE):
    soundfile.write(path, np.stack([first, second], axis=1), rate)


def test_separate_channels_are_recordings_of_their_own(tmp_path):
    folder = tmp_path / "in"
    (folder / "bo").mkdir(parents=True)
    two_channels(folder / "bo/call.wav", noise(3.0, 1), noise(3.0, 2))
    (folder / "bo/call.txt").write_text("hello")
    two_channels(folder / "half.wav", noise(1.0, 3), np.zeros(RATE))
    soundfile.write(folder / "mono.wav", noise(1.0, 4), RATE)
    prepare(folder, tmp_path / "out", reading=Reading(channels="separate"), max_seconds=2.0)
    found = read_manifest(tmp_path / "out")
    assert {(u.id, u.channel, u.speaker, u.text) for u in found if u.id.startswith("bo")} == {
        (f"bo/call-ch{channel}-000{part}", channel, f"bo-ch{channel}", None) for channel in (0, 1) for part in (1, 2)
    }
    assert [(u.id, u.channel) for u in found if not u.id.startswith("bo")] == [("half-ch0", 0), ("mono", None)]
    (row,) = lines(tmp_path / "out/excluded.jsonl")
    assert (row["id"], row["reason"]) == ("half-ch1", "silent")
    assert [flag["warning"] for flag in lines(tmp_path / "out/flagged.jsonl")] == ["transcript not used"] * 2
    second = next(u for u in found if u.id == "bo/call-ch1-0001")
    expected = soundfile.read(folder / "bo/call.wav", dtype="float32")[0][: second.num_samples, 1]
    assert FileReader([second])(0, 0, second.num_samples).tolist() == expected.tolist()


def test_stereo_of_opposite_phase_is_noticed_and_one_channel_taken(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    two_channels(folder / "opposite.wav", noise(2.0, 1), -noise(2.0, 1) / 2)
    two_channels(folder / "usual.wav", noise(2.0, 2), noise(2.0, 3))
    prepare(folder, tmp_path / "out")
    assert [(u.id, u.channel) for u in read_manifest(tmp_path / "out")] == [("opposite", 0), ("usual", None)]
    (flag,) = lines(tmp_path / "out/flagged.jsonl")
    assert (flag["id"], flag["warning"]) == ("opposite", "opposite phase")


def test_segments_of_one_file_are_decoded_once(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.mp3", noise(30.0, 1), RATE)
    rows = "".join(f"a.mp3,{start / 4},{start / 4 + 0.5}\n" for start in range(0, 116, 3))
    (folder / "rows.csv").write_text("audio,start,end\n" + rows)
    decoder = open_decoder(folder / "a.mp3")
    prepare(folder / "rows.csv", tmp_path / "out", num_workers=1)
    whole = audio.read(folder / "a.mp3")
    found = read_manifest(tmp_path / "out")
    assert len(found) == 39
    for utterance in found:
        waveform = FileReader([utterance])(0, 0, utterance.num_samples)
        assert waveform.equal(whole[round(utterance.start * RATE) :][: utterance.num_samples])
    segments = [Segment(u.start, u.duration_seconds) for u in found]
    reads = []
    monkeypatched = pytest.MonkeyPatch()
    monkeypatched.setattr(checks, "open_decoder", lambda _: reads.append(1) or decoder)
    assert len(checks.check(str(folder / "a.mp3"), segments=segments)) == 39
    monkeypatched.undo()
    assert len(reads) == 1


def test_what_is_found_out_about_an_hour_is_small_and_equal_in_the_next_process(tmp_path):
    rate = 1_000
    levels = np.tile(np.repeat([0.1, 1e-4], [2 * rate, rate]), 1_200)
    soundfile.write(tmp_path / "hour.wav", levels * np.random.default_rng(0).standard_normal(len(levels)), rate)
    (finding,) = checks.check(str(tmp_path / "hour.wav"), max_seconds=30.0)
    assert len(finding.pieces) > 120
    sent = json.dumps(checks.as_json(finding))
    assert len(sent) < 10_000
    assert checks.from_json(json.loads(sent)) == finding


def test_float_recordings_above_full_scale_are_not_clipped(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    speech = noise(2.0, 1) / np.abs(noise(2.0, 1)).max()
    soundfile.write(folder / "plus18.wav", speech * 8, RATE, subtype="FLOAT")
    soundfile.write(folder / "clipped.wav", np.clip(speech * 8, -1, 1), RATE, subtype="FLOAT")
    soundfile.write(folder / "clipped16.wav", np.clip(speech * 9, -1, 1), RATE, subtype="PCM_16")
    prepare(folder, tmp_path / "out")
    assert [u.id for u in read_manifest(tmp_path / "out")] == ["plus18"]
    assert {row["id"]: row["reason"] for row in lines(tmp_path / "out/excluded.jsonl")} == {
        "clipped": "clipped",
        "clipped16": "clipped",
    }
    assert lines(tmp_path / "out/flagged.jsonl") == []


def test_common_voice_clips_come_in_whole(data_dir, tmp_path):
    report = prepare(data_dir / "common-voice-mini", tmp_path / "out")
    assert report.num_files == 118
    assert report.excluded == {}
    assert report.hours == pytest.approx(428.5 / 3600, abs=1e-4)


def test_real_recordings(data_dir, tmp_path):
    table = data_dir / "english-tiny/manifest.jsonl"
    report = prepare(table, tmp_path / "out")
    rows = {row["id"]: row for row in lines(table)}
    utterances = read_manifest(tmp_path / "out")
    assert [u.id for u in utterances] == list(rows)
    for utterance in utterances:
        row = rows[utterance.id]
        assert utterance.duration_seconds == pytest.approx(row["duration"], abs=1e-3)
        assert (utterance.text, utterance.speaker, utterance.split) == (row["text"], row["speaker"], row["split"])
    assert report.num_speakers == 5
    assert report.excluded == report.flagged == {}


def test_lhotse_reads_the_same_samples(recordings, tmp_path):
    lhotse = pytest.importorskip("lhotse", exc_type=ImportError)
    prepare(recordings, tmp_path / "out", max_seconds=3.0)
    cuts = lhotse.load_manifest(tmp_path / "out/cuts.jsonl.gz")
    lhotse.validate(cuts)
    for utterance, cut in zip(read_manifest(tmp_path / "out"), cuts, strict=True):
        assert cut.id == utterance.id
        if cut.sampling_rate == RATE:
            ours = audio.read(utterance.path, start=utterance.start, duration=utterance.duration_seconds)
            np.testing.assert_allclose(cut.load_audio().mean(axis=0), ours.numpy(), atol=1e-6)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_listed(recordings, tmp_path):
    (recordings / "four.opus").chmod(0)
    prepare(recordings, tmp_path / "out")
    assert lines(tmp_path / "out/excluded.jsonl")[0]["reason"] == "unreadable"


@pytest.mark.usefixtures("bounded")
def test_rows_whose_path_no_file_can_have_are_listed(recordings, tmp_path):
    names = ["anna/one.wav", "b\\u0000.wav", "b\\ud83d.wav", "b\\udcff.wav"]
    rows = "".join(f'{{"audio": "{name}"}}\n' for name in names)
    (recordings / "all.jsonl").write_text(rows)
    report = prepare(recordings / "all.jsonl", tmp_path / "out", num_workers=1)
    assert report.num_utterances == 1
    listed = lines(tmp_path / "out" / "excluded.jsonl")
    assert [row["reason"] in ("unreadable", "missing", "broken text") for row in listed] == [True] * 3
    assert {Path(row["path"]).name for row in listed} == {"b\x00.wav", "b\\ud83d.wav", "b\\udcff.wav"}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("num_workers", [-1, 0, 10**9])
def test_the_number_of_workers_is_bounded(recordings, tmp_path, num_workers):
    with pytest.raises(ValueError, match="expected num_workers to be a whole number from 1 to"):
        prepare(recordings, tmp_path / "out", num_workers=num_workers)


@pytest.mark.usefixtures("bounded")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the socket
def test_pipes_devices_and_sockets_are_listed_and_never_waited_for(tmp_path, monkeypatch):
    folder = tmp_path / "recordings"
    folder.mkdir()
    monkeypatch.chdir(folder)  # the whole path may be too long for a socket
    waveform = np.sin(np.arange(16_000) / 5) / 2
    for name in ("good", "told", "listed"):
        soundfile.write(f"{name}.wav", waveform * len(name) / 10, 16_000)
    for name in ("pipe.wav", "told.txt", "x.trans.txt"):
        os.mkfifo(name)
    socket.socket(socket.AF_UNIX).bind("socket.wav")
    Path("device.wav").symlink_to("/dev/zero")
    report = prepare(folder, tmp_path / "out", num_workers=1)
    assert report.num_utterances == 2
    listed = lines(tmp_path / "out" / "excluded.jsonl")
    assert {Path(row["path"]).name: row["reason"] for row in listed} == {
        "pipe.wav": "wrongly named",
        "socket.wav": "wrongly named",
        "device.wav": "wrongly named",
        "told.wav": "unreadable transcript",
        "x.trans.txt": "unreadable transcript",
    }
    os.mkfifo(tmp_path / "table.jsonl")
    with pytest.raises(ValueError, match="got a named pipe"):
        prepare(tmp_path / "table.jsonl", tmp_path / "out 2", num_workers=1)


def test_every_character_that_normalisation_changes_is_named(recordings, tmp_path):
    (recordings / "anna/one.txt").write_text("\u102ca don\u2019t ó:ta ó:to \u0085 ?", encoding="utf-8")
    report = prepare(recordings, tmp_path / "out", num_workers=1)
    found = {change.character: (change.count, change.in_words) for change in report.changed}
    assert found == {"\u102c": (1, 0), "\u2019": (1, 1), ":": (2, 2), "?": (1, 0)}
    assert "letters and marks that training loses: 1 x U+102C" in str(report)
    text = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "| `:` | U+003A | colon | 2 | 2 | a word boundary |" in text
    assert "| U+102C | myanmar vowel sign aa | 1 | - | removed: no letter before it |" in text
