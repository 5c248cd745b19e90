"""Nearest neighbours by cosine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.embeddings.space import WordSpace, unit


def space(words, rows, counts=None):
    return WordSpace(words, np.array(rows, dtype=np.float32), counts)


def random_space(num, dim, seed=0):
    rng = np.random.default_rng(seed)
    return WordSpace([f"w{n}" for n in range(num)], rng.normal(size=(num, dim)).astype(np.float32))


def test_nearest_words_equal_a_slow_reference():
    many, query = random_space(300, 7), np.random.default_rng(1).normal(size=7)
    rows = many.vectors.astype(np.float64)
    cosines = [row @ query / np.linalg.norm(row) / np.linalg.norm(query) for row in rows]
    expected = [n for n in sorted(range(300), key=lambda n: -cosines[n]) if n not in (3, 50)][:20]
    found = many.nearest(query, number=20, leave_out=[3, 50])
    assert [one.word for one in found] == [f"w{n}" for n in expected]
    assert [one.cosine for one in found] == pytest.approx([cosines[n] for n in expected], abs=1e-6)


def test_ties_keep_their_order_and_zero_vectors_have_cosine_zero():
    found = space(["a", "b", "c", "d"], [[1, 0], [2, 0], [0, 0], [3, 0]], [4, 3, 2, 1]).nearest(np.array([9.0, 0.0]))
    assert [(one.word, one.cosine, one.occurrences) for one in found] == [
        ("a", 1, 4),
        ("b", 1, 3),
        ("d", 1, 1),
        ("c", 0, 2),
    ]


def test_vectors_whose_squares_overflow_are_normalised():
    assert np.linalg.norm(unit(np.array([[1e30, 1e30], [1e-30, 0]], dtype=np.float32)), axis=1) == pytest.approx([1, 1])


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 14))
def test_the_most_frequent_words_are_kept_in_order(counts, number):
    made = space([f"w{n}" for n in range(len(counts))], [[n, 1] for n in range(len(counts))], counts).most_frequent(
        number
    )
    expected = sorted(range(len(counts)), key=lambda n: -counts[n])[:number]
    assert made.words == [f"w{n}" for n in expected]
    assert made.counts == [counts[n] for n in expected]
    assert made.vectors[:, 0].tolist() == expected


def test_the_message_for_an_unknown_word_names_similar_spellings():
    some = space(["king", "queen", "Paris"], [[1, 0], [0, 1], [1, 1]])
    with pytest.raises(ValueError, match="'quen'; did you mean queen"):
        some.row("quen")
    with pytest.raises(ValueError, match="did you mean Paris"):
        some.row("PARIS")
    with pytest.raises(ValueError, match="3 words have vectors"):
        some.row("xylophone")


@pytest.mark.parametrize(
    ("words", "rows", "counts", "message"),
    [
        (["a", "a"], [[1.0], [2.0]], None, "'a' occurs twice"),
        (["a"], [[1.0], [2.0]], None, "each of 1 words"),
        (["a", "b"], [[1.0], [np.nan]], None, "the vector of 'b' contains NaN"),
        (["a"], [[1.0]], [1, 2], "2 counts"),
        (["a", ""], [[1.0], [1.0]], None, "word 2 is empty"),
    ],
)
def test_invalid_words_and_vectors_are_refused(words, rows, counts, message):
    with pytest.raises(ValueError, match=message):
        space(words, rows, counts)
