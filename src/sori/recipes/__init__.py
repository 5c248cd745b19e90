"""Built-in recipes: functions that return the complete settings of a run."""

import difflib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import yaml

from sori.core.config import load_yaml
from sori.core.user_files import read_text
from sori.recipes import (
    bert,
    classifier,
    code_bert,
    cpc,
    ctc,
    simclr,
    smoke,
    speech2vec,
    vq_wav2vec,
    wav2vec,
    wav2vec2,
    word2vec,
)
from sori.recipes.recipe import Recipe, RecogniserRecipe, SpeechRecipe
from sori.recipes.word2vec import WordRecipe

AnyRecipe = Recipe | WordRecipe

RECIPES: tuple[Callable[[], AnyRecipe], ...] = (
    wav2vec2.wav2vec2_tiny,
    wav2vec2.wav2vec2_small,
    wav2vec2.wav2vec2_base,
    wav2vec2.wav2vec2_large,
    wav2vec2.wav2vec2_lv60k,
    wav2vec2.wav2vec2_xlsr_tiny,
    wav2vec2.wav2vec2_xlsr_base,
    wav2vec2.wav2vec2_xlsr_large,
    wav2vec2.wav2vec2_xlsr_300m,
    wav2vec2.wav2vec2_xlsr_1b,
    wav2vec2.wav2vec2_xlsr_2b,
    cpc.cpc_tiny,
    cpc.cpc_paper,
    cpc.cpc_modified,
    simclr.simclr_images_tiny,
    simclr.simclr_images_cifar,
    simclr.simclr_tiny,
    wav2vec.wav2vec_tiny,
    wav2vec.wav2vec_base,
    wav2vec.wav2vec_large,
    vq_wav2vec.vq_wav2vec_tiny,
    vq_wav2vec.vq_wav2vec_base,
    vq_wav2vec.vq_wav2vec_kmeans,
    code_bert.code_bert_tiny,
    code_bert.code_bert_small,
    code_bert.code_bert_base,
    ctc.ctc_10min,
    ctc.ctc_10min_scratch,
    ctc.ctc_10min_xlsr_laptop,
    ctc.ctc_1h,
    ctc.ctc_1h_scratch,
    ctc.ctc_10h,
    ctc.ctc_10h_scratch,
    ctc.ctc_100h,
    ctc.ctc_960h,
    ctc.ctc_10min_base,
    ctc.ctc_1h_base,
    ctc.ctc_10h_base,
    ctc.ctc_100h_base,
    ctc.ctc_960h_base,
    ctc.ctc_10min_large,
    ctc.ctc_1h_large,
    ctc.ctc_10h_large,
    ctc.ctc_100h_large,
    ctc.ctc_960h_large,
    speech2vec.speech2vec_skipgram,
    speech2vec.speech2vec_cbow,
    speech2vec.speech2vec_librispeech,
    bert.bert_tiny,
    bert.bert_mini,
    bert.bert_small,
    bert.bert_medium,
    bert.bert_base,
    bert.bert_base_long,
    bert.bert_large,
    classifier.bert_classify,
    classifier.bert_tag,
    word2vec.word2vec_skipgram,
    word2vec.word2vec_cbow,
    word2vec.word2vec_text8,
    word2vec.word2vec_smoke,
    smoke.wav2vec2_smoke,
    smoke.cpc_smoke,
    smoke.simclr_smoke,
    smoke.wav2vec_smoke,
    smoke.vq_wav2vec_smoke,
    smoke.code_bert_smoke,
    smoke.ctc_smoke,
    smoke.speech2vec_smoke,
    smoke.bert_smoke,
)
"""Every built-in recipe, in the order of `sori list`."""


def speech(name: str) -> SpeechRecipe:
    """Return a built-in recipe that pre-trains on speech.

    Raises:
        ValueError: The recipe is of another kind.
    """
    recipe = by_name(name)
    if not isinstance(recipe, SpeechRecipe):
        raise ValueError(f"expected a recipe that pre-trains on speech, got {name}")  # noqa: TRY004 - for users
    return recipe


def recogniser(name: str) -> RecogniserRecipe:
    """Return a built-in recipe that trains a recogniser.

    Raises:
        ValueError: The recipe is of another kind.
    """
    recipe = by_name(name)
    if not isinstance(recipe, RecogniserRecipe):
        raise ValueError(f"expected a recipe that trains a recogniser, got {name}")  # noqa: TRY004 - for users
    return recipe


def by_name(name: str) -> AnyRecipe:
    """Return a recipe by built-in name, YAML file (`mine.yaml`), or function in a Python file (`mine.py:recipe`).

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The name is unknown (the message lists similar ones), or the file holds no recipe.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise FileNotFoundError(f"{name}: no such recipe file; `sori show NAME > {name}` writes one to change")
        return _from_yaml(Path(name))
    if ".py:" in name:
        return _from_file(*name.rsplit(":", 1))
    for recipe in RECIPES:
        if recipe.__name__ == name:
            return recipe()
    names = [recipe.__name__ for recipe in RECIPES]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}."
    raise ValueError(f"no recipe called {name!r}; {hint} Give a recipe file as mine.yaml or mine.py:function")


def _from_yaml(path: Path) -> AnyRecipe:
    try:
        data = load_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from None
    system = data.get("system") if isinstance(data, dict) else None
    is_word2vec = isinstance(system, dict) and system.get("kind") == "word2vec"
    return WordRecipe.from_yaml(path) if is_word2vec else Recipe.from_yaml(path)


def _from_file(path: str, function: str) -> AnyRecipe:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected it to define the recipe {function!r}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, function, None)
    recipe = made() if callable(made) else None
    if not isinstance(recipe, Recipe | WordRecipe):
        raise ValueError(f"{path} defines no function {function!r} that returns a sori.Recipe")  # noqa: TRY004 - for users
    return recipe
