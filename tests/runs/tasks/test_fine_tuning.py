"""Vocabularies of recognisers: the case of the language, and the rules of a run that is continued."""

import json
import shutil

import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.run_folder import RunFolder
from sori.data.labels import choose_casing
from sori.data.manifest import Utterance, read_manifest
from sori.data.preparation.prepare import prepare
from sori.models.ctc import CtcConfig
from sori.nn.mask import MaskConfig
from sori.recipes import sizes
from sori.runs import run
from sori.runs.tasks import fine_tuning
from sori.runs.tasks.fine_tuning import recognition
from sori.text.vocabulary import Vocabulary


def said(text, language):
    return Utterance(text, "a.wav", 0.0, 16_000, text=text, speaker=None, language=language, split=None)


def test_the_case_is_that_of_the_language(caplog):
    turkish, english = said("IŞIK", "tur"), said("LIGHT", "eng")
    assert choose_casing([turkish, turkish], "language") == "turkic"
    assert choose_casing([english], "language") == "root"
    assert choose_casing([english], "turkic") == "turkic"
    assert not caplog.records
    assert choose_casing([turkish, english], "language") == "root"
    assert "1 of 2 transcripts are in Turkish" in caplog.text
    caplog.clear()
    assert choose_casing([said("İki", None)], "language") == "root"
    assert "--labels.casing turkic" in caplog.text


@pytest.fixture
def labelled(tone_corpus, tmp_path):
    """Return a function that prepares two recordings with some transcripts."""

    def prepared(*texts):
        folder = tmp_path / "in"
        folder.mkdir()
        for number, text in enumerate(texts):
            shutil.copy(sorted((tone_corpus / "audio" / "anna").glob("*.wav"))[number], folder / f"{number}.wav")
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        prepare(folder, tmp_path / "prepared")
        return tmp_path / "prepared"

    return prepared


def test_nothing_learnable_is_said(labelled, tmp_path):
    data = labelled("word " * 300, "word " * 300)
    recipe = recipes.by_name("ctc_smoke").override({"corpora": [str(data)]})
    with pytest.raises(ValueError, match=r"2 transcribed ones, none of which can be used.*too short for its"):
        run.train(recipe, into=tmp_path / "run")


def test_a_run_that_is_continued_keeps_its_rules(labelled, tmp_path):
    data = labelled("\u1005\u102c", "\u1000\u102c")
    recipe = recipes.by_name("ctc_smoke").override({"corpora": [str(data)]})
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    new = recognition(recipe, read_manifest(data), folder).system.vocabulary
    assert (new.normalisation, new.symbols[2:]) == (2, ("\u1000", "\u1005", "\u102c"))
    stored = json.loads(folder.vocabulary.read_text(encoding="utf-8"))
    del stored["normalisation"], stored["casing"]  # as the first versions of sori wrote it
    folder.vocabulary.write_text(json.dumps(stored), encoding="utf-8")
    old = recognition(recipe, read_manifest(data), folder).system.vocabulary
    assert (old.normalisation, old.symbols[2:]) == (1, ("\u1000", "\u1005"))
    assert Vocabulary.load(folder.vocabulary) == old


@pytest.mark.parametrize(
    ("size", "unused"),
    [("tiny", []), ("smoke", ["mask.band_prob"]), ("base", ["mask.warp", "mask.band_prob"])],
)
def test_changes_of_the_mel_axis_that_an_encoder_cannot_apply_are_named(size, unused):
    mask = MaskConfig(warp=0.1, band_prob=0.2)
    encoder = getattr(sizes, size)()
    assert fine_tuning._unused_changes(CtcConfig(mask=mask), encoder) == unused
    assert fine_tuning._unused_changes(CtcConfig(), encoder) == []
    frozen = CtcConfig(mask=mask, frozen_blocks=1)
    assert fine_tuning._unused_changes(frozen, encoder) == ["mask.warp", "mask.band_prob"]


def unlearnt(recipe, init, data, into):
    """Return a recogniser that starts from another one and is trained at a rate of 0."""
    brief = {"train.num_steps": 1, "optim.lr": 0.0, "labels.lm": "none"}
    run.train(recipe.override(brief), into=into, data=data, init=init)
    return store.load(into)


def test_a_recogniser_of_the_same_alphabet_goes_on_where_it_was(prepared_tones, tmp_path, capsys):
    smoke = recipes.by_name("ctc_smoke").override({"train.num_steps": 3, "labels.lm": "none"})
    run.train(smoke, into=tmp_path / "first", data=prepared_tones)
    first = store.load(tmp_path / "first")
    second = unlearnt(smoke, tmp_path / "first", prepared_tones, tmp_path / "second")
    assert f"{first.num_classes} of {first.num_classes} symbols are known" in capsys.readouterr().err
    sound, lengths = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)), torch.tensor([16_000])
    with torch.no_grad():
        assert torch.equal(first.logits(sound, lengths).data, second.logits(sound, lengths).data)


def test_a_recogniser_of_another_alphabet_gives_its_encoder_and_the_letters_in_common(
    prepared_tones, labelled, tmp_path
):
    smoke = recipes.by_name("ctc_smoke").override({"train.num_steps": 3, "labels.lm": "none"})
    run.train(smoke, into=tmp_path / "first", data=prepared_tones)
    first = store.load(tmp_path / "first")
    second = unlearnt(smoke, tmp_path / "first", labelled("za zo", "zu za"), tmp_path / "second")
    assert second.vocabulary.symbols == ("<blank>", "|", "a", "o", "u", "z")
    for symbol in ("<blank>", "|", "a"):
        old, new = (one.vocabulary.symbols.index(symbol) for one in (first, second))
        assert torch.equal(first.head.weight[old], second.head.weight[new])
        assert first.head.bias[old] == second.head.bias[new]
    assert "z" not in first.vocabulary.symbols


@pytest.mark.parametrize(
    ("recipe", "size", "is_warned"),
    [
        ("ctc_10min", sizes.base(), True),
        ("ctc_1h", sizes.xlsr_300m(), True),
        ("ctc_10min", sizes.small(), False),
        ("ctc_10min_base", sizes.base(), False),
        ("ctc_10min_xlsr_laptop", sizes.xlsr_300m(), False),
    ],
)
def test_a_rate_that_is_too_high_for_a_public_model_is_warned_of(recipe, size, is_warned, caplog):
    fine_tuning._warn_of_rate(recipes.by_name(recipe).override({"init": "hf://public"}), size)
    assert ("it probably forgets" in caplog.text) == is_warned
