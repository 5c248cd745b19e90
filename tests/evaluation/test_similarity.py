"""Rank correlation against scipy and constructed vectors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.evaluation.similarity import RatedPair, by_folded, ranks, read_rated_pairs, similarity, spearman


def test_constructed_vectors_agree_with_ratings():
    """Word n is at angle n: the larger the angle to word 0, the less similar."""
    vectors = {f"w{n}": np.array([math.cos(0.1 * n), math.sin(0.1 * n)]) for n in range(10)}
    rated = [RatedPair("w0", f"w{n}", 10.0 - n) for n in range(1, 10)]
    assert similarity(vectors, rated).correlation == pytest.approx(1.0)
    assert similarity(vectors, [one._replace(score=-one.score) for one in rated]).correlation == pytest.approx(-1.0)
    found = similarity(vectors, [*rated, RatedPair("w0", "unknown", 5.0)])
    assert (found.num_known, found.num_pairs) == (9, 10)
    assert found.correlation == pytest.approx(1.0)


def test_equal_values_share_their_mean_rank():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.foreign
@settings(deadline=None)  # the first call imports scipy
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=30))
def test_correlation_is_that_of_scipy(pairs):
    stats = pytest.importorskip("scipy.stats")
    x, y = np.array(pairs, dtype=float).T
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)


def test_of_words_that_differ_in_case_the_first_counts():
    found = by_folded(["Us", "US", "we"], np.array([[1.0], [2.0], [3.0]]))
    assert {word: row.tolist() for word, row in found.items()} == {"us": [1.0], "we": [3.0]}


def test_the_interval_has_its_nominal_coverage():
    """Lists of 40 pairs drawn from normals correlated by 0.6, whose ranks correlate by 6 / pi asin(0.3)."""
    rng, truth, held = np.random.default_rng(0), 6 / math.pi * math.asin(0.3), 0
    for _ in range(400):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        vectors = {"q": np.array([1.0, 0.0])}
        angles = np.arccos(np.tanh(x))  # cosines in the order of x
        vectors |= {f"w{n}": np.array([math.cos(angle), math.sin(angle)]) for n, angle in enumerate(angles)}
        found = similarity(vectors, [RatedPair("q", f"w{n}", score) for n, score in enumerate(y.tolist())])
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_too_few_pairs_give_nan():
    assert math.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert math.isnan(similarity({}, [RatedPair("a", "b", 1.0)]).correlation)


def test_lists_are_read_and_other_files_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("Tiger\tcat\t7.35\ntiger tiger 10\n")
    assert read_rated_pairs(path) == [RatedPair("tiger", "cat", 7.35), RatedPair("tiger", "tiger", 10.0)]
    path.write_text("Word 1,Word 2,Human (mean)\n")
    with pytest.raises(ValueError, match="line 1: expected two words and a score"):
        read_rated_pairs(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_rated_pairs(tmp_path / "none.txt")


def test_the_published_lists_can_be_read(data_dir):
    sizes = {path.name: len(read_rated_pairs(path)) for path in (data_dir / "word-similarity").glob("EN-*.txt")}
    assert sizes["EN-MEN-TR-3k.txt"] == 3000
    assert sizes["EN-RG-65.txt"] == 65
    assert len(sizes) == 10
