# ruff: noqa: RUF001 - letters that look alike are what is tested
import json
import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.text.symbol_counts import count_symbols
from sori.text.vocabulary import BLANK, Vocabulary, graphemes

RULES = [
    Vocabulary(unit=unit, case=case, punctuation=punctuation, symbols=(BLANK,))
    for unit in ("grapheme", "jamo")
    for case in ("upper", "lower", "keep")
    for punctuation in ("drop", "keep")
] + [Vocabulary(normalisation=1, symbols=(BLANK,)), Vocabulary(casing="turkic", symbols=(BLANK,))]
SCRIPTS = {
    "korean": "".join(map(chr, range(0xAC00, 0xD7A4))) + "ㅋㅠ 각",
    "devanagari": "".join(map(chr, range(0x0900, 0x0980))) + "\u200c\u200d ",
    "arabic": "".join(map(chr, range(0x0620, 0x0660))) + "یکہ\u200c\u200f ،؟",
    "mboshi": "abdefghiklmnoprstuvwyzáéíóúέώωε\u0301\u0300\u0302 '-",
    "german": "abcdefghijklmnopqrstuvwxyzäöüßÄÖÜẞABC „“–-'’0123 .,?|\\<>",
}


def text_in(script):
    return st.text(alphabet=SCRIPTS[script], max_size=30)


@pytest.mark.parametrize(
    "rules", RULES, ids=lambda r: f"{r.unit}-{r.case}-{r.casing}-{r.punctuation}-{r.normalisation}"
)
@pytest.mark.parametrize("script", [*SCRIPTS, "any"])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_normalising_is_stable_and_encoding_loses_nothing(rules, script, data):
    text = data.draw(st.text(max_size=20) if script == "any" else text_in(script))
    normal = rules.normalise(text)
    assert rules.normalise(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal == " ".join(normal.split())
    symbols = rules.split(text)
    if symbols:
        vocabulary = Vocabulary.fit([text], **rules.model_dump(exclude={"symbols"}))
        ids = vocabulary.encode(text)
        assert 0 not in ids
        assert vocabulary.decode(ids) == normal


@settings(max_examples=50, deadline=None)
@given(text_in("korean"))
def test_jamo_are_code_points_and_never_syllables(text):
    for symbol in RULES[11].split(text):
        assert not any(0xAC00 <= ord(c) <= 0xD7A3 for c in symbol)


@settings(max_examples=50, deadline=None)
@given(text_in("german"))
def test_dropping_leaves_only_letters_figures_and_inner_marks(text):
    normal = Vocabulary(symbols=(BLANK,)).normalise(text)
    for word in normal.split():
        assert regex.fullmatch(r"[\p{L}\p{M}\p{N}]+(?:['-][\p{L}\p{M}\p{N}]+)*", word)


def test_known_cases():
    lower = Vocabulary(symbols=(BLANK,))
    assert lower.normalise("  „Weißenburg–Gunzenhausen“,\tsagt’s ʻ! ") == "weißenburg gunzenhausen sagt's ʻ"
    assert lower.normalise("WELL-KNOWN 'TIS DOGS' -x-") == "well-known tis dogs x"
    assert lower.normalise("e\u0301\ufeff1️⃣ 5€ 👍🏽 ok") == "é1\ufe0f\u20e3 5 ok"
    assert lower.normalise("نمی\u200cخواهم\u200f؟") == "نمی\u200cخواهم"
    assert lower.split("값 क्षि") == ["ᄀ", "ᅡ", "ᆹ", "|", *graphemes("क्षि")]
    syllables = Vocabulary(unit="grapheme", symbols=(BLANK,))
    assert syllables.split("값이") == ["값", "이"]
    assert Vocabulary(case="upper", symbols=(BLANK,)).normalise("Straße") == "STRASSE"
    keep = Vocabulary(case="keep", punctuation="keep", symbols=(BLANK,))
    assert keep.split(r"a|b \| <s>") == ["a", r"\|", "b", "|", "\\", r"\|", "|", "<", "s", ">"]


def test_fit_orders_symbols_and_ignores_how_often_they_come():
    vocabulary = Vocabulary.fit(["Ba ba", "C"])
    assert vocabulary.symbols == (BLANK, "|", "a", "b", "c")
    assert vocabulary == Vocabulary.fit(["c", "b a", "bbb"])
    assert len(vocabulary) == 5


def test_published_vocabulary_decodes_without_its_special_symbols():
    published = Vocabulary(case="upper", symbols=("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"))
    assert len(published) == 32
    assert published.decode([0, 1, 4, *published.encode("it's me"), 4, 2, 3]) == "IT'S ME"


def test_unknown_symbols_are_named():
    vocabulary = Vocabulary.fit(["abc"])
    assert vocabulary.unknown("cab ñandú") == ["|", "ñ", "n", "d", "ú"][1:]
    with pytest.raises(ValueError, match=r"U\+00F1 LATIN SMALL LETTER N WITH TILDE"):
        vocabulary.encode("ñ")


@pytest.mark.parametrize("texts", [[], ["", " \t"], ["?!", "..."]])
def test_fit_refuses_transcripts_without_letters(texts):
    with pytest.raises(ValueError, match="expected transcripts with letters"):
        Vocabulary.fit(texts)


def test_file_round_trip(tmp_path):
    vocabulary = Vocabulary.fit(["값이 क्षि \\ | ʻ"], punctuation="keep", case="keep")
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert "क्षि" in path.read_text(encoding="utf-8")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocabulary\.json is not readable as JSON"):
        Vocabulary.load(path)
    path.write_text(json.dumps({"symbols": [BLANK, "a", "a"]}), encoding="utf-8")
    with pytest.raises(ValueError, match="more than once: a"):
        Vocabulary.load(path)
    path.write_text(json.dumps({"symbols": ["a"]}), encoding="utf-8")
    with pytest.raises(ValueError, match="must be the blank"):
        Vocabulary.load(path)


def test_counts_carry_remarks():
    texts = ["ωba 7 " * 6, "ab يی", "cat ʼcat'cat ab"]  # the omega is Greek among Latin letters
    rows = {row.symbol: row for row in count_symbols(texts, Vocabulary.fit([*texts[:1], "|"]))}
    assert rows["a"].count == 11
    assert rows["a"].remarks == ()
    assert rows["ω"].remarks == ("GREEK letter in 6 LATIN words: should they be in one alphabet?",)
    assert rows["7"].remarks == ("figures: write numbers as they are spoken",)
    assert rows["ي"].remarks == ("not in the vocabulary", "rare", "looks like ی, also in use")
    assert "looks like ʼ, also in use" in rows["'"].remarks


@pytest.mark.parametrize(
    ("name", "size"),
    [("mboshi", 33), ("emotiontts-korean", 65), ("kerstin-german", 40), ("speechocean762", 29)],
)
def test_real_transcripts_come_back(name, size, data_dir):
    lines = (data_dir / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    vocabulary = Vocabulary.fit(texts)
    assert len(vocabulary) == size
    assert all(vocabulary.decode(vocabulary.encode(text)) == vocabulary.normalise(text) for text in texts[::20])


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "vocabulary.json"
    Vocabulary.fit(["abc"]).save(path)
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert Vocabulary.load(path) == Vocabulary.fit(["abc"])
