"""Training budget of each system: its own recipe, with the number of updates set for the same hours of audio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sori import recipes
from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config
from sori.data.batches.sampler import plan_crops
from sori.data.manifest import Utterance
from sori.data.utterance_columns import num_samples_of
from sori.data.utterances import training_utterances
from sori.evaluation.data_split import SplitBy
from sori.evaluation.probe_tasks import Task
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.recipes.recipe import SpeechRecipe
from sori.runs import run

SYSTEMS = ("cpc", "wav2vec", "vq_wav2vec", "simclr", "wav2vec2")
"""In the order of their papers; each has the recipes NAME_tiny and NAME_smoke."""

Size = Literal["smoke", "full"]


class LabConfig(Config):
    """Systems, training budget and probe tasks of the comparison."""

    size: Size = "full"
    """`full`: the recipes NAME_tiny; `smoke`: toy recipes, to test whether everything runs."""
    systems: tuple[str, ...] = SYSTEMS
    hours_heard: float | None = Field(default=None, gt=0)
    """Hours of audio processed in training each system, counting repetitions; None: those of the recipe with most."""
    updates: int | None = Field(default=None, ge=1)
    """Number of updates of each system, instead of hours; batches differ in length."""
    tasks: tuple[Task, ...] = ("phone", "speaker", "abx")
    split_by: SplitBy = "speaker"
    minutes: float | None = Field(default=None, gt=0)
    """Maximum amount of probe data; None: all, or ten minutes with size `smoke`."""
    seed: int = 0
    """Random seed of training and probing."""

    @model_validator(mode="after")
    def _check(self) -> "LabConfig":
        if unknown := [name for name in self.systems if name not in SYSTEMS]:
            raise ValueError(f"there is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
        if not self.systems or len(set(self.systems)) < len(self.systems):
            raise ValueError(f"expected one or more systems, each once, got {', '.join(self.systems) or 'none'}")
        if self.hours_heard is not None and self.updates is not None:
            raise ValueError("give hours_heard or updates, not both: each determines the other")
        if not {"phone", "speaker"} & set(self.tasks):
            raise ValueError(
                f"tasks need phone or speaker, got {', '.join(self.tasks) or 'none'}: their accuracy selects the layer "
                "of each system"
            )
        return self


def pretraining(config: LabConfig, data: Sequence[Path]) -> dict[str, SpeechRecipe]:
    """Return the pre-training recipe of each system in the comparison.

    Args:
        config: systems and budget.
        data: prepared folders, whose utterance lengths determine the audio per update.

    Raises:
        FileNotFoundError, ValueError: the folders cannot be read, or no utterance is long enough.
    """
    every = {name: run.complete(recipes.speech(f"{name}_{_ending(config.size)}"), data, None) for name in SYSTEMS}
    shortest = max(recipe.data.min_seconds for recipe in every.values())  # so that all train on the same utterances
    hours = config.hours_heard or max(map(_recipe_hours, every.values()))
    chosen = {}
    for name in config.systems:
        recipe = every[name].override({"data.min_seconds": shortest, "train.seed": config.seed})
        seconds = seconds_an_update(recipe, training_utterances(recipe.corpora, recipe.held_out))
        num_steps = config.updates or max(1, round(3600 * hours / seconds))
        chosen[name] = with_num_steps(recipe, num_steps).model_copy(update={"name": f"lab_{name}"})
    return chosen


def seconds_an_update(recipe: SpeechRecipe, utterances: Sequence[Utterance]) -> float:
    """Return the seconds of audio per update of pre-training in one process, averaged over an epoch."""
    plan = plan_crops(num_samples_of(utterances), recipe.data, seed=recipe.train.seed)
    epoch = float(plan.sizes @ plan.bucket_samples) / SAMPLE_RATE
    return epoch / plan.num_batches * recipe.train.num_accumulate


def with_num_steps(recipe: SpeechRecipe, num_steps: int) -> SpeechRecipe:
    """Return the recipe with another number of updates, and settings counted in updates scaled accordingly.

    Args:
        recipe: pre-training recipe.
        num_steps: number of updates.
    """
    reports = {"num_steps": num_steps, "log_every": min(recipe.train.log_every, max(1, num_steps // 20))}
    changes: dict[str, Any] = {"train": recipe.train.model_copy(update=reports)}
    stretched = _stretched(recipe.system, num_steps / recipe.train.num_steps)
    return recipe.model_copy(update=changes | {"system": recipe.system.model_copy(update=stretched)})


def _stretched(config: Any, factor: float) -> dict[str, Any]:
    """Return the settings counted in updates, scaled by `factor`; every system with such settings is listed here."""
    match config:
        case Wav2Vec2Config():
            return {"gumbel_decay": config.gumbel_decay ** (1 / factor)}
        case VqWav2VecConfig():
            return {"gumbel_updates": max(1, round(config.gumbel_updates * factor))}
    return {}


def _ending(size: Size) -> str:
    return {"smoke": "smoke", "full": "tiny"}[size]


def _recipe_hours(recipe: SpeechRecipe) -> float:
    return recipe.train.num_steps * recipe.train.num_accumulate * recipe.data.batch_seconds / 3600
