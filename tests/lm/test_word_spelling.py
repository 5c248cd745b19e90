import math

import pytest
from tests.reference import kneser_ney

from sori.lm.word_spelling import ORDER, spelling_model

WORDS = ["nyumba", "nyama", "mtu", "watu", "kitabu", "vitabu", "kiti", "viti", "a"]


def classes(word):
    return tuple(ord(letter) - 90 for letter in word)


def test_is_the_kneser_ney_model_of_the_letters_of_each_word():
    model = spelling_model({classes(word): word for word in WORDS})
    expected = kneser_ney.estimate([list(word) for word in WORDS], ORDER)
    for word in [*WORDS, "watoto", "n", "xq"]:
        letters = [letter if (letter,) in expected else "<unk>" for letter in word]
        history, total = ["<s>"], 0.0
        for letter in [*letters, "</s>"]:
            total += kneser_ney.log10_prob(expected, history, letter) * math.log(10)
            history.append(letter)
        assert model.log_prob(list(map(str, classes(word)))) == pytest.approx(total, abs=1e-3)


def test_words_like_those_of_the_lexicon_are_likelier():
    model = spelling_model([classes(word) for word in WORDS])
    assert model.log_prob(list(map(str, classes("kitu")))) > model.log_prob(list(map(str, classes("uukm"))))


def test_the_shortest_lexicon():
    model = spelling_model([(7,)])
    assert math.isfinite(model.log_prob(["7"]))
    assert math.isfinite(model.log_prob(["8", "9"]))
