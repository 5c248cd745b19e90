"""An interrupted preparation continues: what was checked is not checked again, and the result has the same bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sori.core.locks import locked
from sori.data.preparation.check_journal import NAME, Journal
from sori.data.preparation.checks import Finding
from sori.data.preparation.prepare import LOCK, prepare
from sori.data.preparation.workers import Checked, check_files, file_stamp
from sori.data.sources.reading import Reading

LISTS = ("cuts.jsonl.gz", "excluded.jsonl", "flagged.jsonl", "report.md")
RATE = 16_000


@pytest.fixture
def recordings(tmp_path):
    """Ten short recordings, of which one is a duplicate, one is silent, one long and one stereo."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(RATE // 2), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    loud = np.repeat(np.tile([0.1, 1e-4], 4), [RATE, RATE // 2] * 4)
    soundfile.write(folder / "long.wav", loud * rng.standard_normal(len(loud)), RATE)
    soundfile.write(folder / "stereo.wav", 0.1 * rng.standard_normal((RATE, 2)), RATE)
    (folder / "stereo.txt").write_text("both of them")
    (folder / "copy.wav").write_bytes((folder / "3.wav").read_bytes())
    return folder


def prepared(recordings, into, **options):
    options = {"num_workers": 1, "max_seconds": 3.0, "reading": Reading(channels="separate")} | options
    prepare(recordings, into, **options)
    return {name: (into / name).read_bytes() for name in LISTS}


@pytest.fixture
def counted(monkeypatch):
    """The paths that are really checked."""
    paths = []

    def spy(requests, *, indices, **options):
        paths.extend(Path(requests[index]["path"]).name for index in indices)
        return check_files(requests, indices=indices, **options)

    monkeypatch.setattr("sori.data.preparation.prepare.check_files", spy)
    return paths


def interrupt_after(number, monkeypatch):
    """Ctrl-C after so many files."""
    add, calls = Journal.add, []

    def limited(self, *args):
        if len(calls) == number:
            raise KeyboardInterrupt
        calls.append(args)
        return add(self, *args)

    monkeypatch.setattr(Journal, "add", limited)


def test_continuing_gives_the_same_bytes_and_checks_only_the_rest(recordings, tmp_path, monkeypatch, counted):
    whole = prepared(recordings, tmp_path / "whole")
    assert not {NAME, LOCK} & {path.name for path in (tmp_path / "whole").iterdir()}
    into = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_after(7, patch)
        with pytest.raises(KeyboardInterrupt):
            prepared(recordings, into)
    assert not (into / "cuts.jsonl.gz").exists()
    (recordings / "0.wav").touch()  # another time: it may be another file
    with (into / NAME).open("ab") as file:
        file.write(b'{"key": "350d8614420c3005c47b13318bb59b8d", "stamp": [7023, 17], "count": 2}\n{"reason":')
    counted.clear()
    again = prepared(recordings, into)
    assert len(counted) == 12 - 7 + 1
    assert "0.wav" in counted
    assert again == {name: data.replace(b"whole", b"out") for name, data in whole.items()}


def test_other_settings_are_checked_again(recordings, tmp_path, monkeypatch, counted):
    with monkeypatch.context() as patch:
        interrupt_after(9, patch)
        with pytest.raises(KeyboardInterrupt):
            prepared(recordings, tmp_path / "out")
    counted.clear()
    prepared(recordings, tmp_path / "out", reading=Reading(keep_truncated=True))
    assert len(counted) == 12


def test_a_kill_loses_a_few_files_at_most(recordings, tmp_path, counted):
    into = tmp_path / "out"
    code = (
        "import sys, time; from pathlib import Path; from sori.data.preparation import prepare\n"
        "from sori.data.preparation.check_journal import Journal\n"
        "add = Journal.add\n"
        "def slow(*args):\n"
        "    found = add(*args); print('added', flush=True)\n"
        "    time.sleep(0.3 if found.number < 5 else 60); return found\n"
        "Journal.add = slow\n"
        f"prepare.prepare({str(recordings)!r}, {str(into)!r}, num_workers=1, max_seconds=3.0)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as running:
        for _ in range(6):
            assert running.stdout.readline() == "added\n"
        running.send_signal(signal.SIGKILL)
    options = {"reading": Reading()}
    assert prepared(recordings, into, **options)["cuts.jsonl.gz"]
    assert len(counted) == 12 - 6
    alone = prepared(recordings, tmp_path / "two", **options)
    assert alone["excluded.jsonl"] == (into / "excluded.jsonl").read_bytes()
    assert alone["cuts.jsonl.gz"] == (into / "cuts.jsonl.gz").read_bytes()


def journal_of(folder, *checked):
    journal = Journal(folder / NAME)
    requests = [{"path": str(folder / f"{number}.wav")} for number in range(len(checked))]
    for index, one in enumerate(checked):
        journal.add(index, requests[index], one)
    journal.close()
    return requests


def test_what_may_not_be_the_fault_of_the_file_is_checked_again(tmp_path):
    reasons = [None, "truncated", "missing", "unreadable", "decoder crashed", "decoder stalled"]
    for number in range(len(reasons)):
        (tmp_path / f"{number}.wav").write_bytes(b"sound")
    stamps = [file_stamp(str(tmp_path / f"{number}.wav")) for number in range(len(reasons))]
    requests = journal_of(
        tmp_path, *[Checked([Finding(reason)], stamp) for reason, stamp in zip(reasons, stamps, strict=True)]
    )
    journal = Journal(tmp_path / NAME)
    recorded = {one.number: one.findings[0].reason for one in journal.recorded(requests)}
    assert recorded == {0: None, 1: "truncated"}
    (tmp_path / "0.wav").write_bytes(b"other")
    os.utime(tmp_path / "0.wav", ns=(0, 1))
    assert [one.number for one in journal.recorded(requests)] == [1]
    (tmp_path / "1.wav").unlink()
    assert list(journal.recorded(requests)) == []
    journal.close()


def test_every_finding_is_read_again_as_it_was(tmp_path):
    (tmp_path / "0.wav").write_bytes(b"sound")
    findings = [
        Finding(warnings=("telephone: ü",), seconds=0.1 + 0.2, level_db=float("-inf"), pieces=((1, 2), (3, 4))),
        Finding("silent", "nothing", segment=1, channel=1),
    ]
    requests = journal_of(tmp_path, Checked(findings, file_stamp(str(tmp_path / "0.wav"))))
    journal = Journal(tmp_path / NAME)
    (recorded,) = journal.recorded(requests)
    assert recorded.findings == findings
    assert [journal.read(place) for place in recorded.places] == findings
    journal.close()


@pytest.mark.parametrize("length", [1, 60, 130, 250])
def test_a_journal_that_ends_anywhere_is_continued(tmp_path, length):
    (tmp_path / "0.wav").write_bytes(b"sound")
    checked = Checked([Finding("silent")], file_stamp(str(tmp_path / "0.wav")))
    requests = journal_of(tmp_path, checked)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:length])
    journal = Journal(tmp_path / NAME)
    assert list(journal.recorded(requests)) == []
    journal.add(0, requests[0], checked)
    journal.close()
    assert (tmp_path / NAME).read_bytes() == whole


def test_files_of_this_name_that_are_not_ours_stay(recordings, tmp_path):
    into = tmp_path / "out"
    into.mkdir()
    (into / NAME).write_text("mine")
    with pytest.raises(ValueError, match="is not a journal of `sori prepare`; it is left unchanged"):
        prepare(recordings, into)
    assert (into / NAME).read_text() == "mine"


def test_one_command_at_a_time(recordings, tmp_path):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / LOCK), pytest.raises(ValueError, match="another one is preparing it now: process"):
        prepare(recordings, tmp_path / "out")


def test_a_full_disk_leaves_whole_records(tmp_path, monkeypatch):
    (tmp_path / "0.wav").write_bytes(b"sound")
    checked = Checked([Finding("silent")], file_stamp(str(tmp_path / "0.wav")))
    requests = journal_of(tmp_path, checked)
    before, write = (tmp_path / NAME).read_bytes(), os.write
    journal = Journal(tmp_path / NAME)
    answers = [10, OSError(28, "No space left on device")]

    def full(handle, data):
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return write(handle, data[:answer])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"cannot write .*prepare.journal: No space left on device. Make room"):
            journal.add(0, requests[0], checked)
    journal.close()
    assert (tmp_path / NAME).read_bytes() == before
