"""Random draws of Word2Vec: sub-sampling, window size and noise words.

Random numbers come from splitmix64 (Steele et al. 2014), whose state is a counter: a stream is a pure function of its
start. The high and the low half of a number are used for different decisions.
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
    """Tables for drawing words from a distribution with one random number each (alias method, Vose 1991)."""

    thresholds: NDArray[np.uint32]
    """Threshold of each word; a number above it selects the alias."""
    aliases: NDArray[np.int32]


def keep_thresholds(counts: NDArray[np.int64], sample: float) -> NDArray[np.uint32]:
    """Return for each word the largest 32-bit random number at which an occurrence is kept (sub-sampling).

    The probability is min(1, (sqrt(f/s) + 1) s/f) with the word's relative frequency f and s = `sample`, as in
    word2vec.c. The paper (2013b, section 2.3) has sqrt(s/f).

    Args:
        counts: count of each word.
        sample: s; 0 keeps everything.
    """
    frequency = counts / max(1, int(counts.sum()))
    if sample <= 0:
        return np.full(len(counts), ALWAYS, dtype=np.uint32)
    ratio = np.divide(sample, frequency, out=np.full(len(counts), np.inf), where=frequency > 0)
    with np.errstate(invalid="ignore"):
        kept = np.where(np.isfinite(ratio), np.sqrt(ratio) + ratio, 1.0)
    return np.minimum(kept * 2.0**32, ALWAYS).astype(np.uint32)


def noise_probabilities(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    """Return the probability of every word as noise: counts to a power, normalised.

    The probability of word 0, the end of sentences, is divided equally among the others. word2vec.c draws another word
    uniformly where it drew `</s>`, which is the same distribution.

    Args:
        counts: count of each word, `</s>` first.
        exponent: 0.75 in the paper (2013b, section 2.2).
    """
    probs = np.where(counts > 0, np.power(counts.astype(np.float64), exponent, where=counts > 0, out=None), 0.0)
    probs /= probs.sum()
    probs[1:] += probs[0] / max(1, len(probs) - 1)
    probs[0] = 0
    return probs


def noise_table(probs: NDArray[np.float64]) -> Noise:
    """Return the tables for drawing from a distribution; exact to 2^-32."""
    thresholds, aliases = _alias(np.ascontiguousarray(probs * len(probs), dtype=np.float64))
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
    """Return the 64-bit random number of a counter; the next counter is `counter + STEP`."""
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
    """Read tokens up to the end of a sentence, sub-sample them, and draw a window for each kept word.

    A sentence ends after word 0, at the end of the tokens, or when `words` is full.

    Args:
        tokens: tokens of a text.
        begin: position to start from.
        keep: see `keep_thresholds`.
        window: largest radius.
        counter: counter of the random stream; one step for each word read.
        words: output, the kept words.
        radii: output, the radius of each, uniform on 1 to `window`.

    Returns:
        Position after the sentence, number of kept words, and the counter.
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
    """Return the noise word for a random number; the tables are given by address."""
    word = np.int64(((number & _LOW) * np.uint64(num_words)) >> _HALF)
    kept = np.uint32(number >> _HALF) <= uint32_at(thresholds + 4 * word)
    return word if kept else np.int64(int32_at(aliases + 4 * word))
