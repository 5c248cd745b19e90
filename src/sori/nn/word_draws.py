"""What Word2Vec draws: which words are left out, how far a window reaches, which words are noise.

Numbers come from splitmix64 (Steele et al. 2014), whose state is a counter: a stream is a pure function of where it
begins. The high and the low half of a draw decide different things.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit
from sori.nn.lanes import int32_at, uint32_at

_compiled = jit(error_model="numpy")
STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
ALWAYS = 0xFFFFFFFF


class Noise(NamedTuple):
    """A distribution over words, drawn from with one number each (Vose 1991, the alias method)."""

    thresholds: NDArray[np.uint32]
    """Of each word: above it, its alias is meant."""
    aliases: NDArray[np.int32]


def keep_thresholds(counts: NDArray[np.int64], sample: float) -> NDArray[np.uint32]:
    """Up to which 32-bit number an occurrence of a word is kept.

    Probability min(1, (sqrt(f/s) + 1) s/f) with f the word's share and s = `sample`: word2vec.c's. The paper (2013b,
    section 2.3) has sqrt(s/f).

    Args:
        counts: of the words.
        sample: 0 keeps everything.
    """
    share = counts / max(1, int(counts.sum()))
    if sample <= 0:
        return np.full(len(counts), ALWAYS, dtype=np.uint32)
    ratio = np.divide(sample, share, out=np.full(len(counts), np.inf), where=share > 0)
    with np.errstate(invalid="ignore"):
        kept = np.where(np.isfinite(ratio), np.sqrt(ratio) + ratio, 1.0)
    return np.minimum(kept * 2.0**32, ALWAYS).astype(np.uint32)


def noise_shares(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    """Probability of every word as noise: counts to a power; that of word 0, the end of sentences, goes to all others.

    word2vec.c draws another word, uniformly, where the table says `</s>`: the same distribution.

    Args:
        counts: of the words, that of `</s>` first.
        exponent: 0.75 in the paper (2013b, section 2.2).
    """
    shares = np.where(counts > 0, np.power(counts.astype(np.float64), exponent, where=counts > 0, out=None), 0.0)
    shares /= shares.sum()
    shares[1:] += shares[0] / max(1, len(shares) - 1)
    shares[0] = 0
    return shares


def noise_table(shares: NDArray[np.float64]) -> Noise:
    """The tables to draw from a distribution with; exact to 2^-32."""
    thresholds, aliases = _alias(np.ascontiguousarray(shares * len(shares), dtype=np.float64))
    return Noise(thresholds, aliases)


@no_type_check
@_compiled
def _alias(scaled: NDArray[np.float64]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    num = len(scaled)
    thresholds, aliases = np.full(num, ALWAYS, dtype=np.uint32), np.arange(num).astype(np.int32)
    small, large = np.empty(num, dtype=np.int32), np.empty(num, dtype=np.int32)
    num_small = num_large = 0
    for word in range(num):
        if scaled[word] < 1:
            small[num_small] = word
            num_small += 1
        else:
            large[num_large] = word
            num_large += 1
    while num_small and num_large:
        num_small -= 1
        less, more = small[num_small], large[num_large - 1]
        thresholds[less] = np.uint32(min(scaled[less] * 4294967296.0, 4294967295.0))
        aliases[less] = more
        scaled[more] -= 1 - scaled[less]
        if scaled[more] < 1:
            num_large -= 1
            small[num_small] = more
            num_small += 1
    return thresholds, aliases


@no_type_check
@_compiled
def draw(counter: int) -> int:
    """The 64-bit number that belongs to a counter; the next counter is `counter + STEP`."""
    z = (counter ^ (counter >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@no_type_check
@_compiled
def draw_sentence(
    tokens: NDArray[np.int32],
    begin: int,
    keep: NDArray[np.uint32],
    window: int,
    counter: int,
    words: NDArray[np.int32],
    radii: NDArray[np.int32],
) -> tuple[int, int, int]:
    """Read tokens up to the end of a sentence, leave some out, and draw the window of those that stay.

    A sentence ends after word 0, at the end of the tokens, or when `words` is full.

    Args:
        tokens: of a text.
        begin: where to go on.
        keep: see `keep_thresholds`.
        window: largest radius.
        counter: of the stream; one step for each word read.
        words: room for those that stay.
        radii: room for the radius of each, uniform on 1 to `window`.

    Returns:
        Where to go on after it, how many words stay, and the counter.
    """
    found, here = 0, begin
    while here < len(tokens) and found < len(words):
        word = tokens[here]
        here += 1
        if word == 0:
            break
        counter += STEP
        number = draw(counter)
        if np.uint32(number & _LOW) <= keep[word]:
            words[found] = word
            radii[found] = 1 + np.int32(((number >> _HALF) * np.uint64(window)) >> _HALF)
            found += 1
    return here, found, counter


@no_type_check
@_compiled
def noise_word(thresholds: int, aliases: int, num_words: int, number: int) -> int:
    """The word of noise that a draw stands for; the tables by address."""
    word = np.int64(((number & _LOW) * np.uint64(num_words)) >> _HALF)
    kept = np.uint32(number >> _HALF) <= uint32_at(thresholds + 4 * word)
    return word if kept else np.int64(int32_at(aliases + 4 * word))
