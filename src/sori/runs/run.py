"""Run a recipe: the only place where configuration is turned into objects.

Files of a run: see `core/run_folder.py`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from sori.checkpoints import resolve, store
from sori.core import distributed
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.core.seeds import derive
from sori.data.batches import frame_cache
from sori.data.fingerprint import Fingerprint, describe
from sori.data.manifest import Utterance
from sori.data.sources.images import training_images
from sori.data.sources.plain_text import text_files
from sori.data.utterances import folders_of, training_utterances
from sori.models.code_bert import CodeBertConfig
from sori.models.ctc import Ctc
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.recipes.recipe import (
    ClassifierRecipe,
    ImageRecipe,
    Recipe,
    RecogniserRecipe,
    SpeechRecipe,
    SpokenWordRecipe,
    TextRecipe,
)
from sori.recipes.word2vec import WordRecipe
from sori.runs import language_model
from sori.runs.tasks import (
    fine_tuning,
    image_contrast,
    pretraining,
    text_models,
    unit_bert,
    word_segments,
    word_vectors,
)
from sori.runs.tasks.task import Task
from sori.training import loop

R = TypeVar("R", bound=Recipe)


class Run(NamedTuple):
    """Result of `train`."""

    folder: Path
    """Run folder; `sori.load` accepts it once the run is finished."""
    finished: bool
    """Whether training is finished; False after SIGTERM or Ctrl-C, then the same call continues."""


def train(
    recipe: Recipe | WordRecipe,
    *,
    into: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    init: str | Path | None = None,
) -> Run:
    """Train by a recipe (pre-training or fine-tuning); the same call continues an interrupted run.

    Args:
        recipe: Recipe, see `sori.recipes`.
        into: Run folder, created if needed.
        data: Prepared folder or folders (for text recipes: texts), instead of the recipe's `corpora`.
        init: Model to start from, in any format that `sori.load` reads, instead of the recipe's `init`.

    Raises:
        ValueError: Recipe, data and initial model do not match, or the folder holds another run or other files with
            names that the run writes.
        FileNotFoundError: The data folder or the initial model does not exist.
        RuntimeError: Training failed; the message gives cause and cure.
    """
    folder = RunFolder(Path(into))
    if isinstance(recipe, WordRecipe):
        return _train_words(recipe, folder, data, init)
    recipe = complete(recipe, data, init)
    with distributed.process_group(), _exclusive(folder):
        torch.manual_seed(derive(recipe.train.seed, "weights"))
        task = _task(recipe, folder)
        # Read now: the initial model may have been moved when the run ends.
        provenance = _provenance(recipe, task.fingerprint)
        logger.info(_summary(recipe, task))
        finished = loop.train(
            task.system,
            task.batches,
            train=recipe.train,
            optim=recipe.optim,
            schedule=recipe.schedule,
            folder=folder,
            evaluations=task.evaluations,
            watch=recipe.watch,
        )
        if finished and distributed.rank() == 0:
            tuned = None
            if task.language_model is not None and isinstance(task.system, Ctc):
                tuned = language_model.tune(task.system, task.language_model, folder)
            store.save(task.system, folder.model, provenance=provenance, language_model=tuned)
            frame_cache.remove(folder.frozen_frames)
            logger.info("model saved in %s", folder.model)
        distributed.barrier()
    return Run(folder.path, finished)


@contextmanager
def _exclusive(folder: RunFolder) -> Iterator[None]:
    """Lock the folder for this run, after checking that it overwrites only files made by runs."""
    if distributed.rank() == 0:  # other processes would see the files that this one writes meanwhile
        folder.check_free()
        store.check_place(folder.model)
    with folder.locked():
        yield


def _task(recipe: Recipe, folder: RunFolder) -> Task:
    """Return the input of the training loop; nothing is written into the folder before the data have been found."""
    match recipe:
        case ImageRecipe():
            images = training_images(recipe.corpora, held_out=recipe.held_out)
            folder.begin(recipe.as_stored(folder.recipe))
            return image_contrast.views(recipe, images, folder)
        case TextRecipe():
            files = text_files(recipe.corpora)
            folder.begin(recipe.as_stored(folder.recipe))
            return text_models.bert(recipe, files, folder)
        case ClassifierRecipe():
            rows = text_models.labelled_rows(recipe)
            folder.begin(recipe.as_stored(folder.recipe))
            return text_models.classifier(recipe, rows, folder)
        case RecogniserRecipe() | SpokenWordRecipe() | SpeechRecipe():
            utterances = training_utterances(recipe.corpora, recipe.held_out)
            folder.begin(recipe.as_stored(folder.recipe))
            return _speech_task(recipe, utterances, folder)
    raise ValueError(f"expected a recipe of one of the kinds in recipes/recipe.py, got a {type(recipe).__name__}")


def complete(recipe: R, data: str | Path | Sequence[str | Path] | None, init: str | Path | None) -> R:
    """Return the recipe with data and initial model filled in, as absolute paths so that it runs from any directory."""
    changes: dict[str, Any] = {}
    if data is not None:
        changes["corpora"] = tuple(str(Path(folder).resolve()) for folder in folders_of(data))
    if init is not None:
        changes["init"] = str(resolve.find(init).resolve())
    recipe = recipe.model_copy(update=changes)
    if isinstance(recipe, RecogniserRecipe) and recipe.labels.texts:
        texts = tuple(str(Path(text).resolve()) for text in recipe.labels.texts)
        recipe = recipe.model_copy(update={"labels": recipe.labels.model_copy(update={"texts": texts})})
    if recipe.init is not None and isinstance(recipe.system, Wav2Vec2Config):
        recipe = recipe.model_copy(update={"system": _with_normalisation_of(recipe.system, recipe.init)})
    if isinstance(recipe.system, CodeBertConfig):
        recipe = recipe.model_copy(update={"system": unit_bert.with_units(recipe.system, recipe.init, recipe.name)})
    if not recipe.corpora:
        required, argument = {
            "bert": ("texts: give files or folders of them", "TEXTS"),
            "classifier": ("texts with labels: give a table (.tsv, .jsonl)", "TABLE"),
        }.get(recipe.system.kind, ("recordings: give a prepared folder", "DIR"))
        raise ValueError(f"{recipe.name} needs {required} with data= (`--data {argument}`)")
    return recipe


def _with_normalisation_of(config: Wav2Vec2Config, init: str) -> Wav2Vec2Config:
    """Return the settings with the waveform normalisation of the initial model, which its weights depend on."""
    start, ours = store.read(init).model.encoder_config, config.front
    theirs = start.front if isinstance(start, Wav2Vec2Config) else None
    if not isinstance(theirs, ConvConfig) or not isinstance(ours, ConvConfig):
        return config
    changes = {"normalize": theirs.normalize, "normalize_floor": theirs.normalize_floor}
    if changes != {name: getattr(ours, name) for name in changes}:
        logger.info(f"normalising the waveform as {init} does: {', '.join(f'{k} {v}' for k, v in changes.items())}")
    return config.model_copy(update={"front": ours.model_copy(update=changes)})


def _speech_task(
    recipe: SpeechRecipe | RecogniserRecipe | SpokenWordRecipe, utterances: Sequence[Utterance], folder: RunFolder
) -> Task:
    match recipe:
        case RecogniserRecipe():
            return fine_tuning.recognition(recipe, utterances, folder)
        case SpokenWordRecipe():
            return word_segments.word_segments(recipe, utterances, folder)
        case SpeechRecipe(system=CodeBertConfig() as config):
            return unit_bert.words_of_units(recipe, config, utterances, folder)
        case SpeechRecipe():
            return pretraining.pretraining(recipe, utterances, folder)


def _train_words(
    recipe: WordRecipe, folder: RunFolder, data: str | Path | Sequence[str | Path] | None, init: str | Path | None
) -> Run:
    """Run Word2Vec, which has its own training loop, in one process."""
    if init is not None:
        raise ValueError(f"{recipe.name} starts from random vectors; leave out init= (`--init {init}`)")
    if data is not None:
        recipe = recipe.model_copy(update={"corpora": tuple(str(Path(p).resolve()) for p in folders_of(data))})
    if not recipe.corpora:
        raise ValueError(f"{recipe.name} needs texts: give a file or a folder of them with data= (`--data TEXT`)")
    with distributed.process_group(), _exclusive(folder):
        if distributed.world_size() > 1:
            raise ValueError(
                "expected one process, got several (torchrun?): Word2Vec uses all cores of one, `--num-threads`"
            )
        folder.begin(recipe.as_stored(folder.recipe))
        system, about, finished = word_vectors.learn_words(recipe, folder)
        if finished:
            provenance = {"recipe": recipe.model_dump(mode="json"), "data": about}
            store.save(system, folder.model, provenance=provenance)
            logger.info("model saved in %s", folder.model)
    return Run(folder.path, finished)


def _provenance(recipe: Recipe, fingerprint: Fingerprint) -> dict[str, Any]:
    start = None if recipe.init is None else store.read(recipe.init).provenance
    return {"recipe": recipe.model_dump(mode="json"), "data": fingerprint, "init": start}


def _summary(recipe: Recipe, task: Task) -> str:
    size = sum(p.numel() for p in task.system.parameters() if p.requires_grad)
    return (
        f"{recipe.name}: {size:,} parameters, {describe(task.fingerprint)}, "
        f"{recipe.train.num_steps:,} updates of {recipe.train.num_accumulate} x {_micro_batch(recipe)}"
    )


def _micro_batch(recipe: Recipe) -> str:
    match recipe:
        case ImageRecipe():
            return f"{recipe.images.batch_size} images"
        case TextRecipe():
            return f"{recipe.texts.batch_size} pairs of up to {recipe.texts.max_tokens} tokens"
        case ClassifierRecipe():
            return f"{recipe.labelled.batch_size} texts"
        case RecogniserRecipe() | SpokenWordRecipe() | SpeechRecipe():
            return f"{recipe.data.batch_seconds:g} s"
    raise ValueError(f"expected a recipe of one of the kinds in recipes/recipe.py, got a {type(recipe).__name__}")
