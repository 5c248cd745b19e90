"""Word2Vec: a vector for each word of a text, by which the words around it can be told from others.

Papers: Mikolov et al. (2013a), arXiv 1301.3781 (the two architectures, section 3), and (2013b), arXiv 1310.4546
(negative sampling, section 2.2; hierarchical softmax, 2.1; sub-sampling, 2.3). Where they leave something open or say
otherwise, the settings are those of word2vec.c 0.1c; its names stand with each.

The objective, for an input vector h, a word o that was there and words n_1 ... n_k that were not:

    L = -log sigma(u_o . h) - sum_i log sigma(-u_{n_i} . h)                                   (2013b, equation 4)
    L = -sum_j log sigma(s_j u_{n_j} . h),   s_j = +1 where the bit of the code is 0, else -1   (2013b, equation 3)

Skip-gram: h is the input vector of a word, o a word near it. CBOW: h is the mean of the input vectors around o. The
window's radius is drawn for each centre, uniformly from 1 to `window`, so near words count more.

Word2Vec is not trained by the loop: a text of a billion words has as many updates, each of a few rows. The arithmetic
is in `nn/word_update.py`, the order in `training/word2vec_kernel.py`, the run in `training/word2vec_loop.py`.

Departures: `updates: shared` (see there); the tree of hierarchical softmax gives `</s>`, which is never said, the
longest code; noise comes from the exact distribution and not from a table of 1e8 places; sigma is computed and not
looked up.
"""

import difflib
from typing import Literal, final

import torch
from pydantic import Field, model_validator
from torch import nn

from sori.core.seeds import derive
from sori.core.shapes import Float, Tensor
from sori.data.word_counts import TokenConfig, WordCounts


class Word2VecConfig(TokenConfig):
    """What is learnt from what; word2vec.c's names in brackets."""

    kind: Literal["word2vec"] = "word2vec"
    architecture: Literal["skipgram", "cbow"] = "skipgram"
    """Which is told from which; see above (-cbow)."""
    dim: int = Field(default=100, ge=1)
    """Numbers in a vector (-size)."""
    window: int = Field(default=5, ge=1)
    """Largest distance of words that are near each other (-window)."""
    negatives: int = Field(default=5, ge=0)
    """k, words of noise for each word that was there; 5 to 20 for small texts, 2 to 5 for large ones (-negative)."""
    hierarchical: bool = False
    """Hierarchical softmax, instead of or beside negatives (-hs)."""
    updates: Literal["shared", "exact"] = "shared"
    """Of skip-gram. `shared`: all words of a window meet the same noise, at the values before (Ji et al. 2016), 2 to 3
    times as fast; `exact`: one pair after the other, each with noise of its own, as word2vec.c does."""
    divide_error: bool = False
    """Of CBOW: divide the error by the number of words averaged, which is the gradient; word2vec.c does not."""
    sample: float = Field(default=1e-3, ge=0)
    """s: occurrences of a word with share f > s are left out at random (-sample); 0: none. Paper: around 1e-5."""
    noise_exponent: float = 0.75
    """Noise is drawn by counts to this power (2013b, section 2.2)."""
    min_count: int = Field(default=5, ge=1)
    """Rarer words are left out of the text (-min-count)."""
    max_words: int = Field(default=10_000_000, ge=2)
    """Different words remembered while counting; a hundred bytes or more each. word2vec.c: 21 million."""
    phrases: tuple[float, ...] = ()
    """Thresholds of passes that join words into phrases, falling, such as [200, 100] (word2phrase -threshold)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Word2VecConfig":
        if not self.negatives and not self.hierarchical:
            raise ValueError("negatives 0 without hierarchical learns nothing; set one of them")
        return self


@final
class Word2Vec(nn.Module):
    """The two (or three) matrices, and the words their rows belong to.

    Args:
        config: see there.
        vocabulary: the words and how often they occurred.
    """

    def __init__(self, config: Word2VecConfig, vocabulary: WordCounts) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.words, self.counts = list(vocabulary.words), vocabulary.counts.tolist()
        self._places = {word: place for place, word in enumerate(self.words)}
        num = len(self.words)
        self.inputs = _rows(num, config.dim)
        """`word dim`: what is published (syn0)."""
        self.outputs = _rows(num, config.dim) if config.negatives else None
        """`word dim`: of negative sampling (syn1neg)."""
        self.inner = _rows(num - 1, config.dim) if config.hierarchical else None
        """`node dim`: of the tree (syn1)."""

    @property
    def vectors(self) -> Float[Tensor, "word dim"]:
        """The vector of every word, as in `words`."""
        return self.inputs.detach()

    def vector(self, word: str) -> Float[Tensor, " dim"]:
        """The vector of a word.

        Raises:
            ValueError: the word was not learnt; names those spelt nearly so.
        """
        if word not in self._places:
            near = difflib.get_close_matches(word, self.words, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{len(self.words):,} words are known"
            raise ValueError(
                f"no vector for {word!r}, which the text has fewer than {self.config.min_count} times; {hint}"
            )
        return self.vectors[self._places[word]]

    def start(self, seed: int) -> None:
        """Random inputs, uniform within 0.5 / dim of zero, and outputs of zeros, in place (word2vec.c)."""
        random = torch.Generator().manual_seed(derive(seed, "word2vec"))
        with torch.no_grad():
            drawn = torch.rand(self.inputs.shape, generator=random)
            self.inputs.copy_((drawn - 0.5) / self.config.dim)
            for matrix in (self.outputs, self.inner):
                if matrix is not None:
                    matrix.zero_()


def _rows(num: int, dim: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(num, dim), requires_grad=False)
