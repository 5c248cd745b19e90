"""Many recordings to many transcripts, and words to their times, through the command line."""

import io
import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from sori.checkpoints import store
from sori.cli import transcribe as transcribe_command
from sori.core.audio import read
from sori.inference import transcribe
from sori.inference.transcript_files import plan


@pytest.fixture
def folder(tone_corpus, tmp_path):
    """Two recordings, one in a subfolder, and a text file with the name of a sound file."""
    sounds = sorted((tone_corpus / "audio" / "anna").glob("*.wav"))
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(sounds[0], tmp_path / "in" / "one.wav")
    shutil.copy(sounds[1], tmp_path / "in" / "deep" / "two.wav")
    (tmp_path / "in" / "bad.wav").write_text("hello")
    (tmp_path / "in" / "notes.txt").write_text("not a recording")
    return tmp_path / "in"


def test_a_folder_becomes_a_folder_of_transcripts(call, folder, recogniser_run):
    code, out, err = call("transcribe", recogniser_run, folder, "--into", "out", "--format", "srt")
    assert code == 1
    assert out.splitlines() == ["out/deep/two.srt", "out/one.srt"]
    assert "bad.wav" in err
    assert sorted(p.as_posix() for p in Path("out").rglob("*.*")) == ["out/deep/two.srt", "out/one.srt"]
    assert Path("out/one.srt").read_text().startswith("1\n00:00:0")


def test_existing_transcripts_are_kept_without_overwrite(call, folder, recogniser_run):
    Path("out").mkdir()
    Path("out/one.txt").write_text("precious")
    words = ["transcribe", recogniser_run, folder / "one.wav", "--into", "out"]
    code, out, err = call(*words)
    assert (code, out) == (1, "")
    assert "out/one.txt exists; replace it with --overwrite" in err
    assert Path("out/one.txt").read_text() == "precious"
    assert call(*words, "--overwrite")[0] == 0
    expected = transcribe.transcribe(store.load(recogniser_run), folder / "one.wav").text
    assert Path("out/one.txt").read_text() == expected + "\n"


def test_two_recordings_of_one_name_are_refused_before_transcription(call, folder, recogniser_run):
    shutil.copy(folder / "one.wav", folder / "deep" / "one.wav")
    code, out, err = call("transcribe", recogniser_run, folder / "one.wav", folder / "deep" / "one.wav", "--into", "o")
    assert (code, out) == (2, "")
    assert "would both be written to o/one.txt" in err
    assert not Path("o").exists()


def test_the_same_recording_twice_is_allowed(folder):
    jobs = plan([folder / "one.wav", folder / "one.wav"], into=Path("o"), to="txt")
    assert {job.transcript for job in jobs} == {Path("o/one.txt")}


def test_an_empty_folder_is_named(call, recogniser_run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = call("transcribe", recogniser_run, "empty")
    assert code == 2
    assert "empty contains no sound files" in err


def test_standard_input(call, folder, recogniser_run, monkeypatch):
    data = (folder / "one.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    code, out, _ = call("transcribe", recogniser_run, "-", "--format", "json")
    assert code == 0
    found = json.loads(out)
    assert found["text"] == transcribe.transcribe(store.load(recogniser_run), folder / "one.wav").text


@pytest.mark.usefixtures("bounded")
def test_pipes_that_were_handed_over_are_heard_and_others_are_not_waited_for(call, folder, recogniser_run):
    reading, writing = os.pipe()
    data = (folder / "one.wav").read_bytes()

    def fill():
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=fill)
    thread.start()
    code, out, _ = call("transcribe", recogniser_run, f"/dev/fd/{reading}")
    thread.join()
    os.close(reading)
    assert (code, out.strip()) == (0, transcribe.transcribe(store.load(recogniser_run), folder / "one.wav").text)
    os.mkfifo("pipe.wav")
    code, out, err = call("transcribe", recogniser_run, "pipe.wav")
    assert (code, out) == (1, "")
    assert "pipe.wav: expected a file, got a named pipe" in err


def test_a_standard_input_without_sound_is_one_line(call, recogniser_run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = call("transcribe", recogniser_run, "-")
    assert (code, err.count("\n")) == (2, 1)
    assert "it is closed" in err
    with Path("/dev/zero").open("rb") as endless:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=endless))
        code, _, err = call("transcribe", recogniser_run, "-")
    assert (code, err.count("\n")) == (2, 1)
    assert "got a terminal or device" in err


def test_files_need_no_folder_for_temporary_ones(call, folder, recogniser_run, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    code, _, err = call("transcribe", recogniser_run, folder / "one.wav")
    assert (code, err) == (0, "")


def test_each_recording_is_one_line_whatever_its_name(call, folder, recogniser_run):
    for name in ("two\nlines.wav", "tab\there.wav"):
        shutil.copy(folder / "one.wav", name)
    code, out, _ = call("transcribe", recogniser_run, "two\nlines.wav", "tab\there.wav")
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == ["two\\nlines.wav", "tab\\there.wav"]


@pytest.mark.parametrize("ending", ["failed", "interrupted"])
def test_temporary_recordings_are_removed(call, folder, recogniser_run, monkeypatch, tmp_path, ending):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((folder / "one.wav").read_bytes())))

    def fail(*_, **__):
        assert list(scratch.rglob("stdin"))
        raise (RuntimeError("broken") if ending == "failed" else KeyboardInterrupt)

    monkeypatch.setattr(transcribe_command, "show_transcripts", fail)
    assert call("transcribe", recogniser_run, "-")[0] == (1 if ending == "failed" else 130)
    assert not list(scratch.iterdir())


def test_words_of_a_known_text_are_found_in_order(call, folder, recogniser_run, tone_corpus):
    said = (tone_corpus / "audio" / "anna" / "anna-000.txt").read_text().strip()
    Path("said.txt").write_text(said)
    code, out, _ = call("align", recogniser_run, folder / "one.wav", "said.txt")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[3] for row in rows] == said.split()
    times = [float(time) for row in rows for time in row[:2]]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= len(read(folder / "one.wav")) / 16_000 + 0.05
    assert all(0 <= float(row[2]) <= 1 for row in rows)
    code, out, _ = call("align", recogniser_run, folder / "one.wav", "said.txt", "--format", "TextGrid")
    assert code == 0
    assert out.startswith('File type = "ooTextFile"')


def test_a_text_too_long_for_the_recording_is_refused(call, folder, recogniser_run):
    Path("said.txt").write_text("a b c d " * 2000)
    code, _, err = call("align", recogniser_run, folder / "one.wav", "said.txt")
    assert code == 2
    assert "frames" in err


def test_a_name_that_is_too_long_fails_alone(call, folder, recogniser_run):
    long = folder / f"{'a' * 251}.wav"
    shutil.copy(folder / "one.wav", long)
    code, out, err = call("transcribe", recogniser_run, folder, "--into", "out", "--format", "TextGrid")
    assert code == 1
    assert out.splitlines() == ["out/deep/two.TextGrid", "out/one.TextGrid"]
    assert "260 bytes, of at most 255; rename the recording" in err
