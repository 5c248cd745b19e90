"""From layouts to a prepared folder: official sets stay whole, names become unique, notes reach the report."""

import json
import time

import numpy as np
import pytest
import soundfile

from sori.data.manifest import read_manifest
from sori.data.preparation.prepare import _make_unique, prepare
from sori.data.sources.reading import Reading
from sori.data.sources.recordings import Item

RATE = 16_000


def sound(path, seconds, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE)), RATE)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def librispeech(tmp_path):
    """Parts `test-clean` and `train-clean-5` with a long, a short, a repeated and an untranscribed long utterance."""
    folder = tmp_path / "LibriSpeech"
    for part, speaker, first in (("test-clean", 1, 10), ("train-clean-5", 2, 20)):
        place = folder / part / f"{speaker}/2"
        names = [f"{speaker}-2-{number:04d}" for number in range(4)]
        for name, seconds, seed in zip(names, (2.5, 0.1, 0.5, 3.5), (first, first + 1, 0, first + 2), strict=True):
            sound(place / f"{name}.flac", seconds, seed)
        (place / f"{speaker}-2.trans.txt").write_text("".join(f"{name} A B\n" for name in names[:3]))
    return folder


def test_official_sets_are_never_left_out_or_cut(librispeech, tmp_path):
    report = prepare(librispeech, tmp_path / "out", min_seconds=0.2, max_seconds=2.0, num_workers=1)
    by_split = {}
    for utterance in read_manifest(tmp_path / "out"):
        by_split.setdefault(utterance.split, []).append((utterance.id, round(utterance.duration_seconds, 1)))
    assert by_split["test"] == [("1-2-0000", 2.5), ("1-2-0001", 0.1), ("1-2-0002", 0.5), ("1-2-0003", 3.5)]
    assert {name[:8] for name, _ in by_split["train"]} == {"2-2-0003"}  # cut
    assert {(row["id"], row["reason"]) for row in lines(tmp_path / "out/excluded.jsonl")} == {
        ("2-2-0000", "too long for its transcript"),
        ("2-2-0001", "too short"),
        ("2-2-0002", "duplicate"),  # of the test set, although the training set has the transcript as well
    }
    flags = {(row["id"], row["warning"]) for row in lines(tmp_path / "out/flagged.jsonl")}
    assert {("1-2-0000", "too long for its transcript, kept as part of an official set")} <= flags
    assert {("1-2-0001", "too short, kept as part of an official set")} <= flags
    assert report.num_files == 5
    text = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "read as LibriSpeech (--layout librispeech)" in text


def test_a_plain_folder_can_be_chosen(librispeech, tmp_path):
    prepare(librispeech, tmp_path / "out", reading=Reading(layout="folder"), num_workers=1)
    assert {u.split for u in read_manifest(tmp_path / "out")} == {None}


def test_embedded_sound_is_kept_in_the_prepared_folder(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="could not import pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sound(tmp_path / "a.wav", 1.0)
    (tmp_path / "set").mkdir()
    row = {"bytes": (tmp_path / "a.wav").read_bytes(), "path": "a.wav"}
    parquet.write_table(pyarrow.table({"audio": [row], "text": ["hello"]}), tmp_path / "set/train.parquet")
    for overwrite in (False, True):
        prepare(tmp_path / "set", tmp_path / "out", num_workers=1, overwrite=overwrite)
        (utterance,) = read_manifest(tmp_path / "out")
        assert (utterance.text, utterance.split, utterance.num_samples) == ("hello", "train", RATE)
        assert utterance.path.startswith(str(tmp_path / "out"))


def test_equal_names_are_renamed_in_linear_time():
    items = [Item("a", "x")] * 100_000 + [Item("a~2", "x"), Item("b", "x"), Item("b", "x")]
    start = time.process_time()
    _make_unique(items)
    assert time.process_time() - start < 5
    assert [item.id for item in items[:3]] == ["a", "a~2", "a~3"]
    assert [item.id for item in items[-3:]] == ["a~2~2", "b", "b~2"]
    assert len({item.id for item in items}) == len(items)
