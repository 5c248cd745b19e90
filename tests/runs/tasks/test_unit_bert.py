"""The initial model of BERT over units."""

import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.models import factory
from sori.runs import run


@pytest.fixture
def units(tmp_path):
    """Save a vq-wav2vec with other settings than those in the recipe."""
    config = recipes.by_name("vq_wav2vec_smoke").system.model_copy(update={"num_codes": 6})
    store.save(factory.build(config).eval(), tmp_path / "units")
    return tmp_path / "units"


def test_the_units_are_those_of_the_initial_model_and_the_vocabulary_is_counted(
    units, prepared_tones, tmp_path, capsys
):
    recipe = recipes.by_name("code_bert_smoke").override({"train.num_steps": 2, "system.num_tokens": 7})
    run.train(recipe, into=tmp_path / "run", data=prepared_tones, init=units)
    start, found = store.load(units), store.load(tmp_path / "run")
    assert found.config.units == start.config
    waveform = 0.1 * torch.randn(1, 20_000)
    assert torch.equal(
        found.units(waveform, torch.tensor([20_000])).data, start.units(waveform, torch.tensor([20_000])).data
    )
    assert "of 36 possible units occur; the vocabulary is the 7 most frequent ones" in capsys.readouterr().err
    known = found.token_of[found.token_of > 0]
    assert sorted(known.tolist()) == list(range(1, len(known) + 1))
    assert len(known) <= 7


def test_a_missing_initial_model_is_refused(prepared_tones, tmp_path):
    recipe = recipes.by_name("code_bert_smoke")
    with pytest.raises(ValueError, match=r"got none: train one first .*vq_wav2vec_tiny"):
        run.train(recipe, into=tmp_path / "run", data=prepared_tones)


def test_models_without_units_are_refused(encoder_run, recogniser_run, prepared_tones, tmp_path):
    recipe = recipes.by_name("code_bert_smoke")
    for folder, kind in ((encoder_run, "wav2vec2"), (recogniser_run, "ctc")):
        with pytest.raises(ValueError, match=f"expected a vq_wav2vec, .* a {kind};"):
            run.train(recipe, into=tmp_path / "run", data=prepared_tones, init=folder)


def test_other_recipes_get_no_units(tmp_path):
    recipe = recipes.by_name("cpc_smoke")
    assert run.complete(recipe, tmp_path, None).system == recipe.system
