"""Prepared folders can be moved: with their recordings, or to machines where these are below another root."""

import gzip
import json
import shutil

import numpy as np
import pytest
import soundfile

from sori.data.manifest import CUTS, read_manifest
from sori.data.preparation.check_folder import check_folder
from sori.data.preparation.prepare import prepare


@pytest.fixture
def project(tmp_path):
    """A folder with recordings and their prepared folder."""
    project = tmp_path / "project"
    for seed, name in enumerate(("a", "b")):
        path = project / f"recordings/{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(16_000), 16_000)
    prepare(project / "recordings", project / "prepared", num_workers=1)
    return project


def paths(folder):
    return [utterance.path for utterance in read_manifest(folder)]


def test_a_folder_moves_with_its_recordings(project, tmp_path):
    before = read_manifest(project / "prepared")
    moved = project.rename(tmp_path / "moved")
    assert paths(moved / "prepared") == [str(moved / f"recordings/{name}.wav") for name in "ab"]
    assert [u._replace(path="") for u in read_manifest(moved / "prepared")] == [u._replace(path="") for u in before]
    assert not check_folder(moved / "prepared").missing


def test_a_folder_that_moves_alone_finds_its_recordings_by_their_absolute_paths(project, tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    moved = (project / "prepared").rename(tmp_path / "deep/er/prepared")
    assert paths(moved) == [str(project / f"recordings/{name}.wav") for name in "ab"]


def test_a_copy_uses_its_own_recordings(project, tmp_path):
    shutil.copytree(project, tmp_path / "copy")
    assert paths(tmp_path / "copy/prepared")[0] == str(tmp_path / "copy/recordings/a.wav")


def test_folders_that_are_reached_through_links(project, tmp_path):
    (tmp_path / "elsewhere").symlink_to(project)
    (tmp_path / "elsewhere/prepared2").mkdir()
    prepare(tmp_path / "elsewhere/recordings", tmp_path / "elsewhere/prepared2", num_workers=1)
    assert not check_folder(tmp_path / "elsewhere/prepared2").missing
    assert not check_folder(project / "prepared2").missing


def test_paths_relative_to_a_root_of_the_user(project, tmp_path, monkeypatch):
    prepare(project / "recordings", tmp_path / "out", num_workers=1, relative_to=project)
    moved = project.rename(tmp_path / "other machine")
    assert len(check_folder(tmp_path / "out").missing) == 2
    monkeypatch.setenv("SORI_RECORDINGS", str(moved))
    assert paths(tmp_path / "out") == [str(moved / f"recordings/{name}.wav") for name in "ab"]
    with pytest.raises(ValueError, match=r"a\.wav is not below .*deep"):
        prepare(moved / "recordings", tmp_path / "out2", num_workers=1, relative_to=tmp_path / "deep")


def test_folders_of_earlier_versions_have_absolute_paths_only(project):
    with gzip.open(project / "prepared" / CUTS, "rt") as file:
        cuts = [json.loads(line) for line in file]
    assert cuts[0].pop("custom") == {"path": "../recordings/a.wav"}
    assert cuts[1].pop("custom") == {"path": "../recordings/b.wav"}
    with gzip.open(project / "prepared" / CUTS, "wt") as file:
        file.writelines(json.dumps(cut) + "\n" for cut in cuts)
    assert paths(project / "prepared") == [str(project / f"recordings/{name}.wav") for name in "ab"]


def test_missing_recordings_are_listed(project):
    (project / "recordings/b.wav").unlink()
    found = check_folder(project / "prepared")
    assert (found.num_utterances, found.num_files, found.num_lost) == (2, 2, 1)
    assert found.missing == [str(project / "recordings/b.wav")]
    assert "1 files with 1 utterances are missing" in str(found)
    with pytest.raises(ValueError, match="is not a prepared folder"):
        check_folder(project)
