"""Confidence, n-best lists and hot words through the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sori.checkpoints import store
from sori.core.audio import read
from sori.data import utterances
from sori.data.manifest import read_manifest
from sori.decoding.confidence import Confidence
from sori.evaluation import recognition
from sori.evaluation.error_rate import error_rates
from sori.inference import calibrate, transcribe


@pytest.fixture
def model(recogniser_run, tmp_path) -> Path:
    """A plain model folder of its own, so that the shared one is not changed."""
    return shutil.copytree(recogniser_run / "model", tmp_path / "recogniser")


@pytest.fixture
def sound(tone_corpus) -> Path:
    return tone_corpus / "audio" / "dora" / "dora-000.wav"


@pytest.fixture
def long(tone_corpus, tmp_path) -> Path:
    """Half a minute: several chunks."""
    sounds = sorted((tone_corpus / "audio" / "dora").glob("*.wav"))
    waveform = torch.cat([part for path in sounds for part in (read(path), torch.zeros(12_000))])
    soundfile.write(tmp_path / "long.wav", torch.cat([waveform, waveform]).numpy(), 16_000)
    return tmp_path / "long.wav"


@pytest.fixture
def arpa(call, prepared_tones, model):
    said = sorted({u.text for u in read_manifest(prepared_tones)})
    Path("said.txt").write_text("\n".join(said) + "\n")
    assert call("lm", "build", "said.txt", "--order", 2, "--into", "lm.arpa", "--model", model)[0] == 0
    return Path("lm.arpa")


def transcribed(call, *words):
    code, out, err = call("transcribe", *words, "--format", "json", "--precision", "float32")
    assert code == 0, err
    return json.loads(out), err


def test_confidence_is_fitted_stored_and_used(call, model, prepared_tones, sound, long):
    assert "confidence" not in transcribed(call, model, sound)[0]["words"][0]
    fit = ["calibrate", model, "--data", prepared_tones, "--split", "dev", "--judge-split", "test"]
    code, out, err = call(*fit, "--plot", "pictures/reliability.png")
    assert code == 0, err
    assert "stored in" in out
    assert "constant" in out
    assert Path("pictures/reliability.png").stat().st_size > 5_000
    found = calibrate.read(model / "confidence.json", store.load(model)).fits
    assert [one.search for one in found] == [None]
    assert found[0].fitted_on["data"] == ["tones"]
    for file, num_chunks in ((sound, 1), (long, 2)):
        chunks = list(transcribe.transcribe_chunks(store.load(model), file, features=True))
        assert len(chunks) >= num_chunks
        expected = np.concatenate([found[0].probability(one.features) for one in chunks])
        words = transcribed(call, model, file)[0]["words"]
        assert [word["confidence"] for word in words] == pytest.approx(expected, abs=1e-4)
    lines = call("transcribe", model, sound, "--times")[1].splitlines()[1:]
    assert [float(line.split("\t")[2]) for line in lines] == pytest.approx(
        [word["confidence"] for word in transcribed(call, model, sound)[0]["words"]], abs=0.006
    )
    ctm = call("transcribe", model, sound, "--format", "ctm")[1].splitlines()
    assert all(len(line.split()) == 6 for line in ctm)


def test_each_decoder_configuration_has_its_own_fit(call, model, prepared_tones, arpa, sound):
    options = ["--lm", arpa, "--beam-size", 20]
    fit = ["calibrate", model, "--data", prepared_tones]
    assert call(*fit)[0] == 0
    found, err = transcribed(call, model, sound, *options)
    assert "confidence" not in found["words"][0]
    assert "no confidence for these decoding options" in err
    assert call(*fit, *options)[0] == 0
    assert call(*fit, *options)[0] == 0  # replaces, adds nothing
    fits = calibrate.read(model / "confidence.json", store.load(model)).fits
    assert [one.search is None for one in fits] == [True, False]
    assert fits[1].features[-2:] == ("vote", "context")
    with_lm, err = transcribed(call, model, sound, *options)
    assert err == ""
    assert all(0 < word["confidence"] < 1 for word in with_lm["words"])
    assert "confidence" in transcribed(call, model, sound)[0]["words"][0]
    assert "confidence" not in transcribed(call, model, sound, *options, "--lm-weight", 0.6)[0]["words"][0]
    with pytest.raises(ValueError, match="likely it was fitted with a language model"):
        transcribe.transcribe(store.load(model), sound, confidence=fits[1])


def test_correct_words_are_those_of_the_error_report(model, prepared_tones):
    system = store.load(model)
    words = calibrate.recognise(system, utterances.transcribed(prepared_tones, "test"))
    report = recognition.evaluate(system, data=prepared_tones)
    edits = report.wer.edits
    assert words.correct.sum() == len(words.correct) - edits.substitutions - edits.insertions
    assert len(words.correct) == edits.total - edits.deletions + edits.insertions
    assert words.unit == "utterances"
    assert error_rates([u.reference for u in report.utterances], [u.hypothesis for u in report.utterances]).wer.edits


def test_the_number_of_threads_changes_no_word(model, prepared_tones, monkeypatch):
    found = []
    for number in (1, 3):
        monkeypatch.setattr(transcribe, "num_at_a_time", lambda _, number=number: number)
        found.append(calibrate.recognise(store.load(model), utterances.transcribed(prepared_tones, "dev")))
    assert len(found[0].correct) > 10
    np.testing.assert_array_equal(found[0].features, found[1].features)
    assert found[0][1:3] == (pytest.approx(found[1].correct), found[1].groups)


def test_files_that_cannot_be_used_are_named(call, model, prepared_tones, sound, monkeypatch):
    fit = ["calibrate", model, "--data", prepared_tones]
    for words, message in (
        (["--plot", "x.png"], "--plot needs --judge-split"),
        (["--judge-split", "dev"], "another split to evaluate on"),
    ):
        code, _, err = call(*fit, *words)
        assert code == 2
        assert message in err
    assert call(*fit, "--into", "mine.json")[0] == 0
    assert not (model / "confidence.json").exists()
    assert "confidence" in transcribed(call, model, sound, "--confidence", "mine.json")[0]["words"][0]
    code, _, err = call("transcribe", model, sound, "--confidence", "mine.json", "--hot-word", "ab")
    assert code == 2
    assert "no confidence for these decoding options" in err
    for text, message in (
        ("{", "not readable as JSON"),
        ('{"recogniser": "x"}', "fits"),
        (Path("mine.json").read_text().replace('"recogniser": "', '"recogniser": "0'), "another recogniser"),
        (Path("mine.json").read_text().replace('"bias": ', '"bias": "x", "was": '), "bias"),
    ):
        Path("damaged.json").write_text(text)
        code, _, err = call("transcribe", model, sound, "--confidence", "damaged.json")
        assert code == 2
        assert "damaged.json" in err
        assert message in err
    code, _, err = call("transcribe", model, sound, "--confidence", "absent.json")
    assert code == 2
    assert "`sori calibrate` makes one" in err
    monkeypatch.setattr(calibrate, "own_folder", lambda _: None)
    with pytest.raises(ValueError, match="--into FILE"):
        calibrate.file_of(model)
    assert calibrate.find(model) is None


def test_a_file_is_read_as_it_was_stored(model, tmp_path):
    system = store.load(model)
    one = Confidence(
        features=("x",), means=(1 / 3,), scales=(2.0,), weights=(0.1,), bias=-1e-17, search={"a": 0.1, "lm": None}
    )
    other = one.model_copy(update={"search": None})
    calibrate.store(one, tmp_path / "deep" / "c.json", system)
    calibrate.store(other, tmp_path / "deep" / "c.json", system)
    found = calibrate.read(tmp_path / "deep" / "c.json", system)
    assert found.fits == (one, other)
    assert calibrate.choose(found, None) == other
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["c.json"]


def test_characters_are_within_their_words(call, model, sound, long):
    for file in (sound, long):
        for word in transcribed(call, model, file)[0]["words"]:
            assert "".join(one["text"] for one in word["characters"]) == word["text"]
            edges = [one[key] for one in word["characters"] for key in ("start", "end")]
            assert edges == sorted(edges)
            assert (edges[0], edges[-1]) == (word["start"], word["end"])
            assert all(one["start"] < one["end"] for one in word["characters"])


def test_n_best_list_of_each_chunk(call, model, sound, long):
    plain, _ = transcribed(call, model, sound)
    assert "alternatives" not in plain
    for file in (sound, long):
        found, _ = transcribed(call, model, file, "--num-best", 3)
        chunks = found["alternatives"]
        assert (len(chunks) > 1) == (file == long)
        assert " ".join(one["texts"][0]["text"] for one in chunks) == found["text"]
        for one in chunks:
            scores = [row["score"] for row in one["texts"]]
            assert len({row["text"] for row in one["texts"]}) == len(scores) == 3
            assert scores == sorted(scores, reverse=True)
            inside = [word for word in found["words"] if one["start"] - 1e-3 <= word["start"] < one["end"]]
            assert " ".join(word["text"] for word in inside) == one["texts"][0]["text"]
    lines = call("transcribe", model, sound, "--num-best", 3)[1].splitlines()
    assert [line.split("\t")[2] for line in lines[1:]] == ["1", "2", "3"]
    assert lines[1].split("\t")[4] == lines[0]
    for words in (["--format", "srt"], ["--into", "out"]):
        code, _, err = call("transcribe", model, sound, "--num-best", 3, *words)
        assert code == 2
        assert "--num-best is for the screen and for --format json" in err


def test_hot_words_are_preferred(call, model, sound, arpa):
    best, second = transcribed(call, model, sound, "--num-best", 2)[0]["alternatives"][0]["texts"]
    wanted = next(word for word in second["text"].split() if word not in best["text"].split())
    found, _ = transcribed(call, model, sound, "--hot-word", wanted, "--hot-word-score", 20)
    assert wanted in found["text"].split()
    found, _ = transcribed(call, model, sound, "--hot-word", "abab", "--hot-word", wanted, "--hot-word-score", 0)
    assert wanted not in found["text"].split()
    known, strange = transcribed(call, model, sound, "--lm", arpa)[0], "sonde"
    assert strange not in known["text"]
    found, _ = transcribed(call, model, sound, "--lm", arpa, "--hot-word", strange, "--hot-word-score", 200)
    assert strange in found["text"].split()
    code, _, err = call("transcribe", model, sound, "--hot-word", "two words")
    assert code == 2
    assert "give each word of a phrase separately" in err
