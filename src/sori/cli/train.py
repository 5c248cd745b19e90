"""Verbs on the way to a model: recordings in, recipe in, run out."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sori import recipes
from sori.checkpoints import resolve, store
from sori.data.preparation.prepare import prepare as prepare_folder
from sori.experiments import multi_seed
from sori.experiments.demo import demo as demonstrate
from sori.recipes.recipe import Recipe
from sori.recipes.word2vec import WordRecipe
from sori.runs import run


def prepare(
    source: str,
    *more: str,
    language: str | None = None,
    min_seconds: float = 0.025,
    max_seconds: float = 30.0,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> None:
    """Look into recordings and list those that can be used; the recordings are only read.

    Args:
        source: A folder of recordings, a table (.tsv, .csv, .jsonl), or CORPUS:FOLDER with a corpus that Lhotse knows.
        more: Further sources, and last the folder to write: the list, `report.md`, and `excluded.jsonl` with the reason
            for each file left out.
        language: Of recordings whose source does not say, such as `eng`.
        min_seconds: Shorter recordings are left out.
        max_seconds: Longer ones are cut at silences.
        num_workers: Processes that decode; by default one for each core.
        overwrite: Replace the lists of an already prepared folder.
    """
    if not more:
        raise ValueError(f"expected where to write as well: sori prepare {source} OUT")
    print(
        prepare_folder(
            [source, *more[:-1]],
            more[-1],
            language=language,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            num_workers=num_workers,
            overwrite=overwrite,
        )
    )


def train(
    recipe: str,
    *changes: Annotated[str, Parameter(allow_leading_hyphen=True)],
    into: Path,
    data: list[Path] | None = None,
    init: str | None = None,
    seeds: int | None = None,
) -> None:
    """Pre-train or fine-tune; the same command again continues an interrupted run.

    Args:
        recipe: Built-in name (`sori list`), YAML file (`sori show NAME > mine.yaml`), or file.py:function.
        changes: Any setting that `sori show RECIPE` lists, such as `--train.num-steps 100` or `--optim.lr 3e-4`.
        into: Run folder; the finished model is its subfolder `model`.
        data: Prepared folder, of Word2Vec a text or a folder of texts; may be given several times.
        init: Model to start from: folder, run folder or name.
        seeds: Train a recogniser so many times (at least 2) with the seeds `train.seed`, `train.seed + 1`, ... on the
            same transcripts, each in its folder `seed_N`, and make the best on the split `dev` the model; shows how far
            the seed alone moves the result. More seeds with the same command later adds the missing ones.
    """
    settings = recipes.by_name(recipe).override(_changes(changes))
    if seeds is None or isinstance(settings, WordRecipe):
        if seeds is not None:
            raise ValueError(f"--seeds compares recognisers; {settings.name} learns vectors of words: leave it out")
        run.train(settings, into=into, data=data, init=init)
        return
    scores = multi_seed.train_seeds(settings, seeds=seeds, into=into, data=data, init=init)
    if scores is not None:
        print(scores.table())


def list_() -> None:
    """Recipes, and the models in ./runs."""
    print("Recipes (sori show NAME, sori train NAME ...)")
    for recipe in recipes.RECIPES:
        print(f"  {recipe.__name__:20} {(recipe.__doc__ or '').splitlines()[0]}")
    print("\nModels in runs/ (sori show NAME)")
    for name in resolve.list_models() or ["(none yet)"]:
        print(f"  {name}")


def show(name: str) -> None:
    """A recipe as YAML, to be changed and trained from, or a model's card.

    Args:
        name: A recipe or a model, as `sori train` and `sori transcribe` take them.
    """
    try:
        recipe = recipes.by_name(name)
    except ValueError as unknown_recipe:
        try:
            print(store.describe(name), end="")
        except FileNotFoundError as unknown_model:
            raise ValueError(f"{unknown_recipe}\n{unknown_model}") from None
    else:
        print(recipe.to_yaml(), end="")


def demo(
    *, into: Path = Path("sori-demo"), data: Path | None = None, minutes: float = 10.0, smoke: bool = False
) -> None:
    """Show what pre-training is worth: two recognisers, one report as a web page; repeated, it continues.

    Args:
        into: Folder for everything that is made.
        data: A folder or table of your recordings, some of them transcribed; without it, synthetic voices.
        minutes: Transcribed speech to learn from, of your own recordings.
        smoke: Toy models on a toy corpus, to see in seconds whether everything runs.
    """
    demonstrate(into, data=data, minutes=minutes, smoke=smoke)


def _changes(tokens: Sequence[str]) -> dict[str, str]:
    """`--optim.lr 3e-4` and `--optim.lr=3e-4`, dashes in names as underscores."""
    changes: dict[str, str] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        name, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not name:
            raise ValueError(f"unexpected {token!r}; settings are given as --optim.lr 3e-4")
        key = name.replace("-", "_")
        # `--seed` is nearer to train.seed, which the recipe will say.
        options = ["into", "data", "init", "debug"] + ["seeds"] * (key != "seed")
        if key not in Recipe.model_fields | WordRecipe.model_fields and (
            near := difflib.get_close_matches(key, options, n=1)
        ):
            raise ValueError(f"unknown option --{name}; did you mean --{near[0]}?")
        if not equals and not rest:
            raise ValueError(f"--{name} needs a value")
        changes[key] = value if equals else rest.pop(0)
    return changes
