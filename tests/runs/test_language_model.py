"""The language model that fine-tuning makes by itself."""

import json
import re
import shutil
from pathlib import Path

import pytest

from sori import recipes
from sori.checkpoints import store, stored_lm
from sori.data.manifest import read_manifest
from sori.evaluation import lm_tuning, recognition
from sori.inference import calibrate, lm_fusion, transcribe
from sori.lm.fusion import FusionConfig
from sori.recipes.recipe import Recipe
from sori.runs import run


def brief(**labels):
    """Return a recipe of three updates."""
    labels = {"lm": "word", **labels}
    changes = {"train.num_steps": 3, "train.log_every": 1, **{f"labels.{key}": one for key, one in labels.items()}}
    return recipes.by_name("ctc_smoke").override(changes)


@pytest.fixture(scope="module")
def said(prepared_tones, tmp_path_factory) -> Path:
    """A text with all transcripts: the words of the tones are random, so no other text has them."""
    path = tmp_path_factory.mktemp("texts") / "said.txt"
    path.write_text("\n".join(sorted({u.text.upper() for u in read_manifest(prepared_tones)})) + "\n")
    return path


@pytest.fixture(scope="module")
def finished(prepared_tones, said, tmp_path_factory) -> Path:
    """A trained recogniser whose language model knows all sentences."""
    folder = tmp_path_factory.mktemp("lm") / "r"
    run.train(
        recipes.by_name("ctc_smoke").override({"labels.texts": str(said), "labels.lm": "word"}),
        into=folder,
        data=prepared_tones,
    )
    return folder


@pytest.fixture
def model(finished, tmp_path) -> Path:
    return shutil.copytree(finished / "model", tmp_path / "model")


def test_a_language_model_that_helps_on_dev_is_used_by_default(finished, prepared_tones):
    settings = stored_lm.read(finished / "model").settings
    assert settings.used
    assert settings.sources.transcripts == 48
    assert settings.sources.texts == ("said.txt",)
    assert settings.sources.sentences == 48 + 64
    assert settings.tuning.wer < settings.tuning.wer_without
    assert settings.tuning.cer <= settings.tuning.cer_without
    system = store.load(finished)
    on_dev = recognition.evaluate(system, data=prepared_tones, split="dev")
    assert on_dev.wer.rate == pytest.approx(settings.tuning.wer)
    alone = recognition.evaluate(system, data=prepared_tones, split="dev", decoder=None)
    assert alone.wer.rate == pytest.approx(settings.tuning.wer_without)
    test = recognition.evaluate(finished, data=prepared_tones)
    assert test.wer.rate < recognition.evaluate(finished, data=prepared_tones, decoder=None).wer.rate


def test_the_dev_and_test_splits_are_not_in_it(prepared_tones, tmp_path, capsys):
    run.train(brief(), into=tmp_path / "r", data=prepared_tones)
    stored = stored_lm.read(tmp_path / "r" / "model")
    train = {word for u in read_manifest(prepared_tones) if u.split == "train" for word in u.text.split()}
    assert set(stored.ngrams().words) - {"<unk>", "<s>", "</s>"} == train
    assert "language model of 48 transcripts" in capsys.readouterr().err


def test_one_that_does_not_help_is_stored_as_not_used(prepared_tones, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lm_tuning, "WORD_SCORES", (-1000.0,))  # with these, no word is worth its cost
    run.train(brief(), into=tmp_path / "r", data=prepared_tones)
    settings = stored_lm.read(tmp_path / "r" / "model").settings
    assert not settings.used
    assert "language model stored but not used: no setting lowers the WER" in capsys.readouterr().err
    assert lm_fusion.stored(store.load(tmp_path / "r")) is None


def test_a_repeated_command_tunes_nothing(finished, prepared_tones, capsys):
    before = {path.name: path.read_bytes() for path in (finished / "model").iterdir()}
    capsys.readouterr()
    run.train(Recipe.from_yaml(finished / "recipe.yaml"), into=finished)
    logged = capsys.readouterr().err
    assert "tuning" not in logged
    assert "language model of" not in logged
    assert {path.name: path.read_bytes() for path in (finished / "model").iterdir()} == before


def test_without_dev_split_the_default_weights_are_used_and_said(prepared_tones, tmp_path, capsys):
    run.train(brief(dev_split="none-such"), into=tmp_path / "r", data=prepared_tones)
    settings = stored_lm.read(tmp_path / "r" / "model").settings
    assert settings.used
    assert settings.tuning is None
    assert "no transcribed utterances in a split named 'none-such'" in settings.reason
    assert "default weights, not checked on this speech" in capsys.readouterr().err


def test_a_split_that_is_trained_on_is_not_tuned_on(prepared_tones, tmp_path):
    recipe = brief().model_copy(update={"held_out": ("test",)})
    run.train(recipe, into=tmp_path / "r", data=prepared_tones)
    assert stored_lm.read(tmp_path / "r" / "model").settings.tuning is None


def test_it_can_be_turned_off(prepared_tones, tmp_path, said):
    run.train(brief(lm="none"), into=tmp_path / "r", data=prepared_tones)
    assert stored_lm.read(tmp_path / "r" / "model") is None
    assert not (tmp_path / "r" / "lm").exists()
    with pytest.raises(ValueError, match=r"got `--labels\.lm none`"):
        run.train(brief(lm="none", texts=str(said)), into=tmp_path / "x", data=prepared_tones)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfa\x00", b""])
def test_a_text_that_cannot_be_read_ends_the_command_before_training(prepared_tones, tmp_path, content):
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    texts = [str(tmp_path / "bad.txt")] * (2 if content == b"" else 1)  # an empty one is fine, the same twice is not
    with pytest.raises((ValueError, FileNotFoundError), match=r"bad\.txt"):
        run.train(brief(texts=texts), into=tmp_path / "r", data=prepared_tones)
    assert not (tmp_path / "r" / "metrics.jsonl").exists()
    assert not (tmp_path / "r" / "lm").exists()


def test_texts_are_normalised_as_the_transcripts(finished):
    words = set(stored_lm.read(finished / "model").ngrams().words)
    assert not {word for word in words if word != word.lower()}


def test_the_command_line_takes_texts(call, prepared_tones, said):
    options = ["--train.num-steps", 2, "--labels.texts", said, "--labels.lm", "word", "--labels.dev-minutes", 0.1]
    assert call("train", "ctc_smoke", "--data", prepared_tones, "--into", "r", *options)[0] == 0
    assert stored_lm.read(Path("r/model")).settings.sources.texts == ("said.txt",)
    assert Recipe.from_yaml(Path("r/recipe.yaml")).labels.texts == (str(said.resolve()),)
    code, out, _ = call("show", "r")
    assert code == 0
    assert "language model:" in out
    twice = ["--labels.texts", said, "--labels.texts", said]
    code, _, err = call("train", "ctc_smoke", "--data", prepared_tones, "--into", "x", *twice)
    assert code == 2
    assert "--labels.texts is given twice" in err


def rates(out):
    return [float(re.search(rf"{unit} +(\d+\.\d+)%", out)[1]) for unit in ("WER", "CER")]


def test_commands_use_it_say_so_and_can_do_without(call, model, prepared_tones, tone_corpus, said):
    words = ["evaluate", model, "--data", prepared_tones]
    code, out, err = call(*words)
    assert code == 0
    assert err.count("decoding with the language model of") == 1
    code, plain, err = call(*words, "--lm", "none")
    assert code == 0
    assert err == ""
    assert rates(out)[0] < rates(plain)[0]
    sound = tone_corpus / "audio" / "dora" / "dora-000.wav"
    system = store.load(model)
    default, alone = (transcribe.transcribe(system, sound, decoder=one).text for one in ("stored", None))
    assert transcribe.transcribe(system, sound).text == default
    assert call("transcribe", model, sound)[1].strip() == default
    assert call("transcribe", model, sound, "--lm", "none")[1].strip() == alone
    code, out, err = call("transcribe", model, sound, "--lm-weight", 0, "--word-score", 0, "--no-unknown-words")
    assert code == 0
    assert "weight 0," in err
    assert set(out.split()) <= set(said.read_text().lower().split())
    assert call("lm", "build", said, "--into", "x.arpa", "--model", model)[0] == 0
    code, _, err = call("transcribe", model, sound, "--lm", "x.arpa")
    assert (code, err) == (0, "")
    code, _, err = call("transcribe", model, sound, "--lm", "./none")
    assert code == 2
    assert "none" in err


def test_confidence_belongs_to_the_decoder(call, model, prepared_tones, tone_corpus):
    sound = tone_corpus / "audio" / "dora" / "dora-000.wav"
    stored = stored_lm.read(model)
    light = FusionConfig(lm_weight=0.0, unknown_score=0.0, spelling_weight=0.0)  # with it, not all words are right
    stored_lm.write_settings(stored.settings.model_copy(update={"fusion": light}), model)
    code, _, err = call("calibrate", model, "--data", prepared_tones)
    assert code == 0, err
    code, out, err = call("transcribe", model, sound, "--format", "json")
    assert code == 0
    assert "no confidence" not in err
    assert all("confidence" in word for word in json.loads(out)["words"])
    code, out, err = call("transcribe", model, sound, "--format", "json", "--lm", "none")
    assert code == 0
    assert "no confidence for these decoding options" in err
    system = store.load(model)
    (fit,) = calibrate.read(model / "confidence.json", system).fits
    assert fit.fitted_on["lm"] == "lm.arpa.gz"
    assert calibrate.choose(calibrate.read(model / "confidence.json", system), lm_fusion.stored(system)) == fit
    found = transcribe.transcribe(system, sound, confidence=fit)
    assert len(found.confidence) == len(found.words)
