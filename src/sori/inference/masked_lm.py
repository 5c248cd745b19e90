"""Predictions of text models: masked words, classes of texts and of words."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sori.checkpoints import store
from sori.core import distributed
from sori.core.counts import require_count
from sori.data.sources.labelled_texts import (
    LabelledText,
    divide_labelled,
    read_labelled,
)
from sori.evaluation.classification import Evaluation, evaluate_classifier, predict
from sori.models import factory
from sori.models.bert import Bert
from sori.models.classifier import Classifier
from sori.recipes.recipe import ClassifierRecipe
from sori.text.wordpiece import MASK


class Filling(NamedTuple):
    """A word piece predicted for a masked position."""

    piece: str
    """Word piece; `##` marks one that continues the word before the mask."""
    probability: float


class Prediction(NamedTuple):
    """Predicted class of a text or of a word."""

    what: str
    """Text or word."""
    name: str
    """Class."""
    probability: float


@torch.no_grad()
def fill(model: str | Path | Bert, text: str, *, number: int = 5) -> list[list[Filling]]:
    """Predict the most probable word pieces for each `[MASK]` of a text, the best first.

    Several masks are predicted independently, each with the others masked.

    Args:
        model: a BERT with a masked language model head.
        text: text with `[MASK]` for each masked word.
        number: number of predictions for each mask.

    Raises:
        ValueError: the model is something else or lacks that head, the text has no mask, or is too long.
    """
    require_count("number of fillings", number)
    bert = store.load(model).to(distributed.device()) if isinstance(model, str | Path) else model
    if not isinstance(bert, Bert) or not hasattr(bert, "predictor"):
        got = f"a {bert.config.kind}" if not isinstance(bert, Bert) else "a BERT without that head"
        raise ValueError(
            f"expected a BERT with a masked language model head, got {got}; `sori train bert_tiny` trains one"
        )
    wordpiece = bert.wordpiece
    assert wordpiece is not None  # noqa: S101 - every loaded model has one
    (ids,) = wordpiece.encode([text])
    ids = [wordpiece.cls, *ids, wordpiece.sep]
    if wordpiece.mask not in ids:
        raise ValueError(f"expected a text with {MASK} in place of a word, got {text!r}")
    given = torch.tensor([ids], device=distributed.device())
    last = bert.context(given, torch.zeros_like(given), torch.tensor([len(ids)], device=given.device))[-1]
    probabilities = bert.scores(last[given == wordpiece.mask]).float().softmax(-1)
    best = probabilities.topk(min(number, len(wordpiece)))
    return [
        [Filling(wordpiece.tokens[token], probability) for token, probability in zip(tokens, found, strict=True)]
        for tokens, found in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def classify(model: str | Path | Classifier, texts: Sequence[str]) -> list[list[Prediction]]:
    """Predict the class of each text or, for a model that classifies words, of each word (separated by spaces).

    Args:
        model: a classifier.
        texts: texts to classify; texts longer than the model's limit are truncated.

    Raises:
        ValueError: the model is not a classifier.
    """
    system = _classifier(model)
    words = system.config.read == "words"
    rows = [LabelledText(tuple(text.split()) if words else (text,), "", (), None) for text in texts]
    found = predict(system, rows, max_tokens=_longest(system))
    return [
        [Prediction(word, name, probability) for word, (name, probability) in zip(row.words, classes, strict=True)]
        for row, classes in zip(rows, found, strict=True)
    ]


def measure(model: str | Path, data: Sequence[Path], *, split: str | None = None) -> Evaluation:
    """Accuracy and F1 of a classifier on tables of texts with their labels.

    Args:
        model: a classifier.
        data: tables in the format of the training tables.
        split: split to use; None: the rows held out from training; "all": all rows.

    Raises:
        ValueError: the model is not a classifier, or there are no such rows.
        FileNotFoundError: there is no such table.
    """
    system = _classifier(model)
    rows = [row for path in data for row in read_labelled(path, words=system.config.read == "words")]
    if split is None:
        recipe = ClassifierRecipe.from_data(store.read(model).provenance["recipe"], origin=str(model))
        rows = divide_labelled(rows, recipe.labelled, held_out=recipe.held_out).held_out
    elif split != "all":
        known = sorted({row.split or "none" for row in rows})
        rows = [row for row in rows if row.split == split]
        if not rows:
            raise ValueError(f"there are no rows of a split {split!r}; there are {', '.join(known)}")
    return evaluate_classifier(system, rows, max_tokens=_longest(system))


def _classifier(model: str | Path | Classifier) -> Classifier:
    system = store.load(model).to(distributed.device()) if isinstance(model, str | Path) else model
    if not isinstance(system, Classifier):
        raise ValueError(  # noqa: TRY004 - the caller passes the name of a model, not a type
            f"expected a classifier of texts, got a {system.config.kind}; fine-tune a BERT first: `sori train "
            "bert_classify --init MODEL --data TABLE`"
        )
    return system.eval()


def _longest(system: Classifier) -> int:
    return factory.bert_of(system).config.num_positions
