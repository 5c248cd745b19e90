"""sori: self-supervised speech representations, from a folder of recordings to a recogniser."""

from sori import folders

folders.settle_matplotlib()  # it looks for a folder when it is imported

from sori import recipes
from sori.audio import SAMPLE_RATE, read
from sori.data.prepare import prepare
from sori.exchange import convert
from sori.hub import list_models, load, save
from sori.infer import align, embed, transcribe
from sori.recipes.recipe import Recipe
from sori.repeat import compare_runs, train_seeds
from sori.run import evaluate, train

__version__ = "0.1.0"

__all__ = [
    "SAMPLE_RATE",
    "Recipe",
    "__version__",
    "align",
    "compare_runs",
    "convert",
    "embed",
    "evaluate",
    "list_models",
    "load",
    "prepare",
    "read",
    "recipes",
    "save",
    "train",
    "train_seeds",
    "transcribe",
]
