"""What each system trains with: its own recipe, cut or stretched to the same hours heard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from sori import recipes
from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config
from sori.data.batches.sampler import plan_crops
from sori.data.manifest import Utterance
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
    """Who takes part, what each may hear, and what is asked."""

    size: Size = "full"
    """`full`: the recipes called tiny; `smoke`: toys, to see whether everything runs."""
    systems: tuple[str, ...] = SYSTEMS
    hours_heard: float | None = Field(default=None, gt=0)
    """Of audio, repetitions counted, the same for all; None: as many as the recipe that asks for most."""
    updates: int | None = Field(default=None, ge=1)
    """In place of hours: so many updates each, of batches that differ in length."""
    tasks: tuple[Task, ...] = ("phone", "speaker", "abx")
    split_by: SplitBy = "speaker"
    minutes: float | None = Field(default=None, gt=0)
    """Measure on at most so much of the recordings; None: all, at size smoke ten minutes."""
    seed: int = 0
    """Of training and of measuring."""

    @model_validator(mode="after")
    def _check(self) -> "LabConfig":
        if unknown := [name for name in self.systems if name not in SYSTEMS]:
            raise ValueError(f"there is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
        if not self.systems or len(set(self.systems)) < len(self.systems):
            raise ValueError("expected systems, each once")
        if self.hours_heard is not None and self.updates is not None:
            raise ValueError("give hours heard or updates, not both: each follows from the other")
        if not {"phone", "speaker"} & set(self.tasks):
            raise ValueError("tasks need phone or speaker: each system's layer is chosen by how well these are read")
        return self


def pretraining(config: LabConfig, data: Sequence[Path]) -> dict[str, SpeechRecipe]:
    """The recipe of each system that takes part.

    Args:
        config: see there.
        data: prepared folders, whose lengths decide how much an update hears.

    Raises:
        FileNotFoundError, ValueError: the folders cannot be read, or no utterance is long enough.
    """
    every = {name: run.complete(recipes.speech(f"{name}_{_ending(config.size)}"), data, None) for name in SYSTEMS}
    shortest = max(recipe.data.min_seconds for recipe in every.values())  # so that all hear the same utterances
    hours = config.hours_heard or max(map(_hours_asked, every.values()))
    made = {}
    for name in config.systems:
        recipe = every[name].override({"data.min_seconds": shortest, "train.seed": config.seed})
        seconds = seconds_an_update(recipe, training_utterances(recipe.corpora, recipe.held_out))
        num_steps = config.updates or max(1, round(3600 * hours / seconds))
        made[name] = lasting(recipe, num_steps).model_copy(update={"name": f"lab_{name}"})
    return made


def seconds_an_update(recipe: SpeechRecipe, utterances: Sequence[Utterance]) -> float:
    """Audio that one update of pre-training hears in one process, on average over an epoch."""
    lengths = np.array([one.num_samples for one in utterances], dtype=np.int64)
    plan = plan_crops(lengths, recipe.data, seed=recipe.train.seed)
    epoch = float(np.diff(plan.edges) @ plan.bucket_samples) / SAMPLE_RATE
    return epoch / plan.num_batches * recipe.train.num_accumulate


def lasting(recipe: SpeechRecipe, num_steps: int) -> SpeechRecipe:
    """The same recipe in so many updates: what counts updates is stretched, what counts fractions of the run is not.

    Args:
        recipe: of pre-training.
        num_steps: updates.
    """
    reports = {"num_steps": num_steps, "log_every": min(recipe.train.log_every, max(1, num_steps // 20))}
    changes: dict[str, Any] = {"train": recipe.train.model_copy(update=reports)}
    stretched = _stretched(recipe.system, num_steps / recipe.train.num_steps)
    return recipe.model_copy(update=changes | {"system": recipe.system.model_copy(update=stretched)})


def _stretched(config: Any, factor: float) -> dict[str, Any]:
    """Settings that count updates, for a run that is so many times as long; a system that has any is named here."""
    match config:
        case Wav2Vec2Config():
            return {"gumbel_decay": config.gumbel_decay ** (1 / factor)}
        case VqWav2VecConfig():
            return {"gumbel_updates": max(1, round(config.gumbel_updates * factor))}
    return {}


def _ending(size: Size) -> str:
    return {"smoke": "smoke", "full": "tiny"}[size]


def _hours_asked(recipe: SpeechRecipe) -> float:
    return recipe.train.num_steps * recipe.train.num_accumulate * recipe.data.batch_seconds / 3600
