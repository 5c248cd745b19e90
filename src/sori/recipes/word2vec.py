"""Recipes that train vectors of written words (Word2Vec) on plain text."""

import contextlib
from pathlib import Path

from sori.models.word2vec import Word2VecConfig
from sori.training.word2vec_loop import WordTrainConfig


class WordRecipe(WordTrainConfig):
    """Complete settings of a Word2Vec run, which has its own training loop (see `Recipe` for the others)."""

    name: str
    """Label for messages; a model is identified by its run folder."""
    system: Word2VecConfig
    corpora: tuple[str, ...] = ()
    """Texts: files (.txt, .gz, .xz, .bz2) or folders of them, one sentence per line."""

    def as_stored(self, path: Path) -> str:
        """Return the recipe as YAML, or the text of the file if it already holds an equal recipe."""
        if path.is_file():
            with contextlib.suppress(ValueError):
                if WordRecipe.from_yaml(path) == self:
                    return path.read_text(encoding="utf-8")
        return self.to_yaml()


def word2vec_skipgram() -> WordRecipe:
    """Train Word2Vec skip-gram on plain text of any size; a CPU, about a second per million words and epoch.

    Predicts context words from the centre word; good vectors of rare words. Expected: see `docs/systems/word2vec.md`;
    the speed is that of two cores.

    Command: `sori train word2vec_skipgram --data TEXT --into runs/words`, where TEXT is a file or a folder of texts;
    for less than some million words use more epochs, `--epochs 15`.
    """
    return WordRecipe(name="word2vec_skipgram", system=Word2VecConfig())


def word2vec_cbow() -> WordRecipe:
    """Train Word2Vec CBOW on plain text of any size; a CPU, twice as fast as skip-gram.

    Predicts the centre word from its context words; vectors of rare words are slightly worse. Expected: see
    `docs/systems/word2vec.md`.

    Command: `sori train word2vec_cbow --data TEXT --into runs/words_cbow`
    """
    return WordRecipe(name="word2vec_cbow", system=Word2VecConfig(architecture="cbow"), lr=0.05)


def word2vec_text8() -> WordRecipe:
    """Train Word2Vec CBOW on text8 with the settings of word2vec.c's demo-word.sh; a CPU.

    200 dimensions, 25 noise words, 15 epochs. Expected: others report an accuracy of 53 % on analogies among the 30,000
    most frequent words of text8. Not trained here.

    Command: `sori train word2vec_text8 --data text8 --into runs/text8`
    """
    system = Word2VecConfig(
        architecture="cbow", dim=200, window=8, negatives=25, sample=1e-4, tokens="spaces", case="keep"
    )
    return WordRecipe(name="word2vec_text8", system=system, lr=0.05, epochs=15)


def word2vec_smoke() -> WordRecipe:
    """Check that Word2Vec runs: a toy model on a little text; a second on a CPU.

    Expected: the loss falls.

    Command: `sori train word2vec_smoke --data TEXT --into runs/words_smoke`
    """
    system = Word2VecConfig(dim=16, window=3, min_count=1, sample=0)
    return WordRecipe(name="word2vec_smoke", system=system, epochs=3, num_threads=1)
