"""Tests that folders appear whole or not at all, however their process ends, and that no other files are touched."""

import contextlib
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from sori.core import folders
from sori.core.folders import former, is_unfinished, whole_files, whole_folder


def anything(_):
    """Allow any replacement."""


def make(target, text, may_replace=anything):
    with whole_folder(target, may_replace=may_replace) as fresh:
        (fresh / "file").write_text(text)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(params=["swapped", "renamed twice"])
def way(request, monkeypatch):
    """Return both ways of replacing a folder."""
    if request.param == "renamed twice":
        monkeypatch.setattr(folders, "_swap", lambda *_: False)
    return request.param


@pytest.mark.usefixtures("way")
def test_a_folder_appears_and_is_replaced_whole_with_nothing_left_beside(tmp_path):
    make(tmp_path / "below" / "a", "first")
    assert tree(tmp_path) == {"below/a/file": "first"}
    with whole_folder(tmp_path / "below" / "a", may_replace=anything) as fresh:
        assert not list(fresh.iterdir())
        (fresh / "other").write_text("second")
        assert (tmp_path / "below" / "a" / "file").read_text() == "first"
    assert tree(tmp_path) == {"below/a/other": "second"}
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["a"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_changes_nothing(error, tmp_path):
    def fail(target):
        with whole_folder(target, may_replace=anything) as fresh:
            (fresh / "file").write_text("half")
            raise error

    make(tmp_path / "a", "first")
    for name in ("a", "b"):
        with pytest.raises(error):
            fail(tmp_path / name)
    assert tree(tmp_path) == {"a/file": "first"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_leave_nothing_is_replaced_but_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", "first", may_replace=None)
    assert tree(tmp_path) == {"empty/file": "first"}
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("empty", "file", "link"):
        with pytest.raises(FileExistsError, match="exists; name a new folder"):
            make(tmp_path / name, "second", may_replace=None)
    assert tree(tmp_path) == {"empty/file": "first", "file": "mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "link"]


def test_what_comes_into_being_meanwhile_stays(tmp_path):
    def slow(target):
        with whole_folder(target):
            target.mkdir()
            (target / "thesis.txt").write_text("mine")

    with pytest.raises(FileExistsError):
        slow(tmp_path / "a")
    assert tree(tmp_path) == {"a/thesis.txt": "mine"}


@pytest.mark.parametrize("name", [".", "..", "a/..", ""])
def test_a_folder_needs_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected the name of a folder"):
        make(Path(name), "x")


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o755), (0o027, 0o750), (0o002, 0o775)])
def test_permissions_follow_the_umask(umask, expected, tmp_path):
    before = os.umask(umask)
    try:
        make(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected
    assert stat.S_IMODE((tmp_path / "a" / "file").stat().st_mode) == expected & 0o666


@pytest.mark.usefixtures("way")
def test_folders_of_a_like_name_are_the_users(tmp_path):
    names = ("a.partial", "a.old", ".a.partial", ".a.abcdefgh.partial", ".a.abcdefgh.old", ".b.abcdefgh.partial", "new")
    for name in names:
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "new" / "thesis.txt").write_text("precious")
    marked = tmp_path / ".a.marked__.partial"
    (marked / "new").mkdir(parents=True)
    (marked / "thesis.txt").write_text("precious")
    (marked / "sori").write_bytes(folders._MARK_CONTENT)
    other = tmp_path / ".a.otherone.partial"
    other.mkdir()
    (other / "sori").write_text("a file of mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sori").write_bytes(folders._MARK_CONTENT)
    (tmp_path / ".a.linklink.partial").symlink_to("elsewhere")
    (tmp_path / ".a.filefile.partial").write_text("precious")
    before = tree(tmp_path)
    for text in ("first", "second"):
        make(tmp_path / "a", text)
    assert tree(tmp_path) == before | {"a/file": "second"}
    assert (tmp_path / ".a.linklink.partial").is_symlink()


def die(*_, **__):
    os._exit(9)


def killed(action):
    """Return the files that a killed process leaves."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def stopped_while_building(target, _):
    with whole_folder(target, may_replace=anything) as fresh:
        (fresh / "file").write_text("half")
        die()


def stopped_before_clearing(target, monkeypatch):
    monkeypatch.setattr(folders, "_clear", die)
    make(target, "second")


def stopped_while_clearing(target, monkeypatch):
    monkeypatch.setattr(folders.shutil, "rmtree", die)
    make(target, "second")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("stop", [stopped_while_building, stopped_before_clearing, stopped_while_clearing])
def test_what_a_killed_maker_leaves_is_cleared_by_the_next(stop, tmp_path, monkeypatch):
    make(tmp_path / "a", "first")
    killed(lambda: stop(tmp_path / "a", monkeypatch))
    left = [path.name for path in tmp_path.iterdir() if path.name != "a"]
    assert len(left) == 1
    assert is_unfinished(left[0])
    assert (tmp_path / "a" / "file").read_text() == ("first" if stop is stopped_while_building else "second")
    make(tmp_path / "other", "x")
    assert (tmp_path / left[0]).exists()  # another folder's leftovers are not its business
    make(tmp_path / "a", "third")
    assert tree(tmp_path) == {"a/file": "third", "other/file": "x"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "other"]


def stop_between_the_renames(target, monkeypatch):
    rename = Path.rename

    def first_only(self, to):
        rename(self, to)
        if Path(to).name == "old":
            die()

    monkeypatch.setattr(folders, "_swap", lambda *_: False)
    monkeypatch.setattr(Path, "rename", first_only)
    make(target, "second")


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    make(tmp_path / "a", "first")
    killed(lambda: stop_between_the_renames(tmp_path / "a", monkeypatch))
    assert not (tmp_path / "a").exists()
    found = former(tmp_path / "a")
    assert (found / "file").read_text() == "first"
    with pytest.raises(FileExistsError):  # it is put back before anything is decided
        make(tmp_path / "a", "third", may_replace=None)
    assert tree(tmp_path) == {"a/file": "first"}
    assert former(tmp_path / "a") is None


def test_an_error_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    make(tmp_path / "a", "first")
    rename = Path.rename

    def fails(self, to):
        if self.name == "new":
            raise PermissionError("no")
        return rename(self, to)

    monkeypatch.setattr(folders, "_swap", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(PermissionError):
        make(tmp_path / "a", "second")
    monkeypatch.undo()
    assert tree(tmp_path) == {"a/file": "first"}


def test_a_living_maker_is_left_alone(tmp_path):
    with whole_folder(tmp_path / "a", may_replace=anything) as fresh:
        (fresh / "file").write_text("slow")
        make(tmp_path / "a", "quick")
        assert (tmp_path / "a" / "file").read_text() == "quick"
        assert (fresh / "file").read_text() == "slow"
    assert tree(tmp_path) == {"a/file": "slow"}


def test_the_place_is_never_empty(tmp_path):
    make(tmp_path / "a", "0")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if not folders._swap(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system cannot swap folders")
    absent, done = [], threading.Event()

    def watch():
        while not done.is_set():
            if not (tmp_path / "a").exists():
                absent.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(100):
        make(tmp_path / "a", str(number))
    done.set()
    watcher.join()
    assert not absent


def test_names_of_workshops():
    assert is_unfinished(".model.a_1z9xyz.partial")
    for name in ("model", "model.partial", ".model.partial", ".model.abc.partial", "a.abcdefgh.partial", ".x.old"):
        assert not is_unfinished(name)


def test_a_folder_is_built_where_there_is_no_fcntl(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # Windows
    with folders.whole_folder(tmp_path / "model") as fresh:
        (fresh / "a").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "x"


@contextlib.contextmanager
def no_room():
    """Let every write to a file fail, as on a full disk."""
    resource = pytest.importorskip("resource")  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_from_the_beginning_leaves_nothing_behind(tmp_path):
    make(tmp_path / "a", "first")
    with no_room(), pytest.raises(OSError, match="File too large"), whole_files(tmp_path / "a"):
        pass
    with no_room(), pytest.raises(OSError, match="File too large"), whole_folder(tmp_path / "a", may_replace=anything):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
    assert tree(tmp_path) == {"a/file": "first"}


def test_files_replace_others_of_their_names_only_when_all_are_complete(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("older")
    (tmp_path / "kept").write_text("older")

    def fail():
        with whole_files(tmp_path) as fresh:
            (fresh / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert tree(tmp_path) == {"a": "older", "kept": "older"}
    moved, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(self.name) or replace(self, target))
    with whole_files(tmp_path, last="a") as fresh:
        (fresh / "a").write_text("new")
        (fresh / "b").write_text("new")
        assert (tmp_path / "a").read_text() == "older"
    assert tree(tmp_path) == {"a": "new", "b": "new", "kept": "older"}
    assert moved == ["b", "a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "kept"]


def test_files_that_a_kill_left_unfinished_are_removed_by_the_next_call(tmp_path):
    if (child := os.fork()) == 0:
        with whole_files(tmp_path) as fresh:
            (fresh / "a").write_text("half")
            os._exit(0)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    assert is_unfinished(left.name)
    with whole_files(tmp_path) as fresh:
        (fresh / "b").write_text("new")
    assert tree(tmp_path) == {"b": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
