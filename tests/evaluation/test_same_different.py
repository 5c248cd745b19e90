"""Average precision against counting pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sori.evaluation.same_different import average_precision, same_different


def slow_average_precision(similarity, same):
    """Return the average precision by its definition: the mean precision at each same-word pair."""
    precisions = []
    for near, is_same in zip(similarity, same, strict=True):
        if is_same:
            retrieved = [other for other, value in zip(same, similarity, strict=True) if value >= near]
            precisions.append(sum(retrieved) / len(retrieved))
    return sum(precisions) / len(precisions)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_average_precision_is_that_of_the_definition(pairs):
    similarity = np.array([value for value, _ in pairs], dtype=float)
    same = np.array([is_same for _, is_same in pairs])
    if same.any():
        assert average_precision(similarity, same) == pytest.approx(slow_average_precision(similarity, same))


def test_separable_words_are_perfect_and_noise_is_at_chance():
    rng = np.random.default_rng(0)
    words = [f"w{n % 8}" for n in range(160)]
    centres = rng.standard_normal((8, 20))
    separable = np.stack([centres[n % 8] for n in range(160)]) + 0.01 * rng.standard_normal((160, 20))
    found = same_different(separable, words)
    assert found.average_precision == pytest.approx(1.0)
    assert (found.num_same, found.num_pairs) == (8 * 20 * 19 // 2, 160 * 159 // 2)
    noise = same_different(rng.standard_normal((160, 20)), words)
    assert noise.average_precision == pytest.approx(noise.chance, rel=0.1)


def test_length_does_not_matter():
    rng = np.random.default_rng(0)
    x, words = rng.standard_normal((30, 5)), [f"w{n % 4}" for n in range(30)]
    scaled = x * rng.uniform(0.1, 10, (30, 1))
    assert same_different(scaled, words).average_precision == pytest.approx(same_different(x, words).average_precision)


def test_only_pairs_of_known_different_speakers_count():
    x = np.eye(5)[[0, 0, 1, 0, 1]]
    words, speakers = ["a", "a", "b", "a", "b"], ["s", "s", "t", "t", None]
    found = same_different(x, words, speakers=speakers)
    # s-t pairs: (0, 2), (0, 3), (1, 2), (1, 3)
    assert (found.num_same, found.num_pairs) == (2, 4)
    assert found.average_precision == 1.0


def test_words_that_occur_once_are_refused():
    with pytest.raises(ValueError, match="got 0 same-word pairs of 3"):
        same_different(np.eye(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match="two different speakers"):
        same_different(np.eye(3), ["a", "a", "c"], speakers=["s", "s", "s"])
