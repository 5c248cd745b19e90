"""Folders that last as long as their process, and what a killed process leaves."""

import subprocess
import sys
import tempfile

import pytest

from sori.core.temporary_folders import temporary_folder

HOLD = """
import sys
from sori.core.temporary_folders import temporary_folder
with temporary_folder("voices-") as folder:
    (folder / "a.wav").write_bytes(b"private")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def holder():
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_private_and_gone_at_the_end(temporary):
    with temporary_folder("voices-") as folder:
        assert folder.parent.parent == temporary
        assert folder.parent.stat().st_mode & 0o077 == 0
        assert names(folder) == []
        (folder / "deep").mkdir()
    assert names(temporary) == []


def test_the_folder_of_a_killed_process_is_removed_by_the_next_and_that_of_a_running_one_is_not(temporary):
    killed, running = holder(), holder()
    try:
        left, used = killed.stdout.readline().strip(), running.stdout.readline().strip()
        killed.kill()
        killed.wait()
        assert len(names(temporary)) == 2
        with temporary_folder("voices-") as folder:
            assert names(temporary) == sorted([folder.parent.name, used.split("/")[-2]])
            assert left != used
        assert (temporary / used / "a.wav").read_bytes() == b"private"
        running.communicate("")
        assert names(temporary) == []
    finally:
        for one in (killed, running):
            one.kill()
            one.communicate()


def test_what_others_have_made_stays(temporary):
    (temporary / "voices-abcdefgh").mkdir()  # without the file that its process would have locked
    (temporary / "kept").mkdir()
    (temporary / "kept" / "in-use").touch()
    (temporary / "voices-linked00").symlink_to(temporary / "kept")
    (temporary / "other-abcdefgh").mkdir()
    (temporary / "other-abcdefgh" / "in-use").touch()
    before = names(temporary)
    with temporary_folder("voices-"):
        pass
    assert names(temporary) == before
