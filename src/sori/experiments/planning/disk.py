"""Predict the disk space of runs, in 10^9 bytes by what takes it."""

from typing import Any

import torch

from sori.core.audio import SAMPLE_RATE
from sori.models import factory
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe
from sori.text.vocabulary import BLANK, Vocabulary

_CACHE_GB_PER_HOUR = 0.1152
_CACHE = "cache of decoded audio (where decoding is slow)"
_WEIGHT_BYTES, _MOMENT_BYTES = 4, 8
"""Size of a weight in float32, and of its two moments, which a checkpoint has for those that are trained."""
_FRAME_VALUE_BYTES = 2
"""Size of a value of the frozen blocks' output, bfloat16."""


def of_pretraining(recipe: SpeechRecipe, hours: float, num_runs: int) -> dict[str, float]:
    """Return the space of pre-training and, with two runs, of a recogniser of the same size."""
    weights = sum(one.numel() for one in _built(recipe.system).parameters())
    kept = recipe.train.keep_checkpoints + 1
    return {
        _CACHE: hours * _CACHE_GB_PER_HOUR,
        "checkpoints": num_runs * kept * weights * (_WEIGHT_BYTES + _MOMENT_BYTES) / 1e9,
        "models": num_runs * weights * _WEIGHT_BYTES / 1e9,
    }


def of_recogniser(recipe: RecogniserRecipe, encoder: Any) -> dict[str, float]:
    """Return the space of one recogniser, and of the output of its frozen blocks where that is kept.

    Args:
        recipe: with the minutes of labels.
        encoder: settings of the encoder.
    """
    system = _built(recipe.system, encoder=encoder, vocabulary=Vocabulary(symbols=(BLANK, "|")))
    weights = sum(one.numel() for one in system.parameters())
    trained = sum(one.numel() for one in system.parameters() if one.requires_grad)
    frames = cached_seconds(recipe) * SAMPLE_RATE / system.hop_samples if recipe.cache_frozen else 0.0
    kept = recipe.train.keep_checkpoints + 1
    return {
        _CACHE: _minutes(recipe) / 60 * _CACHE_GB_PER_HOUR,
        "output of the frozen blocks, during training": frames * encoder.dim * _FRAME_VALUE_BYTES / 1e9,
        "checkpoints": kept * (weights * _WEIGHT_BYTES + trained * _MOMENT_BYTES) / 1e9,
        "models": weights * _WEIGHT_BYTES / 1e9,
    }


def cached_seconds(recipe: RecogniserRecipe) -> float:
    """Return the seconds of audio of which frozen blocks are computed: every utterance at each speed."""
    return sum(60 * _minutes(recipe) / speed for speed in recipe.labels.speeds)


def _minutes(recipe: RecogniserRecipe) -> float:
    if recipe.labels.minutes is None:
        raise ValueError(
            f"expected {recipe.name} to have a number of minutes of labels, got a recipe that uses all there are; give "
            "--minutes-of-labels"
        )
    return recipe.labels.minutes


def _built(config: Any, **parts: Any) -> Any:
    with torch.device("meta"):
        return factory.build(config, **parts)
