"""Tests that names from data never lead to other folders, and that written files have the permissions of the umask."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from sori.core import files
from sori.core.files import inside, link_or_copy, write_tensors

PLAIN = (
    "vocab.json",
    "adapter.swh.safetensors",
    "adapter.uig-script_arabic.safetensors",
    "한국어.json",
    ".hidden",
    "a b",
)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_a_file_in_the_folder(name, tmp_path):
    assert inside(tmp_path, name) == tmp_path / name
    inside(tmp_path, name).write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/etc/passwd", "../x", "a/b", "a/..", "a\\b", "..\\x", "C:x", "C:\\x", "\\\\host\\share"),
        *("nul\0byte", "line\nbreak", "\x1b[2Jscreen", "right\u202eleft", "\udcff", "x" * 252 + ".txt", "é" * 128),
        *("a.", "a ", "CON", "con.json", "nul .txt", "COM1", "lpt9.safetensors", "com¹.x", 'a"b', "a*", "a|b", "a?"),
    ],
)
def test_any_other_name_is_refused_with_its_reason(name, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)expected a plain name of a file .*, which .*likely"):
        inside(tmp_path, name)


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_tensors_get_the_permissions_of_any_new_file(umask, expected, tmp_path):
    before = os.umask(umask)
    try:
        write_tensors({"a": torch.ones(2)}, tmp_path / "a.safetensors", metadata={"format": "pt"})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == expected
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("a").tolist() == [1, 1]


def test_tensors_that_replace_a_file_keep_its_permissions(tmp_path):
    path = tmp_path / "a.safetensors"
    path.touch(mode=0o600)
    path.chmod(0o640)
    write_tensors({"a": torch.ones(2)}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_is_replaced_only_when_the_new_one_is_complete(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")

    def write_half():
        with files.atomic_write(path) as partial:
            partial.write_text("half")
            assert path.read_text() == "old"
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert path.read_text() == "old"
    with path.open() as reader:
        files.write_text(path, "new")
        assert reader.read() == "old"  # renamed over it, not written into it
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["report.json"]


def test_the_file_given_has_the_extension_and_a_name_nobody_can_know(tmp_path):
    (tmp_path / "x.json.partial").write_text("a user's file")
    with files.atomic_write(tmp_path / ("x" * 250 + ".json")) as one, files.atomic_write(tmp_path / "x.json") as other:
        assert one.suffix == other.suffix == ".json"
        assert one.name != other.name
        assert one.parent == tmp_path.resolve()
    assert (tmp_path / "x.json.partial").read_text() == "a user's file"


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600)])
def test_new_files_follow_the_umask_and_replaced_ones_keep_their_permissions(umask, expected, tmp_path):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "new", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == expected
    (tmp_path / "new").chmod(0o640)
    files.write_text(tmp_path / "new", "y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_link_stays_a_link_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "target")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "target").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:  # noqa: S607
        files.write_text(tmp_path / "pipe", "through")
        assert reader.stdout.read() == "through"


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    files.write_text(tmp_path / "x.json", "old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OSError, match=r"cannot write .*x.json: No space left .* unchanged") as error:
        files.write_text(tmp_path / "x.json", "new")
    assert error.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert (tmp_path / "x.json").read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": "\udce9"}', "\xff"])
def test_what_is_no_json_names_the_file(text, tmp_path):
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogateescape") if "\xff" not in text else b"\xff")
    with pytest.raises(ValueError, match=r"x.json is not readable as JSON"):
        files.read_json(tmp_path / "x.json")


def test_an_error_of_what_is_read_meanwhile_is_not_taken_for_one_of_writing(tmp_path):
    def write_from(source):
        with files.atomic_write(tmp_path / "out.txt") as partial:
            partial.write_text(source.read_text())

    with pytest.raises(FileNotFoundError, match=r"elsewhere\.txt"):
        write_from(tmp_path / "folder" / "elsewhere.txt")
    with pytest.raises(OSError, match=r"^no network$"), files.atomic_write(tmp_path / "out.txt"):
        raise OSError("no network")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes")
def test_tensors_for_which_there_is_no_room_are_an_error_that_names_the_file(tmp_path):
    """Check the message for an error of the system that safetensors reports as its own."""
    path = tmp_path / "weights.safetensors"
    path.write_text("older")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"cannot write .*weights\.safetensors: File too large; .* unchanged"
        ) as caught:
            write_tensors({"a": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert path.read_text() == "older"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_second_name_replaces_the_older_file_whole_or_not_at_all(has_links, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "no space left")

    path, target = tmp_path / "new", tmp_path / "best"
    path.write_text("new")
    target.write_text("older")
    if not has_links:
        monkeypatch.setattr(type(path), "hardlink_to", fail)
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "hardlink_to", fail)
        patch.setattr(files.shutil, "copyfile", fail)
        with pytest.raises(OSError, match=r"cannot write .*best: no space left; the file that was there is unchanged"):
            link_or_copy(path, target)
    assert target.read_text() == "older"
    for _ in range(2):  # the second time, both are names of the same file
        link_or_copy(path, target)
        assert target.read_text() == "new"
        assert path.samefile(target) == has_links
    assert sorted(one.name for one in tmp_path.iterdir()) == ["best", "new"]
