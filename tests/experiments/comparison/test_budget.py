"""Training budgets of the systems."""

import re
from typing import get_args

import numpy as np
import pytest

from sori import recipes
from sori.core.config import dotted_keys
from sori.data.batches.loader import CropBatches
from sori.data.utterances import training_utterances
from sori.experiments.comparison.budget import SYSTEMS, LabConfig, pretraining, seconds_an_update, with_num_steps
from sori.models.encoders import EncoderConfig, build
from sori.runs import run

TINY = {name: recipes.by_name(f"{name}_tiny") for name in SYSTEMS}


def test_every_encoder_is_compared():
    kinds = {one.model_fields["kind"].default for one in get_args(get_args(EncoderConfig)[0])}
    assert kinds - {"code_bert"} == set(SYSTEMS), "code_bert needs a trained vq-wav2vec"
    assert {TINY[name].system.kind for name in SYSTEMS} == set(SYSTEMS)


def test_all_process_the_same_hours_of_the_same_utterances(prepared_tones):
    found = pretraining(LabConfig(size="smoke", hours_heard=0.1), [prepared_tones])
    assert list(found) == list(SYSTEMS)
    left_out = set()
    for recipe in found.values():
        utterances = training_utterances(recipe.corpora, recipe.held_out)
        batches = CropBatches(utterances, recipe.data, seed=0)
        seconds = [batches[index].seconds for index in range(recipe.train.num_steps)]
        assert abs(sum(seconds) - 360) < max(seconds)
        left_out.add(batches.num_left_out)
    assert len(left_out) == 1
    own = {recipes.by_name(f"{name}_smoke").data.min_seconds for name in SYSTEMS}
    assert len(own) > 1  # without a common minimum, they would differ
    assert {recipe.data.min_seconds for recipe in found.values()} == {max(own)}


def test_audio_per_update_is_the_mean_over_the_batches_of_an_epoch(prepared_tones):
    recipe = run.complete(recipes.by_name("wav2vec_smoke"), prepared_tones, None)
    recipe = recipe.override({"data.num_buckets": 3, "data.batch_seconds": 7, "train.num_accumulate": 2})
    utterances = training_utterances(recipe.corpora, recipe.held_out)
    batches = CropBatches(utterances, recipe.data, seed=0)
    seconds = [batches[index].seconds for index in range(batches.num_batches)]
    assert len(set(seconds)) > 1
    assert seconds_an_update(recipe, utterances) == pytest.approx(2 * np.mean(seconds), rel=1e-6)


def test_without_a_budget_all_process_the_hours_of_the_longest_recipe(prepared_tones):
    smoke = [recipes.by_name(f"{name}_smoke") for name in SYSTEMS]
    most = max(one.train.num_steps * one.train.num_accumulate * one.data.batch_seconds for one in smoke)
    found = pretraining(LabConfig(size="smoke", systems=("wav2vec",)), [prepared_tones])["wav2vec"]
    a_step = seconds_an_update(found, training_utterances(found.corpora, found.held_out))
    assert found.train.num_steps == round(most / a_step)


def test_updates_instead_of_hours(prepared_tones):
    found = pretraining(LabConfig(size="smoke", updates=7), [prepared_tones])
    assert {recipe.train.num_steps for recipe in found.values()} == {7}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("num_steps", [40, 1000, 50_000])
def test_temperatures_fall_over_the_same_fraction_of_the_run(name, num_steps):
    recipe = TINY[name]
    changed = with_num_steps(recipe, num_steps)
    assert changed.train.num_steps == num_steps
    unlike = {key for key in dotted_keys(recipe.model_dump()) if _at(recipe, key) != _at(changed, key)}
    assert unlike <= {"train.num_steps", "train.log_every", "system.gumbel_decay", "system.gumbel_updates"}
    before, after = build(recipe.system), build(changed.system)
    if not hasattr(before, "gumbel_temperature"):
        assert not {key for key in unlike if key.startswith("system")}
        return
    for fraction in (0.0, 0.1, 0.5, 0.75, 1.0):
        there = before.gumbel_temperature(round(fraction * recipe.train.num_steps))
        here = after.gumbel_temperature(round(fraction * num_steps))
        assert here == pytest.approx(there, rel=1e-3)
    assert before.gumbel_temperature(0) > 2 * after.gumbel_temperature(num_steps)


def test_all_settings_counted_in_updates_are_scaled():
    """Scale a new setting of this kind in `with_num_steps`, or list it here as one that counts something else."""
    counting = re.compile("update|decay|step|warm|anneal|ramp|period")
    found = {
        (name, key) for name in SYSTEMS for key in dotted_keys(TINY[name].system.model_dump()) if counting.search(key)
    }
    assert found == {("wav2vec2", "gumbel_decay"), ("vq_wav2vec", "gumbel_updates"), ("cpc", "num_steps")}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"systems": ("cpc", "hubert")}, "there is no system 'hubert'"),
        ({"systems": ()}, "each once"),
        ({"systems": ("cpc", "cpc")}, "each once"),
        ({"hours_heard": 1.0, "updates": 5}, "not both"),
        ({"tasks": ("abx",)}, "phone or speaker"),
    ],
)
def test_invalid_configurations_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        LabConfig.from_data(choice, origin="this")


def _at(recipe, key):
    data = recipe.model_dump()
    for part in key.split("."):
        data = data[part]
    return data
