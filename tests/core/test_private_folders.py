"""Tests of which folders are safe to run machine code from, and of matplotlib's folder."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from sori.core import private_folders


@pytest.fixture
def bases(tmp_path, monkeypatch):
    """A user's cache, a folder for temporary files, one in memory; others can enter the folder they are in."""
    together = Path(tempfile.mkdtemp()).resolve()
    together.chmod(0o755)
    made = [together / name for name in ("cache", "temporary", "memory")]
    for one in made:
        one.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(made[0]))
    monkeypatch.setattr(tempfile, "tempdir", str(made[1]))
    monkeypatch.setattr(private_folders, "_MEMORY", made[2])
    yield made
    shutil.rmtree(together)


def block(folder):
    """Not even root makes a folder below a file."""
    folder.rmdir()
    folder.touch()


def test_the_first_base_that_can_be_written_is_taken(bases):
    mine = f"sori-{os.geteuid()}"
    for base, name in zip(bases, ("sori", mine, mine), strict=True):
        found = private_folders.private("x/y")
        assert found == base / name / "x" / "y"
        assert found.stat().st_mode & 0o777 == 0o700
        (base / name / "x" / "y").rmdir()
        (base / name / "x").rmdir()
        (base / name).rmdir()
        block(base)
    assert private_folders.private("x/y") is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_passed_over(bases, mode):
    (bases[0] / "sori").mkdir()
    (bases[0] / "sori").chmod(mode)
    bases[0].chmod(0o755)
    found = private_folders.private("x")
    assert found is not None
    assert found.is_relative_to(bases[1])


def test_below_a_folder_that_is_closed_to_others_anything_is_safe(bases):
    (bases[0] / "sori").mkdir()
    (bases[0] / "sori").chmod(0o777)
    assert private_folders.private("x") == bases[0] / "sori" / "x"  # no other user can pass `bases[0]`


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("owner", [1, 1000])
def test_a_folder_of_another_user_is_passed_over_and_so_is_what_lies_below(bases, owner):
    bases[0].chmod(0o755)
    bases[1].chmod(0o1777)
    os.chown(bases[0], owner, owner)
    (bases[1] / "sori-0").mkdir()
    os.chown(bases[1] / "sori-0", owner, owner)
    assert private_folders.private("x").is_relative_to(bases[2])


def test_links_count_as_what_they_lead_to(bases, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (bases[0] / "sori").symlink_to(tmp_path / "elsewhere")
    assert private_folders.private("x") == tmp_path / "elsewhere" / "x"


def test_no_home_is_made_where_there_is_none(bases, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert private_folders.private("x").is_relative_to(bases[1])
    assert not (tmp_path / "home").exists()


def test_the_working_folder_is_not_taken_for_temporary_files(bases, monkeypatch):
    block(bases[0])
    monkeypatch.chdir(bases[1])
    assert private_folders.private("x").is_relative_to(bases[2])


def test_matplotlib_keeps_its_own_folder_where_it_can_be_written(bases, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config" / "deep"))
    private_folders.settle()
    assert "MPLCONFIGDIR" not in os.environ


def test_matplotlib_gets_a_private_folder_in_place_of_one_that_cannot_be_written(bases, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLCONFIGDIR", "")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    private_folders.settle()
    assert os.environ["MPLCONFIGDIR"] == str(bases[0] / "sori" / "matplotlib")
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    private_folders.settle()
    assert os.environ["MPLCONFIGDIR"] == "/mine"


def test_where_there_is_no_folder_for_temporary_files_they_go_into_memory(bases, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    monkeypatch.setenv("TMPDIR", "/mine")
    block(bases[0])
    looked_for = tempfile._get_default_tempdir

    def nowhere():
        if os.environ["TMPDIR"] == "/mine":
            raise FileNotFoundError
        return looked_for()

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", nowhere)
    private_folders.settle()
    assert tempfile.gettempdir() == str(bases[2] / f"sori-{os.geteuid()}" / "temporary")
