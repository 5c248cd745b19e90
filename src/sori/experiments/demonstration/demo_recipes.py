"""Recipes of the demonstration: small changes to the built-in ones."""

from typing import NamedTuple

from sori.experiments.self_training import SelfTrainingConfig
from sori.recipes import ctc, wav2vec2
from sori.recipes import smoke as toys
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe

PRETRAINING = {"train.num_steps": 750, "system.gumbel_decay": 0.9974}
"""Changes to `wav2vec2_tiny`; takes about five minutes on one core."""
MASKS = {"system.mask.time_prob": 0.1, "system.mask.band_prob": 0.25}
"""Without them one minute of transcripts is memorised: CER on dev from scratch 27 instead of 24 %."""
TUNING = {"train.num_steps": 500, "data.batch_seconds": 12, **MASKS}
"""Changes to `ctc_10min`; takes about a minute and a half."""
FROM_SCRATCH = {"train.num_steps": 1200}
"""Further changes to `ctc_10min_scratch`: without pre-training there is more to learn; takes four minutes."""
SELF_TRAINING = SelfTrainingConfig(rounds=1, hours=2.0, kept=0.8, updates=1)
"""One round; takes two minutes. A second one gains nothing more (docs/results/demonstration.md)."""


class DemoRecipes(NamedTuple):
    """Pre-training, and fine-tuning with and without it."""

    pretrained: SpeechRecipe
    tuned: RecogniserRecipe
    scratch: RecogniserRecipe


def demo_recipes(*, minutes: float | None, smoke: bool, texts: tuple[str, ...] = ()) -> DemoRecipes:
    """Return recipes for pre-training, and for fine-tuning with it, and longer without it, on the same labels."""
    if smoke:
        pretraining = toys.wav2vec2_smoke().override({"train.num_steps": 20, "train.log_every": 5})
        tuning = toys.ctc_smoke().override({"train.num_steps": 30, "train.log_every": 10, "labels.lm": "word"})
        scratch = tuning.override({"train.num_steps": 60})
    else:
        pretraining = wav2vec2.wav2vec2_tiny().override({"name": "demo_pretraining", **PRETRAINING})
        tuning = ctc.ctc_10min().override({"name": "demo_with", **TUNING})
        scratch = ctc.ctc_10min_scratch().override({"name": "demo_without", **TUNING, **FROM_SCRATCH})
    labels = {"labels": tuning.labels.model_copy(update={"minutes": minutes, "texts": texts})}
    scratch = scratch.model_copy(update={"encoder": pretraining.system, **labels})
    return DemoRecipes(pretraining, tuning.model_copy(update={"encoder": None, **labels}), scratch)
