"""Tests of the random draws of Word2Vec and their frequencies."""

import numpy as np
import pytest
from scipy.stats import chisquare

from sori.nn.word_draws import STEP, draw, draw_sentence, keep_thresholds, noise_probabilities, noise_table, noise_word


def numbers(count, seed=1):
    with np.errstate(over="ignore"):
        return [np.uint64(draw(np.uint64(seed) + STEP * np.uint64(n))) for n in range(1, count + 1)]


def test_the_stream_is_splitmix64():
    # Sebastiano Vigna's splitmix64.c from state 1234567
    assert numbers(3, seed=1234567) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("exponent", [0.75, 0.0, 1.0])
def test_noise_follows_the_power_of_counts(exponent):
    counts = np.array([900, 500, 200, 100, 50, 20, 20, 10])
    probs = noise_probabilities(counts, exponent)
    plain = counts**exponent / (counts**exponent).sum()
    assert probs[0] == 0
    assert probs[1:] == pytest.approx(plain[1:] + plain[0] / 7)
    table = noise_table(probs)
    draws = [noise_word(table.thresholds.ctypes.data, table.aliases.ctypes.data, 8, n) for n in numbers(40_000)]
    seen = np.bincount(draws, minlength=8)
    assert seen[0] == 0
    assert chisquare(seen[1:], 40_000 * probs[1:]).pvalue > 1e-3


def test_the_table_is_the_distribution():
    random = np.random.default_rng(0)
    probs = random.random(1000) ** 4
    probs /= probs.sum()
    table = noise_table(probs)
    kept = (table.thresholds.astype(np.float64) + 1) / 2**32
    found = np.bincount(table.aliases, weights=1 - kept, minlength=1000) + kept
    assert found / 1000 == pytest.approx(probs, abs=1e-9)


def test_frequent_words_are_sub_sampled():
    counts = np.array([0, 100_000, 1000, 999, 898_001])
    kept = keep_thresholds(counts, 1e-3) / 2**32
    assert kept[2:4] == pytest.approx([1, 1])  # f <= s
    assert kept[1] == pytest.approx(0.11)  # f = 100 s: sqrt(1/100) + 1/100
    assert (keep_thresholds(counts, 0.0) == 0xFFFFFFFF).all()
    tokens = np.full(20_000, 1, dtype=np.int32)
    words, radii = np.empty(20_000, np.int32), np.empty(20_000, np.int32)
    _, found, _ = draw_sentence(tokens, 0, keep_thresholds(counts, 1e-3), 5, np.uint64(3), words, radii)
    assert found / 20_000 == pytest.approx(0.11, abs=0.01)


def test_radii_are_uniform_and_sentences_end():
    tokens = np.array([1, 2, 0, 0, 3] + [4] * 30_000, dtype=np.int32)
    keep = np.full(5, 0xFFFFFFFF, dtype=np.uint32)
    words, radii = np.empty(20_000, np.int32), np.empty(20_000, np.int32)
    here, counter, lengths = 0, np.uint64(0), []
    while here < len(tokens):
        here, found, counter = draw_sentence(tokens, here, keep, 4, counter, words, radii)
        counter = np.uint64(counter)
        lengths.append(found)
        if found == 20_000:
            assert chisquare(np.bincount(radii, minlength=5)[1:]).pvalue > 1e-3
    assert lengths == [2, 0, 20_000, 10_001]
