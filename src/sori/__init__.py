"""Self-supervised speech representations: from a folder of recordings to a recogniser."""

from sori.core import private_folders

private_folders.settle()  # before libraries look for folders, as they do when they are imported

from sori import recipes
from sori.checkpoints.convert import convert
from sori.checkpoints.resolve import list_models
from sori.checkpoints.store import load, save
from sori.core.audio import SAMPLE_RATE, read
from sori.data.preparation.prepare import prepare
from sori.evaluation.recognition import evaluate
from sori.experiments.multi_seed import compare_runs, train_seeds
from sori.inference.align import align
from sori.inference.embed import embed
from sori.inference.transcribe import transcribe
from sori.recipes.recipe import Recipe
from sori.runs.run import train

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
