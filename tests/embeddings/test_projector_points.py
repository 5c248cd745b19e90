"""Points of files and models for the projector."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sori.checkpoints import store
from sori.data.manifest import read_manifest
from sori.data.sources.alignments import match, read_alignments
from sori.data.word_segments import Segment
from sori.embeddings import projector_points, vector_files
from sori.embeddings.projector_points import ProjectorConfig, collect
from sori.embeddings.space import WordSpace
from sori.embeddings.spoken_words import SpokenSegments
from sori.inference.embed import embed
from sori.models import factory


@pytest.fixture
def word_file(tmp_path):
    path = tmp_path / "words.bin"
    vectors = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    vector_files.write(WordSpace([f"w{n}" for n in range(400)], vectors), path)
    return path


def test_words_are_in_frequency_bands(word_file):
    found = collect(word_file, config=ProjectorConfig(number=350))
    assert found.labels == [f"w{n}" for n in range(350)]
    (column,) = found.columns
    assert column.ordered == ["1 to 100", "101 to 300", "301 to 350"]
    assert [column.values.count(value) for value in column.ordered] == [100, 200, 50]
    assert found.vectors.shape == (350, 6)
    with pytest.raises(ValueError, match="contains word vectors, so it can show words, not frames"):
        collect(word_file, config=ProjectorConfig(show="frames"))


def test_phones_are_means_of_their_frames(encoder_run, prepared_tones, tone_alignments):
    found = collect(encoder_run, data=[prepared_tones], alignments=tone_alignments, config=ProjectorConfig(number=60))
    assert len(found.labels) == 60
    assert [one.name for one in found.columns] == ["phone", "speaker", "split"]
    assert "SIL" not in found.labels
    model = store.load(encoder_run)
    every = read_manifest(prepared_tones)
    known = match(every, read_alignments(tone_alignments)).alignments
    by_id = {u.id: (u, alignment) for u, alignment in zip(every, known, strict=True)}
    for row in (0, 17, 59):
        name, times = found.details[row].rsplit(", ", 1)
        start, end = (float(time) for time in times.removesuffix(" s").split(" to "))
        u, alignment = by_id[name]
        phone = next(one for one in alignment.phones if abs(one.start - start) < 0.006 and abs(one.end - end) < 0.006)
        assert phone.label == found.labels[row]
        frames = embed(model, u.path).frames.numpy()
        encoder = factory.encoder_of(model)
        middles = (np.arange(len(frames)) * encoder.hop_samples + encoder.field_samples / 2) / 16_000
        inside = (middles >= phone.start) & (middles < phone.end)
        np.testing.assert_allclose(found.vectors[row], frames[inside].mean(0), rtol=1e-4, atol=1e-5)
        seconds = min(u.duration_seconds, phone.end + 0.15) - max(0, phone.start - 0.15)
        assert len(found.sound(row)) == pytest.approx(16_000 * seconds, abs=2)


def test_frames_are_labelled_with_phones_if_alignments_are_given(encoder_run, prepared_tones, tone_alignments):
    config = ProjectorConfig(number=200, show="frames", split="train")
    found = collect(encoder_run, data=[prepared_tones], alignments=tone_alignments, config=config)
    assert len(found.vectors) == 200
    assert {"", *"abdelnos"} >= set(found.labels) != {""}
    bare = collect(encoder_run, data=[prepared_tones], config=config)
    assert "phone" not in [one.name for one in bare.columns]
    assert set(bare.labels) <= {u.id for u in read_manifest(prepared_tones) if u.split == "train"}
    again = collect(encoder_run, data=[prepared_tones], config=config)
    assert again.details == bare.details


def test_codes_are_codebook_entries(encoder_run):
    found = collect(encoder_run)
    book = factory.encoder_of(store.load(encoder_run)).quantizer.codebook.detach().numpy()
    assert len(found.labels) == book.shape[0] * book.shape[1]
    row = found.labels.index("2:5")
    assert found.vectors[row].tolist() == book[1, 5].tolist()
    assert found.columns[0].values[row] == "group 2"


def test_missing_inputs_are_named(encoder_run, prepared_tones, word_file):
    with pytest.raises(ValueError, match="give --data PREPARED"):
        collect(encoder_run, config=ProjectorConfig(show="phones"))
    with pytest.raises(ValueError, match="give --alignments FILE"):
        collect(encoder_run, data=[prepared_tones], config=ProjectorConfig(show="phones"))
    with pytest.raises(ValueError, match="the split 'nosuch' can be used"):
        collect(encoder_run, data=[prepared_tones], config=ProjectorConfig(split="nosuch"))
    with pytest.raises(ValueError, match="2 points or more"):
        collect(word_file, config=ProjectorConfig(number=1))


def test_a_phone_too_short_for_a_frame_gets_the_nearest():
    frames, middles = np.arange(6, dtype=np.float32)[:, None], np.arange(6) * 0.02 + 0.0125
    phones = tuple(
        projector_points.Interval(*one) for one in ((0.0, 0.03, "a"), (0.055, 0.06, "b"), (0.06, 0.2, "SIL"))
    )
    one = projector_points._Recording(None, projector_points.Alignment(phones))
    kept, means = projector_points._spoken(one, frames, middles)
    assert [phone.label for phone in kept] == ["a", "b"]
    assert means.tolist() == [[0.0], [2.0]]
    moments, _ = projector_points._frames(one, frames, middles)
    assert [moment.label for moment in moments] == ["a", "", "", "", "", ""]


def test_plot_projector_writes_a_page_and_tensorboard_files(call, word_file):
    code, out, _ = call("plot", "projector", word_file, "--number", 50, "--tensorboard", "board")
    assert code == 0
    assert out.startswith("words.projector.html\t50 points, ")
    assert "Words of words.bin" in Path("words.projector.html").read_text(encoding="utf-8")
    assert len(Path("board/vectors.tsv").read_text().splitlines()) == 50
    code, _, err = call("plot", "projector", word_file, "--neighbours", 0)
    assert code == 2
    assert "1 neighbour or more" in err


def test_spoken_words_have_points_and_audio(prepared_tones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    embedded = _embedded(prepared_tones)
    found = projector_points._segments(embedded, "run", ProjectorConfig(number=10))
    assert [one.name for one in found.columns] == ["word", "speaker", "split"]
    assert len(found.labels) == 10
    start, end = (float(time) for time in found.details[3].rsplit(", ", 1)[1].removesuffix(" s").split(" to "))
    assert len(found.sound(3)) == pytest.approx(16_000 * (end - start), abs=200)


def _embedded(folder):
    every = read_manifest(folder)
    segments = [Segment(u.id, 0.1, 0.4, u.text.split()[0]) for u in every]
    return SpokenSegments(segments, torch.randn(len(segments), 5), {u.id: u for u in every})
