import re

import pytest

from sori.synth import sentences
from sori.synth.sentences import GRAMMAR


def test_sentences_differ_and_depend_on_the_seed_only():
    some = sentences(500, seed=1)
    assert len(set(some)) == 500
    assert some == sentences(500, seed=1)
    assert some[:20] != sentences(20, seed=2)


def test_sentences_to_avoid_are_not_generated():
    avoid = frozenset(sentences(300, seed=1))
    assert avoid.isdisjoint(sentences(300, seed=1, avoid=avoid))


def test_sentences_are_plain_text_over_several_hundred_words():
    some = sentences(2000, seed=0)
    assert all(re.fullmatch(r"[A-Z][A-Za-z' ]+", sentence) for sentence in some)
    assert len({word for sentence in some for word in sentence.lower().split()}) > 450


@pytest.mark.parametrize("symbol", sorted(GRAMMAR))
def test_every_symbol_is_used_and_every_word_is_listed_once(symbol):
    options = GRAMMAR[symbol]
    used = {name for texts in GRAMMAR.values() for text in texts for name in re.findall(r"\{(\w+)\}", text)}
    assert symbol in used | {"sentence"}
    assert used <= set(GRAMMAR)
    plain = [option for option in options if "{" not in option]
    assert len(plain) == len(set(plain))
