import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sori.core import run_folder
from sori.core.run_folder import RunFolder

HOLD = """
import sys, pathlib
from sori.core.run_folder import RunFolder
with RunFolder(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_serves_one_run_at_a_time_and_a_killed_one_lets_go(tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another one is training there now"), RunFolder(folder).locked():
            pass
        other.kill()
    with RunFolder(folder).locked():
        assert RunFolder(folder).lock.exists()
    assert not RunFolder(folder).lock.exists()
    with RunFolder(folder).locked():
        pass


def test_a_folder_with_another_recipe_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    first = yaml.safe_dump({"optim": {"lr": 0.1, "eps": 1}, "name": "a"})
    folder.begin(first)
    assert folder.recipe.read_text(encoding="utf-8") == first
    folder.begin(first)
    other = yaml.safe_dump({"optim": {"lr": 0.2, "eps": 1}, "name": "a", "new": {"x": 1}})
    with pytest.raises(
        ValueError, match=r"(?s)other settings:.*optim.lr: 0.1, now 0.2\n  new.x: 'absent', now 1"
    ) as error:
        folder.begin(other)
    assert "eps" not in str(error.value)
    assert folder.recipe.read_text(encoding="utf-8") == first


@pytest.mark.parametrize("about", ["5", "[]", '"run"', "null"])
def test_a_damaged_version_is_no_version(about, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin("name: a\n")
    folder.about.write_text(about)
    with pytest.raises(ValueError, match="run format None"):
        folder.begin("name: a\n")


@pytest.mark.parametrize("stored", ["", "5", "name", "- a"])
def test_a_stored_recipe_without_settings_is_called_damaged(stored, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin("name: a\n")
    folder.recipe.write_text(stored)
    with pytest.raises(ValueError, match=r"expected settings in the recipe of the run in .*damaged"):
        folder.begin("name: a\n")


def test_a_folder_of_a_newer_version_is_left_alone(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin("name: a\n")
    folder.about.write_text('{"format_version": 99}\n')
    with pytest.raises(ValueError, match="run format 99"):
        folder.begin("name: a\n")


def test_what_a_run_would_overwrite_is_named_before_it_begins(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    folder.check_free()
    folder.model.mkdir()
    (tmp_path / "mine.md").write_text("mine")
    (tmp_path / "run.json").write_text("mine")
    with pytest.raises(ValueError, match=r"holds run.json, model, mine.md and no recipe.yaml"):
        folder.check_free([tmp_path / "mine.md"])
    (tmp_path / "run.json").unlink()
    folder.begin("name: a\n")
    folder.check_free()


def test_the_package_is_imported_where_there_is_no_fcntl():
    program = "import sys; sys.modules['fcntl'] = None; sys.modules['sori'] = type(sys)('sori'); "
    program += "sys.modules['sori'].__path__ = [sys.argv[1]]; import sori.core.folders, sori.core.run_folder"
    package = str(Path(run_folder.__file__).parents[1])
    subprocess.run([sys.executable, "-c", program, package], check=True, timeout=120)


def test_a_kill_between_the_two_files_of_a_new_run_does_not_end_it(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        RunFolder(tmp_path).begin("name: a\n")
    monkeypatch.undo()
    RunFolder(tmp_path).check_free()
    RunFolder(tmp_path).begin("name: a\n")


def test_what_a_killed_process_left_of_a_file_is_removed_when_the_run_goes_on(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.earlier.mkdir(parents=True)
    left = [run.path / ".0123456789ab.partial.safetensors", run.earlier / ".0123456789ab.partial.safetensors"]
    ours = [run.path / "mine.partial.txt", run.path / ".0123.partial.txt"]
    for path in (*left, *ours):
        path.write_text("x", encoding="utf-8")
    with run.locked():
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in ours)


@pytest.mark.parametrize(
    "stored",
    ["a: &a [x, x]\nb: [*a, *a]\n", "a: [\n", "[" * 5000 + "]" * 5000],
    ids=["aliases", "broken", "deep"],
)
def test_a_stored_recipe_that_is_not_plain_yaml_is_named(tmp_path, stored):
    folder = RunFolder(tmp_path / "run")
    folder.begin("name: a\n")
    folder.recipe.write_text(stored)
    with pytest.raises(ValueError, match=r"the recipe of the run in .*run is not readable as YAML"):
        folder.begin("name: a\n")
