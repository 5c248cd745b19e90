"""Word2Vec: a vector for each word of a text, trained to distinguish its neighbours from other words.

Papers: Mikolov et al. (2013a), arXiv 1301.3781 (the two architectures, section 3), and (2013b), arXiv 1310.4546
(negative sampling, section 2.2; hierarchical softmax, 2.1; sub-sampling, 2.3). Where they are unspecific or differ, the
settings are those of word2vec.c 0.1c, whose option names are given.

The objective, for an input vector h, an observed word o and noise words n_1 ... n_k:

    L = -log sigma(u_o . h) - sum_i log sigma(-u_{n_i} . h)                                   (2013b, equation 4)
    L = -sum_j log sigma(s_j u_{n_j} . h),   s_j = +1 where the bit of the code is 0, else -1   (2013b, equation 3)

Skip-gram: h is the input vector of a centre word, o a context word near it. CBOW: h is the mean of the input vectors of
the context words, o the centre. The radius of the window is drawn for each centre, uniformly from 1 to `window`, so
that near words have more weight.

Word2Vec is not trained by the loop: a text of a billion words has a billion updates, each of a few rows. The arithmetic
is in `nn/word_update.py`, the order in `training/word2vec_kernel.py`, the run in `training/word2vec_loop.py`.

Departures: `updates: shared` (see there); the tree of hierarchical softmax has the longest code for `</s>`, which is
never a target; noise is drawn from the exact distribution, not from a table of 1e8 entries; sigma is computed, not
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
    """Settings of Word2Vec; option names of word2vec.c in brackets."""

    kind: Literal["word2vec"] = "word2vec"
    architecture: Literal["skipgram", "cbow"] = "skipgram"
    """Skip-gram or CBOW, see above (-cbow)."""
    dim: int = Field(default=100, ge=1)
    """Width of the vectors (-size)."""
    window: int = Field(default=5, ge=1)
    """Largest radius of the window (-window)."""
    negatives: int = Field(default=5, ge=0)
    """k, number of noise words for each observed word; 5 to 20 for small texts, 2 to 5 for large ones (-negative)."""
    hierarchical: bool = False
    """Whether to use hierarchical softmax, instead of or in addition to negatives (-hs)."""
    updates: Literal["shared", "exact"] = "shared"
    """For skip-gram. `shared`: all words of a window use the same noise words and the values before the update (Ji et
    al. 2016), 2 to 3 times as fast; `exact`: one pair after the other with its own noise, as in word2vec.c."""
    divide_error: bool = False
    """For CBOW: whether to divide the error by the number of averaged words (the true gradient; not in word2vec.c)."""
    sample: float = Field(default=1e-3, ge=0)
    """s: occurrences of words of relative frequency f > s are sub-sampled (-sample); 0: none. Paper: around 1e-5."""
    noise_exponent: float = 0.75
    """Noise words are drawn by counts to this power (2013b, section 2.2)."""
    min_count: int = Field(default=5, ge=1)
    """Minimum count of a word; rarer ones are removed from the text (-min-count)."""
    max_words: int = Field(default=10_000_000, ge=2)
    """Maximum number of different words while counting, a hundred bytes or more each. word2vec.c: 21 million."""
    phrases: tuple[float, ...] = ()
    """Descending thresholds of passes that join words into phrases, such as [200, 100] (word2phrase -threshold)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Word2VecConfig":
        if not self.negatives and not self.hierarchical:
            raise ValueError("negatives 0 without hierarchical trains nothing; set one of them")
        return self


@final
class Word2Vec(nn.Module):
    """The two (or three) matrices of Word2Vec with the words of their rows.

    Args:
        config: settings.
        vocabulary: words with their counts.
    """

    def __init__(self, config: Word2VecConfig, vocabulary: WordCounts) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.words, self.counts = list(vocabulary.words), vocabulary.counts.tolist()
        self._places = {word: place for place, word in enumerate(self.words)}
        num = len(self.words)
        self.inputs = _rows(num, config.dim)
        """`word dim`: the word vectors (syn0)."""
        self.outputs = _rows(num, config.dim) if config.negatives else None
        """`word dim`: output vectors of negative sampling (syn1neg)."""
        self.inner = _rows(num - 1, config.dim) if config.hierarchical else None
        """`node dim`: output vectors of the tree (syn1)."""

    @property
    def vectors(self) -> Float[Tensor, "word dim"]:
        """Vectors of all words, in the order of `words`."""
        return self.inputs.detach()

    def vector(self, word: str) -> Float[Tensor, " dim"]:
        """Return the vector of a word.

        Raises:
            ValueError: if the word has no vector; names words of similar spelling.
        """
        if word not in self._places:
            near = difflib.get_close_matches(word, self.words, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{len(self.words):,} words are known"
            raise ValueError(
                f"no vector for {word!r}, which occurs fewer than {self.config.min_count} times in the text; {hint}"
            )
        return self.vectors[self._places[word]]

    def start(self, seed: int) -> None:
        """Initialise in place: inputs uniform in +-0.5 / dim, outputs zero (word2vec.c)."""
        random = torch.Generator().manual_seed(derive(seed, "word2vec"))
        with torch.no_grad():
            drawn = torch.rand(self.inputs.shape, generator=random)
            self.inputs.copy_((drawn - 0.5) / self.config.dim)
            for matrix in (self.outputs, self.inner):
                if matrix is not None:
                    matrix.zero_()


def _rows(num: int, dim: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(num, dim), requires_grad=False)
