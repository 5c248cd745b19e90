"""Vectors of written words, from plain text."""

import contextlib
from pathlib import Path

from sori.models.word2vec import Word2VecConfig
from sori.training.word2vec_loop import WordTrainConfig


class WordRecipe(WordTrainConfig):
    """What a run of Word2Vec computes; the loop's settings (`Recipe`) mean nothing to it."""

    name: str
    """For people; the run folder's name decides how the model is called."""
    system: Word2VecConfig
    corpora: tuple[str, ...] = ()
    """Texts: files (.txt, .gz, .xz, .bz2) or folders of them. A line is a sentence."""

    def as_stored(self, path: Path) -> str:
        """The recipe as YAML; as it stands in a file, where that is the same recipe."""
        if path.is_file():
            with contextlib.suppress(ValueError):
                if WordRecipe.from_yaml(path) == self:
                    return path.read_text(encoding="utf-8")
        return self.to_yaml()


def word2vec_skipgram() -> WordRecipe:
    """A word tells the words near it: good vectors of rarer words, from any amount of plain text.

    Expected: see `docs/systems/word2vec.md`; a million words take about a second an epoch on two cores.

    Command: `sori train word2vec_skipgram --data TEXT --into runs/words`, TEXT a file or a folder of texts; for a text
    of less than some million words more passes, `--epochs 15`.
    """
    return WordRecipe(name="word2vec_skipgram", system=Word2VecConfig())


def word2vec_cbow() -> WordRecipe:
    """The words near a word tell it, all together: twice as fast, a little less good with rare words.

    Expected: see `docs/systems/word2vec.md`.

    Command: `sori train word2vec_cbow --data TEXT --into runs/words_cbow`
    """
    return WordRecipe(name="word2vec_cbow", system=Word2VecConfig(architecture="cbow"), lr=0.05)


def word2vec_text8() -> WordRecipe:
    """The demonstration of word2vec.c (demo-word.sh): CBOW, 200 dimensions, 25 words of noise, 15 epochs of text8.

    Expected: others report 53 % of the analogies among the 30,000 most frequent words of text8. We have not tried it.

    Command: `sori train word2vec_text8 --data text8 --into runs/text8`
    """
    system = Word2VecConfig(
        architecture="cbow", dim=200, window=8, negatives=25, sample=1e-4, tokens="spaces", case="keep"
    )
    return WordRecipe(name="word2vec_text8", system=system, lr=0.05, epochs=15)


def word2vec_smoke() -> WordRecipe:
    """Word2Vec in a second, to see that everything runs.

    Expected: the loss falls.

    Command: `sori train word2vec_smoke --data TEXT --into runs/words_smoke`
    """
    system = Word2VecConfig(dim=16, window=3, min_count=1, sample=0)
    return WordRecipe(name="word2vec_smoke", system=system, epochs=3, num_threads=1)
