"""Word vectors from spoken segments: means, files, neighbours, commands."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.data.manifest import Utterance, read_manifest
from sori.data.word_segments import SEGMENTS, Segment, read_segments, write_segments
from sori.embeddings import spoken_words, vector_files
from sori.models.speech2vec import Speech2Vec, Speech2VecConfig
from sori.runs import run


def spoken(vectors, words):
    segments = [Segment("u0", 0.1 * n, 0.1 * n + 0.1, word) for n, word in enumerate(words)]
    u = Utterance("u0", "none.wav", 0.0, 160_000, None, None, None, None)
    return spoken_words.SpokenSegments(segments, torch.tensor(vectors), {"u0": u})


SPOKEN = spoken([[3.0, 0.0], [0.0, 1.0], [1.0, 1.0], [5.0, 5.0]], ["a", "a", "b", None])


@pytest.fixture(scope="module")
def segmented(prepared_tones, tmp_path_factory):
    """The prepared tones, each divided evenly among its words."""
    folder = tmp_path_factory.mktemp("segmented")
    (folder / "cuts.jsonl.gz").write_bytes((prepared_tones / "cuts.jsonl.gz").read_bytes())
    segments = []
    for u in read_manifest(folder):
        words = u.text.split()
        step = u.duration_seconds / len(words)
        segments += [Segment(u.id, n * step, (n + 1) * step, word) for n, word in enumerate(words)]
    write_segments(folder / SEGMENTS, segments)
    return folder


@pytest.fixture(scope="module")
def model(segmented, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "words"
    recipe = recipes.by_name("speech2vec_smoke").override({"train.num_steps": 5})
    run.train(recipe, into=folder, data=segmented)
    return folder


def test_a_word_is_the_mean_of_its_segments():
    unit = spoken_words.WordVectors(SPOKEN)
    assert (unit.words, unit.counts) == (["a", "b"], [2, 1])
    half = 0.5**0.5
    torch.testing.assert_close(unit.vector("a"), torch.tensor([half, half]))
    torch.testing.assert_close(spoken_words.WordVectors(SPOKEN, unit=False).vector("a"), torch.tensor([1.5, 0.5]))
    with pytest.raises(ValueError, match="there is no segment of the word 'c'"):
        unit.vector("c")
    with pytest.raises(ValueError, match="fixed length have no words"):
        spoken_words.WordVectors(spoken([[1.0, 0.0]], [None]))


def test_the_file_is_in_the_format_of_word2vec(tmp_path):
    spoken_words.WordVectors(SPOKEN, unit=False).save(tmp_path / "v" / "words.vec")
    assert (tmp_path / "v" / "words.vec").read_text() == "2 2\na 1.5 0.5\nb 1.0 1.0\n"
    with pytest.raises(ValueError, match="contains a space"):
        spoken_words.WordVectors(spoken([[1.0, 0.0]], ["a b"])).save(tmp_path / "words.vec")


def test_neighbours_of_words_and_segments():
    four = spoken([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5]], ["x", "y", "z", "y"])
    found = spoken_words.nearest_words(four, "x", number=2)
    assert [one.example.word for one in found] == ["x", "y", "z"]
    assert found[1].example == four.segments[1]
    assert [one.num_segments for one in found] == [1, 2, 1]
    near = spoken_words.nearest_segments(four, "u0@0.15", number=2)
    assert [one.example for one in near] == [four.segments[1], four.segments[0], four.segments[3]]
    assert near[0].cosine == pytest.approx(1.0)
    for wrong, message in (("u0@7", "its segments: 0-0.1"), ("u9@0", "no utterance 'u9'"), ("u0@x", "SECONDS")):
        with pytest.raises(ValueError, match=message):
            spoken_words.nearest_segments(four, wrong)


def test_vectors_do_not_depend_on_the_batch(segmented):
    torch.manual_seed(0)
    system = Speech2Vec(Speech2VecConfig(dim=8))
    found = spoken_words.embed_segments(system, data=[segmented], split="test")
    utterances = [u for u in read_manifest(segmented) if u.split == "test"]
    assert set(found.utterances) == {u.id for u in utterances}
    for u in utterances[:3]:
        own = [one for one in read_segments(segmented / SEGMENTS) if one.utterance == u.id]
        with torch.no_grad():
            alone = torch.cat([system.vectors(batch) for batch in spoken_words.batches([u], [own])])
        rows = [found.segments.index(one) for one in own]
        torch.testing.assert_close(found.vectors[rows], alone, rtol=1e-5, atol=1e-5)
    assert len(found.waveform(found.segments[0])) == pytest.approx(
        16_000 * (found.segments[0].end - found.segments[0].start), abs=2
    )


def test_from_a_run_to_vectors_and_a_page_with_players(call, model, segmented):
    code, out, _ = call("words", "vectors", model, "--into", "words.vec")
    assert code == 0
    lines = Path("words.vec").read_text(encoding="utf-8").splitlines()
    count = len({one.word for one in read_segments(segmented / SEGMENTS)})
    assert lines[0] == f"{count} 16"
    assert len(lines) == count + 1
    word = lines[1].split()[0]
    assert np.linalg.norm(np.array(lines[1].split()[1:], dtype=float)) == pytest.approx(1, abs=1e-4)

    code, out, _ = call("words", "neighbours", model, word, "--number", 3, "--page", "near/page.html")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert len(rows) == 4
    assert rows[0][2] == word
    assert Path("near/page.html").read_text(encoding="utf-8").count("<audio") == 4

    place = rows[1][3].split("-")
    utterance, start = "-".join(place[:-1]).rsplit("@", 1)
    code, out, _ = call("words", "neighbours", model, f"{utterance}@{float(start) + 0.05}", "--number", 2)
    assert code == 0
    assert out.startswith("1.000\t1\t")

    code, _, err = call("words", "neighbours", model, "nosuchword")
    assert code == 2
    assert "there is no segment of the word" in err


def test_evaluate_on_the_command_line(call, model, tmp_path):
    (tmp_path / "list.txt").write_text("dog cat 7\n")
    code, out, _ = call("words", "evaluate", model, "--split", "train", "--across-speakers", "--similar", "list.txt")
    assert code == 0
    assert [line.split("average")[0].strip() for line in out.splitlines()[1:-1]] == [
        "model",
        "untrained",
        "sampled cepstra",
        "mean cepstra",
        "chance",
    ]
    assert "on 0 of 1 pairs" in out
    code, _, err = call("words", "evaluate", model, "--split", "nosuch")
    assert code == 2
    assert "dev, test, train" in err


def test_words_are_aligned_by_a_recogniser(call, recogniser_run, prepared_tones, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "cuts.jsonl.gz").write_bytes((prepared_tones / "cuts.jsonl.gz").read_bytes())
    code, out, _ = call("words", "align", recogniser_run, folder)
    assert code == 0
    assert out.startswith(f"{folder / SEGMENTS}\t")
    texts = {u.id: u.text for u in read_manifest(folder)}
    found = {}
    for one in read_segments(folder / SEGMENTS):
        found.setdefault(one.utterance, []).append(one.word)
    assert len(found) > 0.9 * len(texts)
    assert all(" ".join(own) == texts[name] for name, own in found.items())
    code, _, err = call("words", "align", "none", folder)
    assert code == 2
    assert "no model called" in err


def test_a_recording_that_is_gone_costs_its_own_words_only(call, recogniser_run, tone_corpus, tmp_path):
    shutil.copytree(tone_corpus, tmp_path / "tones")
    call("prepare", "tones/manifest.jsonl", "prepared", "--num-workers", "1")
    first, *others = read_manifest(tmp_path / "prepared")
    Path(first.path).unlink()
    code, out, err = call("words", "align", recogniser_run, "prepared")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith(f"{first.path}: no such file")
    assert out.endswith("1 utterances failed\n")
    assert {one.utterance for one in read_segments(tmp_path / "prepared" / SEGMENTS)} <= {u.id for u in others}


def test_frame_encoders_are_refused(encoder_run, segmented):
    with pytest.raises(ValueError, match="which computes frame vectors"):
        spoken_words.embed_segments(encoder_run, data=[segmented])
    with pytest.raises(ValueError, match="expected a recogniser"):
        spoken_words.align(store.load(encoder_run), segmented)


def test_spoken_words_are_queried_like_those_of_text(call, model, segmented):
    code, out, _ = call("words", "vectors", model, "--into", "words.bin")
    assert code == 0
    assert f"{sum(1 for _ in read_segments(segmented / SEGMENTS)):,} segments" in out
    space = vector_files.read(Path("words.bin"))
    words = [one.word for one in read_segments(segmented / SEGMENTS)]
    assert words.count(space.words[0]) == max(words.count(word) for word in space.words)
    _, from_run, _ = call("words", model, f"{space.words[0]} - {space.words[1]}", "--number", 3)
    _, from_file, _ = call("words", "words.bin", f"{space.words[0]} - {space.words[1]}", "--number", 3)
    run_rows, file_rows = ([line.split("\t") for line in out.splitlines()] for out in (from_run, from_file))
    assert [row[::2] for row in run_rows] == [row[::2] for row in file_rows]
    assert [int(row[1]) for row in run_rows] == [words.count(row[2]) for row in run_rows]
