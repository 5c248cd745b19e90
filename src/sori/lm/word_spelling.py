"""A model of how words are spelt, for words that are not in the lexicon.

Source: Bisani and Ney (2005), "Open Vocabulary Speech Recognition with Flat Hybrid Models": the probability of an
unknown word is that of <unk> times that of its spelling by an n-gram of letters, which is estimated from the lexicon.
"""

from collections.abc import Collection

import numpy as np

from sori.lm.kneser_ney import estimate
from sori.lm.ngram import NgramModel
from sori.lm.ngram_counts import BOS, EOS, SPECIAL_WORDS, Tokens

ORDER = 5
"""Longest n-grams of symbols."""


def spelling_model(words: Collection[tuple[int, ...]]) -> NgramModel:
    """Estimate a symbol n-gram from words, each counted once, because unknown words resemble the rare ones.

    Its words are the numbers of the symbols as text; symbols that occur in no word have the probability of <unk>.

    Args:
        words: classes of the symbols of each word; at least one word, none empty.
    """
    seen = sorted({symbol for word in words for symbol in word})
    number = {symbol: place for place, symbol in enumerate(seen, len(SPECIAL_WORDS))}
    numbers = np.array([one for word in words for one in (BOS, *(number[symbol] for symbol in word), EOS)], np.int32)
    names = (*SPECIAL_WORDS, *map(str, seen))
    return estimate(Tokens(numbers, names, np.bincount(numbers, minlength=len(names))), order=ORDER)
