"""Recipe in, run out: the only place where a recipe becomes objects.

A run folder holds `recipe.yaml`, `data.json` (what was trained on), `checkpoint.safetensors`, `metrics.jsonl`, `lock`,
for a recogniser `vocabulary.json` and `excluded.jsonl` (utterances that cannot be learnt from), for vectors of words
`segments.jsonl`, and finally `model/`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sori.checkpoints import resolve, store
from sori.core import distributed
from sori.core.seeds import derive
from sori.data.batches import token_store
from sori.data.fingerprint import Account, in_words
from sori.data.manifest import Utterance
from sori.data.sources.images import training_images
from sori.data.sources.plain_text import text_files
from sori.data.utterances import folders_of, training_utterances
from sori.data.word_segments import SEGMENTS
from sori.models.bert import BertConfig
from sori.models.classifier import ClassifierConfig
from sori.models.code_bert import CodeBertConfig
from sori.models.ctc import CtcConfig
from sori.models.encoders import EncoderConfig
from sori.models.simclr import SimClrImagesConfig
from sori.models.speech2vec import Speech2VecConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.recipes.recipe import Recipe
from sori.recipes.word2vec import WordRecipe
from sori.runs.tasks import (
    fine_tuning,
    image_contrast,
    pretraining,
    text_models,
    unit_bert,
    word_segments,
    word_vectors,
)
from sori.runs.tasks.task import DATA, Parts, say
from sori.training import loop
from sori.training.lock import sole_use
from sori.training.metrics import METRICS

MADE = (
    DATA,
    loop.CHECKPOINT,
    METRICS,
    store.VOCABULARY,
    fine_tuning.EXCLUDED,
    SEGMENTS,
    token_store.FOLDER,
    word_vectors.WORDS,
    word_vectors.TOKENS,
    resolve.MODEL,
)
"""What a run makes beside its recipe."""


class Run(NamedTuple):
    """What `train` leaves behind."""

    folder: Path
    """`sori.load` takes it once the run is finished."""
    finished: bool
    """False after SIGTERM or Ctrl-C; the same call continues."""


def train(
    recipe: Recipe | WordRecipe,
    *,
    into: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    init: str | Path | None = None,
) -> Run:
    """Pre-train or fine-tune, as the recipe says; repeated, it continues where it was interrupted.

    Args:
        recipe: see `recipes`.
        into: the run folder, made where there is none.
        data: prepared folder or folders, of Word2Vec texts, in place of the recipe's `corpora`.
        init: model to start from, of any format that `sori.load` takes, in place of the recipe's `init`.

    Raises:
        ValueError: recipe, data and starting model do not fit together, or the folder holds another run, or something
            in a place where the run would write.
        FileNotFoundError: there is no such data folder or starting model.
        RuntimeError: training came to nothing; names cause and cure.
    """
    into = Path(into)
    if isinstance(recipe, WordRecipe):
        return _train_words(recipe, into, data, init)
    recipe = complete(recipe, data, init)
    with distributed.process_group(), _folder(into):
        torch.manual_seed(derive(recipe.train.seed, "weights"))
        fingerprint = recipe.as_stored(into / loop.RECIPE)
        parts = _put_together(recipe, into, fingerprint)
        say(_summary(recipe, parts))
        finished = loop.train(
            parts.system,
            parts.batches,
            train=recipe.train,
            optim=recipe.optim,
            schedule=recipe.schedule,
            into=into,
            evaluations=parts.evaluations,
            watch=recipe.watch,
            fingerprint=fingerprint,
        )
        if finished and distributed.rank() == 0:
            store.save(parts.system, into / resolve.MODEL, provenance=_provenance(recipe, parts.about))
            say(f"model saved in {into / resolve.MODEL}")
        distributed.barrier()
    return Run(into, finished)


@contextmanager
def _folder(into: Path) -> Iterator[None]:
    """Keep the folder for this run, which takes nothing away there but what runs make."""
    if distributed.rank() == 0:  # the others would see what this one makes meanwhile
        loop.check_new(into, MADE)
        store.check_place(into / resolve.MODEL)
    with sole_use(into):
        yield


def _put_together(recipe: Recipe, into: Path, fingerprint: str) -> Parts:
    """What the loop is given; the folder is claimed once the data were found, before anything is written into it."""
    match recipe.system:
        case SimClrImagesConfig() as config:
            pictures = training_images(recipe.corpora, held_out=recipe.held_out)
            loop.claim(into, fingerprint)
            return image_contrast.views(recipe, config, pictures, into)
        case BertConfig() as config:
            files = text_files(recipe.corpora)
            loop.claim(into, fingerprint)
            return text_models.passages(recipe, config, files, into)
        case ClassifierConfig() as config:
            rows = text_models.labelled_rows(recipe, config)
            loop.claim(into, fingerprint)
            return text_models.labelled(recipe, config, rows, into)
        case config:
            utterances = training_utterances(recipe.corpora, recipe.held_out)
            loop.claim(into, fingerprint)
            return _of_speech(recipe, config, utterances, into)


def complete(recipe: Recipe, data: str | Path | Sequence[str | Path] | None, init: str | Path | None) -> Recipe:
    """The recipe with what the caller gave; paths absolute, so that the stored recipe can be repeated from anywhere."""
    changes: dict[str, Any] = {}
    if data is not None:
        changes["corpora"] = tuple(str(Path(folder).resolve()) for folder in folders_of(data))
    if init is not None:
        changes["init"] = str(resolve.find(init).resolve())
    recipe = recipe.model_copy(update=changes)
    if recipe.init is not None and isinstance(recipe.system, Wav2Vec2Config):
        recipe = recipe.model_copy(update={"system": _hearing_as(recipe.system, recipe.init)})
    recipe = unit_bert.with_units(recipe)
    if not recipe.corpora:
        wanted, place = {
            "bert": ("texts: give files or folders of them", "TEXTS"),
            "classifier": ("texts with labels: give a table (.tsv, .jsonl)", "TABLE"),
        }.get(recipe.system.kind, ("recordings: give a prepared folder", "DIR"))
        raise ValueError(f"{recipe.name} needs {wanted} with data= (`--data {place}`)")
    return recipe


def _hearing_as(config: Wav2Vec2Config, init: str) -> Wav2Vec2Config:
    """The settings with the starting model's normalisation of the waveform: another would make its weights useless."""
    start, ours = store.read(init).model.encoder_config, config.front
    theirs = start.front if isinstance(start, Wav2Vec2Config) else None
    if not isinstance(theirs, ConvConfig) or not isinstance(ours, ConvConfig):
        return config
    heard = {"normalize": theirs.normalize, "normalize_floor": theirs.normalize_floor}
    if heard != {name: getattr(ours, name) for name in heard}:
        say(f"the waveform is prepared as {init} expects it: {', '.join(f'{k} {v}' for k, v in heard.items())}")
    return config.model_copy(update={"front": ours.model_copy(update=heard)})


def _of_speech(
    recipe: Recipe, config: EncoderConfig | CtcConfig | Speech2VecConfig, utterances: list[Utterance], into: Path
) -> Parts:
    match config:
        case CtcConfig():
            return fine_tuning.recognition(recipe, utterances, into)
        case Speech2VecConfig():
            return word_segments.word_segments(recipe, config, utterances, into)
        case CodeBertConfig():
            return unit_bert.words_of_units(recipe, config, utterances, into)
        case _:
            return pretraining.pretraining(recipe, config, utterances, into)


def _train_words(
    recipe: WordRecipe, into: Path, data: str | Path | Sequence[str | Path] | None, init: str | Path | None
) -> Run:
    """Word2Vec has a training of its own, in one process."""
    if init is not None:
        raise ValueError(f"{recipe.name} starts from random vectors; leave out init= (`--init {init}`)")
    if data is not None:
        recipe = recipe.model_copy(update={"corpora": tuple(str(Path(p).resolve()) for p in folders_of(data))})
    if not recipe.corpora:
        raise ValueError(f"{recipe.name} needs texts: give a file or a folder of them with data= (`--data TEXT`)")
    with distributed.process_group(), _folder(into):
        if distributed.world_size() > 1:
            raise ValueError(
                "expected one process, got several (torchrun?): Word2Vec uses all cores of one, `--num-threads`"
            )
        loop.claim(into, recipe.as_stored(into / loop.RECIPE))
        system, about, finished = word_vectors.learn_words(recipe, into)
        if finished:
            provenance = {"recipe": recipe.model_dump(mode="json"), "data": about}
            store.save(system, into / resolve.MODEL, provenance=provenance)
            say(f"model saved in {into / resolve.MODEL}")
    return Run(into, finished)


def _provenance(recipe: Recipe, about: Account) -> dict[str, Any]:
    start = None if recipe.init is None else store.read(recipe.init).provenance
    return {"recipe": recipe.model_dump(mode="json"), "data": about, "init": start}


def _summary(recipe: Recipe, parts: Parts) -> str:
    size = sum(p.numel() for p in parts.system.parameters() if p.requires_grad)
    each = f"{recipe.data.batch_seconds:g} s"
    if recipe.images is not None:
        each = f"{recipe.images.batch_size} images"
    elif recipe.texts is not None:
        each = f"{recipe.texts.batch_size} pairs of up to {recipe.texts.max_tokens} tokens"
    elif recipe.labelled is not None:
        each = f"{recipe.labelled.batch_size} texts"
    return (
        f"{recipe.name}: {size:,} parameters, {in_words(parts.about)}, "
        f"{recipe.train.num_steps:,} updates of {recipe.train.num_accumulate} x {each}"
    )
