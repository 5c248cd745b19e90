import pytest

from sori.checkpoints import store
from sori.core import audio
from sori.data.manifest import read_manifest, write_manifest
from sori.evaluation import recognition
from sori.experiments import low_resource


def test_the_recipe_is_the_same_for_every_encoder():
    recipe = low_resource.recipe()
    assert (recipe.labels.minutes, recipe.encoder, recipe.encoder_changes) == (10.0, None, {})
    assert (recipe.system.read, recipe.system.encoder_lr_factor) == ("mix", 0.1)
    assert recipe.system.first_blank == 0.5
    assert low_resource.recipe(toy=True, seed=3).train.seed == 3


def test_the_error_rate_is_that_of_the_recogniser(encoder_run, prepared_tones, tmp_path):
    few = low_resource.recipe(toy=True).override({"train.num_steps": 3})
    assert low_resource.train(encoder_run, [prepared_tones], into=tmp_path / "r", settings=few)
    found = low_resource.errors(tmp_path / "r", [prepared_tones])
    report = recognition.evaluate(tmp_path / "r", data=prepared_tones, split="test", decoder=None)
    assert found.value == report.cer.rate
    assert found.low <= found.value <= found.high
    assert store.read(tmp_path / "r").provenance["recipe"]["init"] == str(encoder_run / "model")


def test_labels_without_a_test_split_are_refused_before_training(encoder_run, prepared_tones, tmp_path):
    kept = [one for one in read_manifest(prepared_tones) if one.split != "test"]
    (tmp_path / "p").mkdir()
    write_manifest(tmp_path / "p", ((one, audio.info(one.path)) for one in kept))
    with pytest.raises(ValueError, match="of a split 'test' to measure error rates on"):
        low_resource.train(encoder_run, [tmp_path / "p"], into=tmp_path / "r", settings=low_resource.recipe(toy=True))
    assert not (tmp_path / "r").exists()
