# ruff: noqa: RUF001 - letters of many scripts
"""Vocabularies of public recognisers: code points, composed or not, and letters with some of their marks."""

import itertools
import unicodedata

import pytest

from sori.text.vocabulary import BLANK, Vocabulary

DEVANAGARI = [chr(c) for c in (*range(0x905, 0x93A), *range(0x93E, 0x94E), 0x902)]


def of(*symbols, **rules):
    return Vocabulary(symbols=(BLANK, "|", *symbols), unit="grapheme", **rules)


@pytest.mark.parametrize(
    ("symbols", "text"),
    [
        (DEVANAGARI, "हिन्दी भाषा"),
        (list("ภาษไทยนี้ำ"), "ภาษาไทย นี้ น้ำ"),
        (sorted(set("مُحَمَّدٌ") | {"ا"}), "مُحَمَّدٌ اَ"),
        (sorted(set(unicodedata.normalize("NFD", "tiếng việt đẹp lắm")) - {" "}), "tiếng việt đẹp lắm"),
        (sorted(set("tieêngvđplăm") | {"\u0301", "\u0323"}), "tiếng việt đẹp lắm"),
    ],
    ids=["hindi", "thai", "vocalised arabic", "vietnamese decomposed", "vietnamese with separate tones"],
)
def test_code_points_spell_every_letter(symbols, text):
    vocabulary = of(*symbols)
    assert vocabulary.unknown(text) == []
    assert vocabulary.decode(vocabulary.encode(text)) == vocabulary.normalise(text)


def test_the_fewest_symbols_are_used():
    assert of("e", "\u0301", "é").split("é") == ["é"]
    assert of("क", "ि", "कि").split("कि") == ["कि"]
    assert of("e", "ê", "\u0302", "\u0323").split("ệ") == ["ê", "\u0323"]


def test_what_cannot_be_spelled_stays_whole():
    assert of("e").unknown("é") == ["é"]
    assert of("क").split("कि") == ["कि"]
    assert of("|\u0301"[1:]).split("a") == ["a"]


def test_another_form_of_the_apostrophe_is_used():
    assert of(*"itso’").split("it's o‑k") == [*"it’s", "|", "o", "-", "k"]


def test_many_marks_take_no_time():
    zalgo = "a" + "".join(map(chr, itertools.chain(range(0x300, 0x330), range(0x300, 0x330))))
    assert of("a", "\u0301").split(zalgo * 20)
