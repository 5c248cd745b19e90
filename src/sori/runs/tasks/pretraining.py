"""Set up pre-training of encoders on speech without transcripts."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sori.checkpoints import store
from sori.core.batch import WaveformBatch
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng
from sori.core.shapes import Tensor
from sori.data import fingerprint
from sori.data.batches.audio_cache import open_audio
from sori.data.batches.loader import CropBatches, FileReader, Reader
from sori.data.fingerprint import Fingerprint
from sori.data.manifest import Utterance
from sori.models import factory
from sori.models.ctc import Ctc
from sori.models.encoders import Encoder, build, is_objective
from sori.models.vq_wav2vec import VqWav2Vec
from sori.models.wav2vec2 import Wav2Vec2
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe, SpokenWordRecipe
from sori.runs.tasks.task import Task

SpokenRecipe = SpeechRecipe | RecogniserRecipe | SpokenWordRecipe
"""Recipes that train on prepared recordings."""


def pretraining(recipe: SpeechRecipe, utterances: Sequence[Utterance], folder: RunFolder) -> Task:
    """Build an encoder with random weights or those of `init`, and batches of crops of recordings."""
    system = build(recipe.system)
    if recipe.init is not None:
        weights = _pretrained(recipe.init, system, grow=recipe.grow_quantizer)
        factory.copy_weights(weights, system, origin=recipe.init)
    reader = audio(recipe, utterances, folder)
    batches = CropBatches(utterances, recipe.data, seed=recipe.train.seed, reader=reader)
    if batches.languages is not None:
        logger.info(f"language sampling: {batches.languages}")
    fresh = recipe.init is None and not folder.has_checkpoint
    if fresh and (
        (isinstance(system, Wav2Vec2) and system.targets is not None)
        or (isinstance(system, VqWav2Vec) and system.config.start_sharpness)
    ):
        system.start_codebook(_first_quarter_hour(batches), Rng(recipe.train.seed))
    return Task(system, batches, [], fingerprint_of(recipe, utterances, folder))


def _pretrained(init: str, system: Encoder, *, grow: bool) -> dict[str, Tensor]:
    """Return the initial tensors: those of the model, and with `grow` random ones for those that the model lacks."""
    source = store.load(init)
    encoder = factory.encoder_of(source)
    if encoder.config.kind != system.config.kind:
        raise ValueError(
            f"expected a {system.config.kind} to start from, as the recipe trains one, got {init}, a "
            f"{encoder.config.kind}; start from a model of the same kind"
        )
    weights, new = encoder.state_dict(), system.state_dict()
    added = {name: new[name] for name in new.keys() - weights.keys() if is_objective(system.config, name)}
    if added and not grow:
        kind = "a recogniser" if isinstance(source, Ctc) else "an encoder"
        raise ValueError(
            f"{init} is {kind} without the quantiser that pre-training needs; start from the pre-trained model that it "
            "was fine-tuned from, or initialise a new quantiser with `--grow-quantizer true`"
        )
    if added:
        num = sum(t.numel() for t in added.values())
        logger.info(f"{init} has no quantiser: initialised a new one at random ({num:,} parameters)")
    return weights | added


def _first_quarter_hour(batches: CropBatches) -> Iterator[WaveformBatch]:
    seconds = 0.0
    for index in itertools.count():
        batch = batches[index]
        yield batch
        seconds += batch.seconds
        if seconds > 15 * 60:
            return


def audio(recipe: SpokenRecipe, utterances: Sequence[Utterance], folder: RunFolder) -> Reader:
    """Open the reader of audio samples; check that a continued run has the same data.

    Whether to cache is decided when the run starts and stored with its data: cached samples are rounded to 16 bits, so
    a later change would break bit-exact resuming.

    Raises:
        ValueError: The run was started on other data.
    """
    about = fingerprint_of(recipe, utterances, folder)
    before = fingerprint.check(folder.fingerprint, about)
    policy = recipe.data.cache if before is None else ("always" if before["cached"] else "never")
    one_writable = len(recipe.corpora) == 1 and os.access(recipe.corpora[0], os.W_OK)
    cache_folder = Path(recipe.corpora[0]) if one_writable else folder.path
    reader = open_audio(utterances, folder=cache_folder, policy=policy)
    fingerprint.store(folder.fingerprint, {**about, "cached": not isinstance(reader, FileReader)})
    return reader


def fingerprint_of(recipe: SpokenRecipe, utterances: Sequence[Utterance], folder: RunFolder) -> Fingerprint:
    """Return the fingerprint of the training data of a run."""
    return fingerprint.of_utterances(utterances, languages=balanced(recipe), stored=folder.fingerprint)


def balanced(recipe: SpokenRecipe) -> bool:
    """Return whether utterances are sampled by language."""
    return recipe.data.language_exponent is not None
