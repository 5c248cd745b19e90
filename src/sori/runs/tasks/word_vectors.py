"""Run Word2Vec: convert texts to word ids, then train vectors.

The run folder also holds `words.json` (vocabulary with counts) and `tokens.int32` (the text as word ids), each made
once.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sori.core.files import write_text
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.data import fingerprint, phrases
from sori.data.sources.plain_text import text_files
from sori.data.word_counts import (
    Rewrite,
    Sentence,
    WordCounts,
    count_words,
    read_tokens,
    read_word_counts,
    sentences,
    write_tokens,
)
from sori.models.word2vec import Word2Vec
from sori.recipes.word2vec import WordRecipe
from sori.training.word2vec_loop import train


def learn_words(recipe: WordRecipe, folder: RunFolder) -> tuple[Word2Vec, fingerprint.Fingerprint, bool]:
    """Count the words, convert the text to ids and train, reusing what the folder already holds.

    Returns:
        The system, the fingerprint of its training data, and whether training is finished.

    Raises:
        FileNotFoundError: A text does not exist.
        ValueError: The texts cannot be read, hold too few words, or are not those the run was started on.
    """
    files = text_files(recipe.corpora)
    about = fingerprint.of_texts(files)
    fingerprint.check(folder.fingerprint, about)
    fingerprint.store(folder.fingerprint, about)
    words, tokens = _words_and_ids(recipe, files, folder)
    system = Word2Vec(recipe.system, words)
    logger.info(
        f"{recipe.name}: {fingerprint.describe(about)}, {len(tokens):,} tokens of {len(words.words):,} distinct words, "
        f"{recipe.epochs} epochs"
    )
    return system, about, train(system, tokens, train=recipe, folder=folder)


def _words_and_ids(recipe: WordRecipe, files: list[Path], folder: RunFolder) -> tuple[WordCounts, NDArray[np.int32]]:
    if folder.word_ids.is_file() and folder.words.is_file():
        return read_word_counts(folder.words), read_tokens(folder.word_ids)
    config = recipe.system

    def text(rewrite: Rewrite | None) -> Iterable[Sentence]:
        return sentences(files, config, rewrite)

    if config.phrases:
        logger.info("detecting phrases")
    joined = phrases.find_phrases(
        text, thresholds=config.phrases, discount=config.min_count, max_words=config.max_words
    )
    rewrite = phrases.rewriting(joined)
    logger.info("counting words")
    words = count_words(text(rewrite), min_count=config.min_count, max_words=config.max_words)
    write_text(folder.words, words.to_json())
    write_tokens(text(rewrite), words.words, folder.word_ids)
    return words, read_tokens(folder.word_ids)
