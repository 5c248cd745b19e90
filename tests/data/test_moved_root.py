"""Recordings that were moved to another disk, with all kinds of lists."""

import shutil

import numpy as np
import pytest
import soundfile
from tests.data.range_server import serving

import sori
from sori.core import audio
from sori.data import fingerprint
from sori.data.manifest import CUTS, ROOT_VARIABLE, TABLE, open_manifest
from sori.data.moved_root import move_root
from sori.data.preparation.prepare import prepare
from sori.data.shards import write_shards

RATE = 16_000


@pytest.fixture
def old(tmp_path, monkeypatch):
    """Four recordings in two folders below `old/speech`."""
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    random = np.random.default_rng(0)
    for name in ("train/ann/1", "train/ann/2", "train/bob/1", "dev/eve/1"):
        path = tmp_path / "old/speech" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * random.standard_normal(3 * RATE), RATE)
    return tmp_path / "old"


def listed(folder):
    return sorted(str(one.path) for one in open_manifest(folder))


def placed(folder):
    return sorted(str(path) for path in folder.rglob("*.wav"))


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("left_out", [None, TABLE, CUTS])
def test_moved_recordings_are_found_by_every_list(old, tmp_path, relative, left_out):
    folder, new = tmp_path / "prepared", tmp_path / "disk/corpora/speech"
    prepare(str(old / "speech"), str(folder), **({"relative_to": old} if relative else {}))
    if left_out:
        (folder / left_out).unlink()
    before = fingerprint.of_utterances(open_manifest(folder))
    new.parent.mkdir(parents=True)
    shutil.move(old / "speech", new)
    replaced = move_root(folder, str(new.parent if relative else new))
    assert replaced == str(old if relative else old / "speech")
    assert listed(folder) == placed(new)
    assert fingerprint.of_utterances(open_manifest(folder)) == before
    for name in {TABLE, CUTS} - {left_out}:  # each of the two lists alone
        (tmp_path / name).mkdir()
        shutil.copy(folder / name, tmp_path / name)
        assert listed(tmp_path / name) == placed(new)


def test_a_recipe_trains_on_moved_recordings(old, tmp_path):
    prepare(str(old), str(tmp_path / "prepared"))
    shutil.move(old, tmp_path / "new")
    recipe = sori.recipes.by_name("wav2vec2_smoke")
    short = recipe.model_copy(update={"train": recipe.train.model_copy(update={"num_steps": 1})})
    with pytest.raises((FileNotFoundError, ValueError), match="old"):
        sori.train(short, data=tmp_path / "prepared", into=tmp_path / "run")
    move_root(tmp_path / "prepared", str(tmp_path / "new"))
    sori.train(short, data=tmp_path / "prepared", into=tmp_path / "run")
    assert (tmp_path / "run/model/weights.safetensors").is_file()


def test_a_root_that_lacks_recordings_is_refused_and_changes_nothing(old, tmp_path, monkeypatch):
    folder, new = tmp_path / "prepared", tmp_path / "new"
    prepare(str(old), str(folder))
    before = {name: (folder / name).read_bytes() for name in (TABLE, CUTS)}
    with pytest.raises(ValueError, match=r"no end of the path .*/1\.wav exists there; likely it is another folder"):
        move_root(folder, str(new))
    shutil.copytree(old, new)
    monkeypatch.setattr("sori.data.moved_root._TRIED", 1)
    (new / "speech/train/bob/1.wav").unlink()
    with pytest.raises(ValueError, match=r"^1 recordings of .*old/speech/train/bob/1\.wav, expected .*/new/speech/tr"):
        move_root(folder, str(new))
    (new / "1.wav").write_bytes((old / "speech/dev/eve/1.wav").read_bytes())  # as if all were below dev/eve
    with pytest.raises(ValueError, match=r"which is not below .*/dev/eve; likely not all"):
        move_root(folder, str(new))
    monkeypatch.setenv(ROOT_VARIABLE, str(new))
    with pytest.raises(ValueError, match=f"unset {ROOT_VARIABLE}"):
        move_root(folder, str(new))
    monkeypatch.delenv(ROOT_VARIABLE)
    with pytest.raises(ValueError, match="not a prepared folder"):
        move_root(tmp_path / "nothing", str(new))
    assert {name: (folder / name).read_bytes() for name in (TABLE, CUTS)} == before


def test_cuts_keep_what_other_programs_wrote(old, tmp_path):
    lhotse = pytest.importorskip("lhotse", exc_type=ImportError)
    folder = tmp_path / "cuts"
    folder.mkdir()
    recordings = [lhotse.Recording.from_file(path) for path in placed(old)]
    cuts = [lhotse.MonoCut(f"c{n}", 0.5, 1.0, 0, recording=one) for n, one in enumerate(recordings)]
    for cut in cuts:
        cut.mood = "glad"
    lhotse.CutSet.from_cuts(cuts).to_file(folder / CUTS)
    shutil.move(old, tmp_path / "new")
    move_root(folder, str(tmp_path / "new"))
    found = list(lhotse.CutSet.from_file(folder / CUTS))
    assert [(cut.id, cut.start, cut.mood) for cut in found] == [(f"c{n}", 0.5, "glad") for n in range(4)]
    assert sorted(cut.recording.sources[0].source for cut in found) == placed(tmp_path / "new")
    assert all(cut.load_audio().shape == (1, RATE) for cut in found)


def test_shards_are_moved_to_a_folder_or_a_url(old, tmp_path):
    pytest.importorskip("aiohttp", reason="could not import aiohttp")
    prepare(str(old), str(tmp_path / "prepared"))
    write_shards(tmp_path / "prepared", tmp_path / "sharded")
    before = {one.id: audio.read(one.path) for one in open_manifest(tmp_path / "sharded")}
    listing = tmp_path / "list"
    listing.mkdir()
    (listing / TABLE).write_bytes((tmp_path / "sharded" / TABLE).read_bytes())
    shutil.move(tmp_path / "sharded", tmp_path / "moved")
    move_root(listing, str(tmp_path / "moved"))
    assert all(audio.read(one.path).equal(before[one.id]) for one in open_manifest(listing))
    with serving(tmp_path / "moved") as url:
        assert move_root(listing, f"{url}/") == str(tmp_path / "moved")
        assert all(one.path.startswith(f"{url}/shards/") for one in open_manifest(listing))
        assert all(audio.read(one.path).equal(before[one.id]) for one in open_manifest(listing))
        with pytest.raises(FileNotFoundError, match="no such shard"):
            move_root(listing, f"{url}/none")
    with pytest.raises(ValueError, match=r"only shards are read from URLs: write them with `sori shards`"):
        move_root(tmp_path / "prepared", "s3://bucket/speech")
