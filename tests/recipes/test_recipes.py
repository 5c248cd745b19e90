"""Built-in recipes, and how recipes are found by name."""

import numpy as np
import pytest

from sori import recipes
from sori.core.config import dotted_keys
from sori.data.batches.sampler import plan_crops
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.recipes.recipe import Recipe
from sori.text.vocabulary import Vocabulary
from sori.training.schedule import factor

NAMES = [recipe.__name__ for recipe in recipes.RECIPES]
PUBLISHED = [name for name in NAMES if name.endswith(("_base", "_large")) and name.startswith("ctc")]


@pytest.mark.parametrize("name", NAMES)
def test_yaml_round_trip_preserves_the_recipe(name, tmp_path):
    recipe = recipes.by_name(name)
    assert recipe.name == name
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml())
    assert recipes.by_name(str(tmp_path / "mine.yaml")) == recipe


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_smoke")])
def test_no_model_has_a_billion_layers(name):
    """Building it would fill the memory of the machine."""
    recipe = recipes.by_name(name)
    for key in dotted_keys(recipe.model_dump(mode="json")):
        if key.endswith(("num_layers", "upsample")):
            with pytest.raises(ValueError, match="less than or equal to 1000"):
                recipe.override({key: 10**9})


@pytest.mark.parametrize("recipe", recipes.RECIPES, ids=NAMES)
def test_the_docstring_has_a_summary_and_the_command(recipe):
    first, _, rest = (recipe.__doc__ or "").partition("\n")
    assert first.endswith((".", "."))
    assert len(first) < 130
    assert f"sori train {recipe.__name__} " in rest


def test_every_function_of_the_modules_is_listed():
    modules = (
        recipes.wav2vec2,
        recipes.wav2vec,
        recipes.vq_wav2vec,
        recipes.code_bert,
        recipes.cpc,
        recipes.simclr,
        recipes.ctc,
        recipes.speech2vec,
        recipes.word2vec,
        recipes.smoke,
        recipes.bert,
        recipes.classifier,
    )
    kinds = ("wav2vec", "vq_wav2vec_", "code_bert_", "cpc_", "simclr_", "ctc_", "speech2vec_", "bert_", "word2vec_")
    made = {name for module in modules for name in vars(module) if name.startswith(kinds)}
    assert made == set(NAMES)


@pytest.mark.parametrize(
    ("name", "seconds", "num_steps", "lr"),
    [
        ("wav2vec2_base", 64 * 1_400_000 / 16_000, 400_000, 5e-4),
        ("wav2vec2_large", 128 * 1_200_000 / 16_000, 250_000, 3e-4),
        ("wav2vec2_lv60k", 128 * 1_200_000 / 16_000, 600_000, 3e-4),
        ("ctc_10min_base", 1600, 12_000, 5e-5),
        ("ctc_1h_base", 1600, 13_000, 5e-5),
        ("ctc_10h_base", 1600, 20_000, 5e-5),
        ("ctc_100h_base", 1600, 50_000, 3e-5),
        ("ctc_960h_base", 1600, 320_000, 1e-4),
        ("ctc_10min_large", 1920, 12_000, 1e-4),
        ("ctc_1h_large", 1920, 13_000, 3e-4),
        ("ctc_10h_large", 1920, 20_000, 1e-4),
        ("ctc_100h_large", 1920, 50_000, 3e-5),
        ("ctc_960h_large", 1920, 320_000, 3e-5),
    ],
)
def test_published_batches_updates_and_rates(name, seconds, num_steps, lr):
    recipe = recipes.by_name(name)
    assert recipe.data.batch_seconds * recipe.train.num_accumulate == pytest.approx(seconds)
    assert recipe.train.num_steps == num_steps
    assert recipe.optim.lr == lr
    assert recipe.optim.betas == (0.9, 0.98)


@pytest.mark.parametrize(
    ("labels", "time_prob", "channel_prob"),
    [("10min", 0.75, 0.512), ("1h", 0.75, 0.256), ("10h", 0.65, 0.256), ("100h", 0.5, 0.512), ("960h", 0.5, 0.102)],
)
@pytest.mark.parametrize("size", ["base", "large"])
def test_published_masks(labels, time_prob, channel_prob, size):
    # paper, appendix B, table 6: probabilities of a span's start times the length of a span (10 frames, 64 channels)
    system = recipes.by_name(f"ctc_{labels}_{size}").system
    assert isinstance(system, CtcConfig)
    mask = system.mask
    assert (mask.time_prob, mask.time_length) == (time_prob, 10)
    assert (mask.channel_prob, mask.channel_length) == (channel_prob, 64)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_fine_tuning_rises_holds_and_falls(name):
    recipe = recipes.by_name(name)
    steps = recipe.train.num_steps
    rates = [factor(recipe.schedule, round(fraction * steps), steps) for fraction in (0, 0.1, 0.3, 0.499, 1)]
    assert rates == pytest.approx([0.01, 1, 1, 1, 0.05], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "num_steps", "num_ahead"),
    [("wav2vec_base", 40_000, 12), ("wav2vec_large", 400_000, 12), ("vq_wav2vec_base", 400_000, 8)],
)
def test_published_wav2vec(name, num_steps, num_ahead):
    recipe = recipes.by_name(name)
    assert recipe.data.max_crop_seconds * 16_000 == 150_000
    assert recipe.data.batch_seconds * 16_000 == 1_500_000
    assert recipe.train.num_steps == num_steps
    assert recipe.system.num_ahead == num_ahead
    assert recipe.system.exclusion == "faithful"
    steps = (0, 500, num_steps)
    rates = [recipe.optim.lr * factor(recipe.schedule, step, num_steps) for step in steps]
    assert rates == pytest.approx([1e-7, 5e-3, 1e-6], rel=1e-9)
    assert (recipe.optim.betas, recipe.optim.weight_decay) == ((0.9, 0.999), 0.0)


def test_published_warm_up():
    base, lv60k = recipes.by_name("wav2vec2_base"), recipes.by_name("wav2vec2_lv60k")
    for recipe, steps in ((base, 32_000), (lv60k, 32_000)):
        num_steps = recipe.train.num_steps
        assert factor(recipe.schedule, steps, num_steps) == pytest.approx(1)
        assert factor(recipe.schedule, steps - 100, num_steps) < 1
        assert factor(recipe.schedule, num_steps, num_steps) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["cpc_paper", "cpc_modified"])
def test_published_windows_of_cpc(name):
    recipe = recipes.by_name(name)
    plan = plan_crops(np.full(100, 10 * 16_000), recipe.data, seed=0)
    rows, num_samples = plan.batch(0)
    assert (len(rows), num_samples) == (8, 20_480)
    assert recipe.train.num_accumulate == 8
    assert (recipe.optim.lr, recipe.optim.betas, recipe.optim.eps) == (2e-4, (0.9, 0.999), 1e-8)
    assert {factor(recipe.schedule, step, recipe.train.num_steps) for step in (0, 7, recipe.train.num_steps)} == {1.0}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ctc_")])
def test_recognisers_from_scratch_or_with_an_hour_use_muon_and_published_ones_adamw(name):
    recipe = recipes.by_name(name)
    much = recipe.labels.minutes is None or recipe.labels.minutes >= 60
    is_published = name.endswith(("_base", "_large", "_xlsr_laptop", "_smoke"))
    uses_muon = name.endswith("_scratch") or (much and not is_published)
    assert recipe.optim.kind == ("muon" if uses_muon else "adamw")
    if uses_muon:
        assert recipe.system.encoder_lr_factor == 1


def test_smoke_recipes_can_be_built():
    encoder, recogniser = recipes.by_name("wav2vec2_smoke"), recipes.by_name("ctc_smoke")
    vocabulary = Vocabulary.fit(["abc"])
    assert factory.build(encoder.system).config == encoder.system
    built = factory.build(recogniser.system, encoder=recogniser.encoder, vocabulary=vocabulary)
    assert factory.encoder_of(built).config == recogniser.encoder
    assert built.num_classes == len(vocabulary)


def test_an_unknown_name_is_refused_listing_similar_ones():
    with pytest.raises(ValueError, match="did you mean wav2vec2_tiny"):
        recipes.by_name("wav2vec2_tinny")
    with pytest.raises(ValueError, match=r"known: wav2vec2_tiny, .*ctc_smoke"):
        recipes.by_name("zzz")


def test_a_function_in_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from sori.recipes.smoke import ctc_smoke\n"
        "def longer():\n    return ctc_smoke().override({'train.num_steps': 999})\n"
        "def wrong():\n    return 3\n"
    )
    assert recipes.by_name(f"{path}:longer").train.num_steps == 999
    for name in ("wrong", "absent"):
        with pytest.raises(ValueError, match=f"no function '{name}'"):
            recipes.by_name(f"{path}:{name}")
    with pytest.raises(FileNotFoundError, match=r"nowhere.py"):
        recipes.by_name("nowhere.py:recipe")
    with pytest.raises(FileNotFoundError, match=r"sori show NAME > nowhere.yaml"):
        recipes.by_name("nowhere.yaml")


def test_misspelt_settings_are_refused_listing_similar_ones(tmp_path):
    recipe = recipes.by_name("ctc_smoke")
    with pytest.raises(ValueError, match=r"did you mean train.num_steps"):
        recipe.override({"train.num_step": 3})
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml().replace("batch_seconds", "batch_secs"))
    with pytest.raises(ValueError, match=r"mine.yaml.*\n.*data.batch_secs: unknown key"):
        Recipe.from_yaml(tmp_path / "mine.yaml")


def test_overrides_keep_the_kind_of_system():
    recipe = recipes.by_name("wav2vec2_smoke").override({"system.dropout": "0.2", "optim.lr": "3e-4"})
    assert recipe.system.kind == "wav2vec2"
    assert recipe.optim.lr == 3e-4


def test_settings_of_another_kind_of_data_are_refused_and_the_empty_ones_of_version_0_1_are_not():
    data = recipes.by_name("bert_smoke").model_dump(mode="json")
    sound = recipes.by_name("wav2vec2_smoke")
    defaults = type(sound.data)().model_dump(mode="json")
    old = {**data, "encoder": None, "encoder_changes": {}, "labels": None, "segments": None, "data": defaults}
    assert Recipe.from_data(old, origin="old") == recipes.by_name("bert_smoke")
    with pytest.raises(ValueError, match="data: unknown key"):
        Recipe.from_data({**data, "data": {**defaults, "batch_seconds": 3.0}}, origin="mine.yaml")
    with pytest.raises(ValueError, match="labels: unknown key"):
        Recipe.from_data({**sound.model_dump(mode="json"), "labels": {"minutes": 10}}, origin="mine.yaml")
