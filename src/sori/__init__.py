"""Self-supervised speech representations: from a folder of recordings to a recogniser."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sori.core import private_folders

if TYPE_CHECKING:
    from sori import recipes
    from sori.checkpoints.convert import convert
    from sori.checkpoints.resolve import list_models
    from sori.checkpoints.store import load, save
    from sori.core.audio import SAMPLE_RATE, read
    from sori.data.preparation.prepare import prepare
    from sori.evaluation.recognition import evaluate
    from sori.experiments.multi_seed import compare_runs, train_seeds
    from sori.experiments.planning.plan import plan
    from sori.inference.align import align
    from sori.inference.embed import embed
    from sori.inference.selection import select
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
    "plan",
    "prepare",
    "read",
    "recipes",
    "save",
    "select",
    "train",
    "train_seeds",
    "transcribe",
]

_MODULES = {
    "SAMPLE_RATE": "core.audio",
    "Recipe": "recipes.recipe",
    "align": "inference.align",
    "compare_runs": "experiments.multi_seed",
    "convert": "checkpoints.convert",
    "embed": "inference.embed",
    "evaluate": "evaluation.recognition",
    "list_models": "checkpoints.resolve",
    "load": "checkpoints.store",
    "plan": "experiments.planning.plan",
    "prepare": "data.preparation.prepare",
    "read": "core.audio",
    "save": "checkpoints.store",
    "select": "inference.selection",
    "train": "runs.run",
    "train_seeds": "experiments.multi_seed",
    "transcribe": "inference.transcribe",
}
"""Module of each public name, imported at its first use, because torch and numba take seconds."""

private_folders.settle()  # before libraries look for folders, as they do when they are imported


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return import_module("sori.recipes")
    if name not in _MODULES:
        raise AttributeError(f"module 'sori' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"sori.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
