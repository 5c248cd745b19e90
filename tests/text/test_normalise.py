# ruff: noqa: RUF001 - letters that look alike are what is tested
"""What normalisation does by script, and that it loses nothing, over all of Unicode and in 59 languages."""

import csv
import unicodedata

import pytest
import regex

from sori.text import normalise_1
from sori.text.character_changes import changed_characters
from sori.text.normalise import casing_of_language
from sori.text.vocabulary import BLANK, Vocabulary

LOWER = Vocabulary(symbols=(BLANK,))
TURKIC = Vocabulary(symbols=(BLANK,), casing="turkic")
KEEP = Vocabulary(symbols=(BLANK,), case="keep", punctuation="keep")
EVERYTHING = "".join(map(chr, range(0x110000)))
ALIKE = regex.findall(r"[\p{L}\p{M}\p{N}\p{Co}&&[\p{Han}\p{Hangul}\p{Tangut}\p{Co}]]", EVERYTHING, regex.V1)
LETTERS = [*regex.findall(r"[\p{L}\p{M}\p{N}--[\p{Han}\p{Hangul}\p{Tangut}]]", EVERYTHING, regex.V1), *ALIKE[::29]]
OTHERS = regex.findall(r"[^\p{L}\p{N}\p{Co}\p{Cn}\p{Cs}]", EVERYTHING)


@pytest.mark.parametrize("rules", [LOWER, TURKIC, KEEP], ids=["lower", "turkic", "keep"])
@pytest.mark.parametrize("letter", ["a", "\u1000"], ids=["latin", "burmese"])
def test_every_assigned_letter_mark_and_figure_survives_inside_a_word(rules, letter):
    kept = [letter + c + letter for c in LETTERS]
    expected = rules.change_case(unicodedata.normalize("NFC", " ".join(kept))).split(" ")
    found = rules.normalise(" ".join(kept)).split(" ")
    assert [(text, ascii(one)) for text, one, right in zip(kept, found, expected, strict=True) if one != right] == []


@pytest.mark.parametrize(("place", "step"), [("a{}a", 1), ("{} a", 5), ("\u1000{}\u1000", 5), ("1{} -{}", 5)])
def test_every_assigned_character_survives_or_is_named(place, step):
    for character in [*OTHERS[::step], *LETTERS[::97]]:
        text = place.format(*[character] * place.count("{}"))
        before = unicodedata.normalize("NFD", LOWER.change_case(unicodedata.normalize("NFC", text)))
        after = unicodedata.normalize("NFD", LOWER.normalise(text))
        missing = {c for c in before if not c.isspace() and before.count(c) > after.count(c)}
        named = {change.character: change.count for change in changed_characters([text], LOWER)}
        assert named == {c: before.count(c) - after.count(c) for c in missing}, ascii(text)


@pytest.mark.parametrize("rules", [LOWER, KEEP], ids=["lower", "keep"])
def test_all_of_unicode_comes_back_from_a_vocabulary(rules):
    few = [*OTHERS, *LETTERS]
    text = " ".join("".join(few[first : first + 50]) for first in range(0, len(few), 50))
    fields = rules.model_dump(exclude={"symbols"})
    vocabulary = Vocabulary.fit([text], **fields)
    normal = vocabulary.normalise(text)
    assert vocabulary.decode(vocabulary.encode(text)) == normal == vocabulary.normalise(normal)


def sentences(data_dir):
    for table in sorted(data_dir.glob("common-voice-mini/*/validated.tsv")):
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield row["locale"], row["sentence"]


def test_a_sentence_of_each_language_comes_back(data_dir):
    found = list(sentences(data_dir))
    assert len({language for language, _ in found}) == 59
    for language, text in found:
        vocabulary = Vocabulary.fit([text], casing=casing_of_language(language))
        normal = vocabulary.normalise(text)
        assert vocabulary.decode(vocabulary.encode(text)) == normal
        letters = unicodedata.normalize("NFC", vocabulary.change_case(unicodedata.normalize("NFC", text)))
        assert regex.findall(r"[\p{L}\p{M}\p{N}]", normal) == regex.findall(r"[\p{L}\p{M}\p{N}]", letters)
        assert not any(change.is_letter for change in changed_characters([text], vocabulary))
        points = Vocabulary(symbols=(BLANK, "|", *sorted(set(unicodedata.normalize("NFD", normal)) - {" "})))
        assert points.decode(points.encode(normal)) == points.normalise(normal)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\u1019\u103c\u1014\u103a\u1019\u102c\u1005\u102c\u104b",
            "\u1019\u103c\u1014\u103a\u1019\u102c\u1005\u102c",
        ),  # Burmese
        ("\u1081\u1083\u1088", "\u1081\u1083\u1088"),  # Shan: a tone that is a spacing mark
        ("\u1041 \u104f \u104c", "\u1041 \u104f \u104c"),  # Burmese words of one sign
        ("\u1a20\u1a63", "\u1a20\u1a63"),  # Tai Tham
        ("\U00011700\U00011720", "\U00011700\U00011720"),  # Ahom
        (
            "\u1781\u17d2\u1798\u17c2\u179a\u200b\u1797\u17b6\u179f\u17b6",
            "\u1781\u17d2\u1798\u17c2\u179a \u1797\u17b6\u179f\u17b6",
        ),
        ("ภาษา\u200bไทย", "ภาษา ไทย"),
        ("\u0e99\u0ec9\u0eb3 \u0eb3", "\u0e99\u0ec9\u0eb3 \u0eb3"),  # Lao: a vowel that would join the space before it
        ("zero\u200bwidth\u200c\u200d\ufeff\u00ad", "zerowidth"),
        ("نمی\u200cخواهم ۲۰\u200cساله", "نمی\u200cخواهم ۲۰\u200cساله"),
        ("\u0995\u09cd\u200d\u09b7", "\u0995\u09cd\u200d\u09b7"),  # Bengali
        ("Auf\u200clage", "auflage"),
        ("ᠪ\u180eᠠ ᠪ᠊ᠠ", "ᠪ\u180eᠠ ᠪᠠ"),  # Mongolian
        ("Ինչո՞ւ, բարեւ՜", "ինչու բարեւ"),  # Armenian
        ("col·legi a·", "col·legi a"),
        ("卡尔·马克思", "卡尔 马克思"),
        ('צה"ל ג׳ירפה "סנדוויץ׳"', "צה״ל ג׳ירפה סנדוויץ׳"),
        ("a\ue123b", "a\ue123b"),  # private use
        ("ka\ua789 \u02e5\u02e9", "ka\ua789 \u02e5\u02e9"),  # tone letters
        ("a’\u0301b", "a'\u0301b"),
        ("ΟΔΟΣ", "οδος"),
    ],
)
def test_scripts(text, expected):
    expected = unicodedata.normalize("NFC", expected)
    assert LOWER.normalise(text) == expected
    assert LOWER.normalise(expected) == expected


def test_turkish_case():
    assert TURKIC.normalise("IŞIK İKİ I\u0307ki") == "ışık iki iki"
    upper = Vocabulary(symbols=(BLANK,), case="upper", casing="turkic")
    assert upper.normalise("ışık iki") == "IŞIK İKİ"
    assert LOWER.normalise("IŞIK") == "işik"
    assert [casing_of_language(code) for code in ("tur", "tr-TR", "az_AZ", "azj")] == ["turkic"] * 4
    assert [casing_of_language(code) for code in (None, "", "eng", "tru", "trv", "kur")] == ["root"] * 6


def test_the_first_version_of_the_rules_is_kept_for_the_models_that_learnt_it(tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text('{"unit": "jamo", "case": "lower", "punctuation": "drop", "symbols": ["<blank>", "|", "a"]}')
    old = Vocabulary.load(path)
    assert old.normalisation == 1
    assert old.normalise("\u1005\u102c col·legi") == "\u1005 col legi"
    assert old.normalise("A’b") == normalise_1.normalise("A’b", case="lower", punctuation="drop") == "a'b"
    old.save(path)
    assert Vocabulary.load(path) == old
    new = Vocabulary.fit(["a"])
    new.save(path)
    assert Vocabulary.load(path).normalisation == new.normalisation == 2
