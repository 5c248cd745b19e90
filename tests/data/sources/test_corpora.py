"""Lhotse's corpus recipes, run over small corpora laid out as their authors distribute them."""

import tempfile
import types

import numpy as np
import pytest
import soundfile

from sori.data.sources import corpora
from sori.data.sources.corpora import corpus_names, read_corpus
from sori.data.sources.recordings import Item

lhotse = pytest.importorskip("lhotse", exc_type=ImportError)


def sound(path, *, seconds=1.0, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (int(seconds * 16_000), channels)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(shape), 16_000)
    return str(path)


def test_librispeech_as_it_is_distributed(tmp_path):
    folder = tmp_path / "LibriSpeech/dev-clean/1089/134686"
    paths = [sound(folder / f"1089-134686-000{number}.flac") for number in (0, 1)]
    (folder / "1089-134686.trans.txt").write_text("1089-134686-0000 HE HOPED\n1089-134686-0001 STUFF IT\n")
    found = read_corpus("librispeech", tmp_path / "LibriSpeech")
    expected = [
        Item(f"1089-134686-000{number}", path, 0.0, None, text, "1089", "English", "dev-clean", is_official=True)
        for number, (path, text) in enumerate(zip(paths, ["HE HOPED", "STUFF IT"], strict=True))
    ]
    assert sorted(found.items) == expected
    assert not found.excluded


def test_ljspeech_as_it_is_distributed(tmp_path):
    path = sound(tmp_path / "wavs/LJ001-0001.wav")
    (tmp_path / "metadata.csv").write_text("LJ001-0001|No. 1|number one\n", encoding="utf-8")
    (item,) = read_corpus("ljspeech", tmp_path).items
    assert (item.path, item.start, item.duration, item.split) == (path, 0.0, None, None)
    assert item.text


def test_segments_channels_and_unsupported_sources(tmp_path, monkeypatch):
    four = sound(tmp_path / "four.wav", seconds=3.0, channels=4)
    two, one = sound(tmp_path / "two.wav", seconds=3.0, channels=2), sound(tmp_path / "one.wav", seconds=3.0)
    files = [lhotse.Recording.from_file(path) for path in (two, one, sound(tmp_path / "alone.wav"), four)]
    piped = lhotse.Recording("piped", [lhotse.AudioSource("command", [0], "cat x")], 16_000, 16_000, 1.0)
    said = [
        lhotse.SupervisionSegment("s1", "one", 0.5, 1.0, text="hi", speaker="x"),
        lhotse.SupervisionSegment("s2", "two", 0.5, 1.0, channel=1),
        lhotse.SupervisionSegment("s3", "piped", 0.0, 1.0),
        lhotse.SupervisionSegment("s4", "nowhere", 0.0, 1.0),
        lhotse.SupervisionSegment("s5", "two", 0.5, 1.0, channel=[0, 1]),
        lhotse.SupervisionSegment("s6", "four", 0.5, 1.0, channel=[0, 2]),
    ]
    recordings = lhotse.RecordingSet.from_recordings([*files, piped])

    def prepare_pretended(corpus_dir, output_dir):
        return {"eng": {"test": {"recordings": recordings, "supervisions": said}}}

    monkeypatch.setattr(corpora, "_recipes", lambda: types.SimpleNamespace(prepare_pretended=prepare_pretended))
    found = read_corpus("pretended", tmp_path)
    assert found.items == [
        Item("s1", one, 0.5, 1.0, "hi", "x", None, "test", is_official=True),
        Item("s2", two, 0.5, 1.0, None, None, None, "test", is_official=True, channel=1),
        Item("s5", two, 0.5, 1.0, None, None, None, "test", is_official=True),
        Item("alone", str(tmp_path / "alone.wav"), split="test", is_official=True),
    ]
    assert {(row.id, row.reason) for row in found.excluded} == {
        ("s6", "some channels of several"),
        ("piped", "unsupported format"),
        ("s4", "missing"),
    }


def test_misspelt_names_and_wrong_folders(tmp_path):
    assert {"librispeech", "mls", "voxpopuli", "ksponspeech"} <= set(corpus_names())
    with pytest.raises(ValueError, match="no corpus recipe is named 'libirspeech'; did you mean librispeech"):
        read_corpus("libirspeech", tmp_path)
    with pytest.raises(ValueError, match="no corpus recipe is named 'qqqq'; expected one of adept,"):
        read_corpus("qqqq", tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        read_corpus("librispeech", tmp_path / "gone")
    with pytest.raises(ValueError, match=r"recipe librispeech (cannot read|found no recordings)"):
        read_corpus("librispeech", tmp_path)


def test_recipes_that_need_more_arguments_are_refused(tmp_path, monkeypatch):
    def prepare_pretended(corpus_dir, transcript_dir, output_dir=None):
        raise AssertionError

    monkeypatch.setattr(corpora, "_recipes", lambda: types.SimpleNamespace(prepare_pretended=prepare_pretended))
    with pytest.raises(ValueError, match=r"needs more than a folder \(transcript_dir\)"):
        read_corpus("pretended", tmp_path)


def test_a_temporary_folder_is_made_only_for_recipes_that_write(tmp_path, monkeypatch):
    sound(tmp_path / "a.wav")
    made = []

    def read_only(corpus_dir):
        recordings = lhotse.RecordingSet.from_dir(corpus_dir, "*.wav")
        return {"recordings": recordings}

    def writing(corpus_dir, output_dir):
        made.append(output_dir)
        return read_only(corpus_dir)

    module = types.SimpleNamespace(prepare_reading=read_only, prepare_writing=writing)
    monkeypatch.setattr(corpora, "_recipes", lambda: module)
    assert len(read_corpus("writing", tmp_path).items) == 1
    assert made
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    assert len(read_corpus("reading", tmp_path).items) == 1
