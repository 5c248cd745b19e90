"""Word vector arithmetic."""

import numpy as np
import pytest

from sori.embeddings.expressions import Term, evaluate, parse
from sori.embeddings.space import WordSpace

WORDS = ["king", "man", "woman", "queen", "new", "york", "new_york", "mother-in-law", "-lish", "don't"]
SPACE = WordSpace(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32))


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("king - man + woman", "+king -man +woman"),
        ("king", "+king"),
        ("-man +king", "-man +king"),
        ("- - man", "+man"),
        ("new york - king", "+new +york -king"),
        ('"new york" - king', "+new_york -king"),
        ("\N{LEFT DOUBLE QUOTATION MARK}new york\N{RIGHT DOUBLE QUOTATION MARK}", "+new_york"),
        ("king-man+woman", "+king -man +woman"),
        ("- king-man", "-king -man"),
        ("king \N{MINUS SIGN} man", "+king -man"),
        ("mother-in-law - man", "+mother-in-law -man"),
        ('-lish - "-lish"', "+-lish --lish"),
        ("don't", "+don't"),
    ],
)
def test_terms(expression, terms):
    expected = [Term(1 if term[0] == "+" else -1, term[1:]) for term in terms.split()]
    assert parse(expression, SPACE) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("king - mann", "no vector of the word 'mann'; did you mean man"),
        ("king -", "expected a word after the sign"),
        ("  ", "expected a word"),
        ('"new york', "quotation marks in pairs, got 1"),
        ("king - king", "gives a zero vector"),
        ("king-mann", "'king-mann'"),
    ],
)
def test_invalid_expressions_are_refused(expression, message):
    with pytest.raises(ValueError, match=message):
        evaluate(SPACE, expression)


def test_the_sum_is_of_unit_vectors_and_excludes_its_own_words():
    result = evaluate(SPACE, "king - man + woman", number=3)
    rows = SPACE.vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    total = rows[0] - rows[1] + rows[2]
    cosines = rows @ total / np.linalg.norm(total)
    expected = sorted(range(3, len(WORDS)), key=lambda n: -cosines[n])[:3]
    assert [one.word for one in result.nearest] == [WORDS[n] for n in expected]
    assert [one.cosine for one in result.nearest] == pytest.approx([cosines[n] for n in expected], abs=1e-6)


@pytest.mark.foreign
def test_results_equal_those_of_gensim():
    keyed = pytest.importorskip("gensim.models.keyedvectors").KeyedVectors(vector_size=5)
    keyed.add_vectors(WORDS, SPACE.vectors)
    theirs = keyed.most_similar(positive=["king", "woman"], negative=["man"], topn=4)
    found = evaluate(SPACE, "king - man + woman", number=4).nearest
    assert [one.word for one in found] == [word for word, _ in theirs]
    assert [one.cosine for one in found] == pytest.approx([cosine for _, cosine in theirs], abs=1e-6)
