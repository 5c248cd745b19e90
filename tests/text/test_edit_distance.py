import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.edits import edit_distance

from sori.text.edit_distance import align, count

TOKENS = st.lists(st.sampled_from(["a", "b", "각", "e\u0301", "\0"]), max_size=7)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_steps_cover_both_texts_with_the_fewest_edits(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    aligned = align(references, hypotheses)
    counts = count(references, hypotheses)
    for reference, hypothesis, steps, counted in zip(references, hypotheses, aligned, counts, strict=True):
        assert [step.reference for step in steps if step.kind != "extra"] == reference
        assert [step.hypothesis for step in steps if step.kind != "missing"] == hypothesis
        assert all((step.kind == "right") == (step.reference == step.hypothesis) for step in steps)
        assert sum(step.kind != "right" for step in steps) == edit_distance(reference, hypothesis)
        assert all(
            counted[kind] == sum(s.kind == kind for s in steps) for kind in ("right", "wrong", "extra", "missing")
        )


@pytest.mark.parametrize(
    ("reference", "hypothesis", "kinds"),
    [
        ("a b c", "a c", ["right", "missing", "right"]),
        ("a c", "a b c", ["right", "extra", "right"]),
        ("a b", "a c", ["right", "wrong"]),
        ("", "a", ["extra"]),
        ("a", "", ["missing"]),
        ("", "", []),
    ],
)
def test_kinds(reference, hypothesis, kinds):
    assert [step.kind for step in align([reference.split()], [hypothesis.split()])[0]] == kinds
