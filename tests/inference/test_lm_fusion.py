"""A language model from text to fewer word errors, through the command line."""

import re
from pathlib import Path

import pytest

from sori.checkpoints import store
from sori.data.manifest import read_manifest
from sori.data.utterances import transcribed
from sori.decoding.beam import BeamConfig
from sori.evaluation import recognition
from sori.inference import lm_fusion
from sori.lm.fusion import UNTUNED, new_word_score


@pytest.fixture
def arpa(call, prepared_tones, recogniser_run):
    """A language model of all transcripts: the words of these recordings are random, so none occurs twice."""
    said = sorted({u.text for u in read_manifest(prepared_tones)})
    Path("said.txt").write_text("\n".join(said) + "\n")
    code, out, err = call("lm", "build", "said.txt", "--order", 2, "--into", "lm.arpa", "--model", recogniser_run)
    assert code == 0, err
    assert f"{len(said)} sentences" in out
    return Path("lm.arpa")


def rates(out):
    return [float(re.search(rf"{unit} +(\d+\.\d+)%", out)[1]) for unit in ("WER", "CER")]


def test_a_language_model_lowers_the_word_error_rate(call, arpa, prepared_tones, recogniser_run):
    words = ["evaluate", recogniser_run, "--data", prepared_tones]
    without = rates(call(*words)[1])[0]
    code, out, _ = call(*words, "--lm", arpa)
    assert code == 0
    assert rates(out)[0] < without


def test_only_known_words_are_output_unless_others_are_allowed(call, arpa, prepared_tones, recogniser_run):
    system = store.load(recogniser_run)
    known = set(Path("said.txt").read_text().split())
    utterances = transcribed(prepared_tones, "test")
    for known_only in (True, False):
        config = BeamConfig(lm_weight=0.0, spelling_weight=0.0)
        search = lm_fusion.decoder(system, arpa, config, known_words_only=known_only)
        report = recognition.evaluate(system, data=prepared_tones, decoder=search)
        output = {word for one in report.utterances for word in one.hypothesis.split()}
        assert len(report.utterances) == len(utterances)
        assert (output <= known) == known_only


def test_tuning_finds_weights_no_worse_than_the_defaults(call, arpa, prepared_tones, recogniser_run):
    code, out, _ = call("lm", "tune", recogniser_run, arpa, "--data", prepared_tones, "--beam-size", 20)
    assert code == 0
    weights, wer = re.search(r"best: (--lm-weight .+ --spelling-weight \S+) +WER (\S+)%", out).groups()
    options = ["--lm", arpa, "--split", "dev", "--beam-size", 20]
    words = ["evaluate", recogniser_run, "--data", prepared_tones, *options]
    best = rates(call(*words, *weights.split())[1])[0]
    assert best == pytest.approx(float(wer), abs=0.06)
    assert best <= rates(call(*words, "--lm-weight", 1.0, "--word-score", 0.0)[1])[0]


def test_without_weights_the_untuned_ones_are_used(arpa, recogniser_run):
    system = store.load(recogniser_run)
    search = lm_fusion.decoder(system, arpa)
    assert search.config.override({"unknown_score": None}) == BeamConfig(**UNTUNED.model_dump())
    assert search.config.unknown_score == pytest.approx(new_word_score(search.lm, UNTUNED.lm_weight))
    assert search.scores_spelling
    changed = lm_fusion.decoder(system, arpa, changes={"lm_weight": 1.5, "beam_size": 7}).config
    assert (changed.lm_weight, changed.word_score, changed.beam_size) == (1.5, UNTUNED.word_score, 7)
    assert changed.unknown_score == pytest.approx(new_word_score(search.lm, 1.5))
    assert lm_fusion.decoder(system, None).config == BeamConfig()
    assert lm_fusion.decoder(system, arpa, known_words_only=True).only_known_words


def test_tuning_with_known_words_only(call, arpa, prepared_tones, recogniser_run):
    options = ["--data", prepared_tones, "--beam-size", 20, "--no-unknown-words"]
    code, out, _ = call("lm", "tune", recogniser_run, arpa, *options)
    assert code == 0
    assert 9 <= out.count("        -         -") <= 17  # every second value, and the neighbours of the best
    assert re.search(r"best: --lm-weight \S+ --word-score \S+ +WER", out)


def test_a_character_model_is_detected_and_allows_any_word(call, prepared_tones, recogniser_run):
    said = sorted({u.text for u in read_manifest(prepared_tones) if u.split == "train"})
    Path("said.txt").write_text("\n".join(said) + "\n")
    options = ["--order", 3, "--unit", "character", "--into", "characters.arpa", "--model", recogniser_run]
    assert call("lm", "build", "said.txt", *options)[0] == 0
    system = store.load(recogniser_run)
    search = lm_fusion.decoder(system, "characters.arpa", BeamConfig(lm_weight=0.3))
    assert search.lm_unit == "symbol"
    report = recognition.evaluate(system, data=prepared_tones, decoder=search)
    known = set(Path("said.txt").read_text().split())
    assert report.cer.rate < 0.4
    assert {word for one in report.utterances for word in one.hypothesis.split()} - known
    overweighted = lm_fusion.decoder(system, "characters.arpa", BeamConfig(lm_weight=30.0))
    assert recognition.evaluate(system, data=prepared_tones, decoder=overweighted).cer.rate > report.cer.rate


def test_transcribe_uses_a_language_model(call, arpa, recogniser_run, tone_corpus):
    sound = tone_corpus / "audio" / "anna" / "anna-000.wav"
    code, out, _ = call("transcribe", recogniser_run, sound, "--lm", arpa, "--times")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split("\t")[1].split() == [line.split("\t")[2] for line in lines[1:]]
    assert set(lines[0].split("\t")[1].split()) <= set(Path("said.txt").read_text().split())


def test_errors_name_the_cause(call, arpa, prepared_tones, encoder_run, recogniser_run):
    code, _, err = call("evaluate", encoder_run, "--data", prepared_tones, "--lm", arpa)
    assert code == 2
    assert "expected a recogniser" in err
    code, _, err = call("evaluate", recogniser_run, "--data", prepared_tones, "--lm", "nothing.arpa")
    assert code == 2
    assert "nothing.arpa" in err
    assert call("lm", "build", "--into", "x.arpa")[0] == 2
    code, _, err = call("lm", "build", "said.txt", "--into", "x.arpa", "--model", encoder_run)
    assert code == 2
    assert "not a recogniser" in err
