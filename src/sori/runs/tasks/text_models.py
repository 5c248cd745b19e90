"""Set up training of BERT on texts, and of text classifiers on BERT."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from sori.checkpoints import store
from sori.core import distributed
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng
from sori.data import fingerprint
from sori.data.batches import token_store
from sori.data.batches.sentence_pairs import PairBatches, TextsConfig, divide, unigrams
from sori.data.batches.token_store import Tokens
from sori.data.sources.labelled_texts import (
    Divided,
    LabelledBatches,
    classes_of,
    divide_labelled,
    numbers_of,
    read_labelled,
)
from sori.data.sources.plain_text import paragraphs
from sori.evaluation.classification import evaluate_classifier
from sori.models import factory
from sori.models.bert import Bert, BertConfig
from sori.models.classifier import Classifier, ClassifierConfig
from sori.recipes.recipe import ClassifierRecipe, TextRecipe
from sori.runs.tasks.task import Task
from sori.text.wordpiece import WordPiece
from sori.training.evaluations import Evaluation


def bert(recipe: TextRecipe, files: list[Path], folder: RunFolder) -> Task:
    """Build BERT, and batches of pairs of text segments.

    Raises:
        ValueError: Segments are longer than the model allows, the texts cannot be read or are too short, or the run
            was started on other texts.
    """
    texts, config = recipe.texts, recipe.system
    if texts.max_tokens > config.num_positions:
        raise ValueError(
            f"expected texts.max_tokens to be at most the model's {config.num_positions} positions, got "
            f"{texts.max_tokens}; lower it or raise system.num_positions"
        )
    about = fingerprint.of_texts(files)
    fingerprint.check(folder.fingerprint, about)
    wordpiece = _vocabulary(recipe, texts, files, folder)
    tokens = token_store.store(files, wordpiece, folder.tokens)
    fingerprint.store(folder.fingerprint, about)
    config = config.model_copy(update=_special_ids(wordpiece))
    system = factory.build(config, wordpiece=wordpiece)
    assert isinstance(system, Bert)  # noqa: S101 - by its configuration
    if recipe.init is not None:
        factory.copy_weights(store.read(recipe.init).model.weights, system, origin=recipe.init)
    ranges = divide(tokens.documents, texts.held_out_every)
    batches = PairBatches(tokens, ranges.train, texts, wordpiece, seed=recipe.train.seed)
    logger.info(
        f"{len(tokens.ids):,} tokens of {len(wordpiece):,}, {len(tokens.sentences) - 1:,} sentences, "
        f"{len(tokens.documents) - 1:,} documents; an epoch is {batches.num_pairs:,} pairs"
    )
    return Task(system, batches, _held_out(tokens, ranges.train, ranges.held_out, texts, wordpiece), about)


def _vocabulary(recipe: TextRecipe, texts: TextsConfig, files: list[Path], folder: RunFolder) -> WordPiece:
    """Return the vocabulary of the initial model, or the one stored in the run folder, or a newly learnt one."""
    path = folder.vocabulary
    if recipe.init is not None:
        start = store.read(recipe.init).model
        if start.wordpiece is None or not isinstance(start.system, BertConfig):
            raise ValueError(f"expected a BERT to start from, got {recipe.init}, a {start.system.kind}")
        return start.wordpiece
    if not path.is_file() and distributed.rank() == 0:
        logger.info(f"learning a vocabulary of {texts.wordpiece.num_tokens:,} word pieces")
        WordPiece.fit(lambda: paragraphs(files), texts.wordpiece).save(path)
    distributed.barrier()
    return WordPiece.load(path)


def _special_ids(wordpiece: WordPiece) -> dict[str, int]:
    """Return the size and special token ids of a vocabulary, as fields of `BertConfig`."""
    w = wordpiece
    return {"num_tokens": len(w), "pad": w.pad, "cls": w.cls, "sep": w.sep, "mask": w.mask}


def _held_out(
    tokens: Tokens, train: np.ndarray, held_out: np.ndarray, texts: TextsConfig, wordpiece: WordPiece
) -> list[Evaluation]:
    """Return an evaluation on masked words of held-out documents, the same ones for every seed.

    `unigram` is the loss of a unigram model of the training texts.
    """
    if not len(held_out):
        logger.info("the text is too short for held-out documents: no loss on held-out text")
        return []
    all_pairs = texts.model_copy(update={"batch_size": 1})
    num_pairs = min(texts.held_out_pairs, PairBatches(tokens, held_out, all_pairs, wordpiece, seed=0).num_pairs)
    size = min(texts.batch_size, num_pairs)
    batches = PairBatches(tokens, held_out, texts.model_copy(update={"batch_size": size}), wordpiece, seed=0)
    frequencies = torch.from_numpy(unigrams(tokens, train, len(wordpiece)))

    def measure(system: Bert) -> Mapping[str, float]:
        sums: dict[str, float] = {}
        device = distributed.device()
        for index in range(num_pairs // size):
            batch = batches[index]
            draws = system.draw(batch, Rng(0, index), device)
            part = system.objective(batch.to(device), draws)
            terms = {**part.terms, "count": part.count}
            terms["unigram"] = -frequencies[batch.ids[draws.hidden.cpu()]].sum()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        names = ("mlm", "unigram", "correct", "next", "next_correct")
        return {f"held_out_{name}": sums[name] / (sums["count"] or math.nan) for name in names}

    return [measure]


def labelled_rows(recipe: ClassifierRecipe) -> Divided:
    """Read the rows of the tables that a classifier is trained on.

    Raises:
        FileNotFoundError, ValueError: A table cannot be read.
    """
    settings = recipe.labelled
    rows = [row for path in recipe.corpora for row in read_labelled(Path(path), words=recipe.system.read == "words")]
    return divide_labelled(rows, settings, held_out=recipe.held_out)


def classifier(recipe: ClassifierRecipe, rows: Divided, folder: RunFolder) -> Task:
    """Build a classifier on the BERT of `init`, and batches of labelled texts.

    Raises:
        ValueError: There is no BERT to start from, or too few texts.
    """
    settings = recipe.labelled
    about = fingerprint.of_texts([Path(path) for path in recipe.corpora])
    fingerprint.check(folder.fingerprint, about)
    fingerprint.store(folder.fingerprint, about)
    system = _classifier(recipe, recipe.system.model_copy(update={"classes": classes_of(rows.train)}))
    bert = factory.bert_of(system)
    assert bert.wordpiece is not None  # noqa: S101 - every loaded BERT has one
    words, classes = recipe.system.read == "words", system.config.classes
    most = min(settings.max_tokens, bert.config.num_positions)
    ids = numbers_of(rows.train, bert.wordpiece, classes=classes, max_tokens=most, words=words)
    batches = LabelledBatches(ids, batch_size=settings.batch_size, pad=bert.wordpiece.pad, seed=recipe.train.seed)
    logger.info(
        f"{len(rows.train):,} texts for training, {len(rows.held_out):,} for evaluation; classes: {', '.join(classes)}"
    )

    def measure(trained: Classifier) -> Mapping[str, float]:
        found = evaluate_classifier(trained, rows.held_out, max_tokens=most)
        return {"held_out_accuracy": found.accuracy.value, "held_out_f1": found.f1.value}

    return Task(system, batches, [measure] if rows.held_out else [], about)


def _classifier(recipe: ClassifierRecipe, config: ClassifierConfig) -> Classifier:
    if recipe.init is None:
        raise ValueError(f"{recipe.name} starts from a pre-trained BERT: give one with init= (`--init MODEL`)")
    start = store.read(recipe.init).model
    below = start.encoder or start.system
    if not isinstance(below, BertConfig):
        raise ValueError(  # noqa: TRY004 - the caller passes a model name, not a type
            f"expected a BERT to start from, got {recipe.init}, a {start.system.kind}"
        )
    system = factory.build(config, encoder=below, wordpiece=start.wordpiece)
    assert isinstance(system, Classifier)  # noqa: S101 - by its configuration
    bert = factory.bert_of(system)
    wanted, prefix = bert.state_dict(), "encoder." if isinstance(start.system, ClassifierConfig) else ""
    weights = {name: start.weights[prefix + name] for name in wanted if prefix + name in start.weights}
    if missing := sorted(wanted.keys() - weights.keys()):
        logger.info(f"{recipe.init} has no pooler: initialised a new one at random ({len(missing)} tensors)")
    factory.copy_weights({**{name: wanted[name] for name in missing}, **weights}, bert, origin=recipe.init)
    return system
