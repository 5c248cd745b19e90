"""Normalisation of transcripts, for any script: what a recogniser is trained to write.

No letter, mark or digit is lost, except marks without a letter before them; `character_changes.py` counts what is
changed in a text. docs/normalisation.md describes the rules by script.
"""

import unicodedata
from typing import Literal

import regex

Case = Literal["upper", "lower", "keep"]
Casing = Literal["root", "turkic"]
Punctuation = Literal["drop", "keep"]

JOINERS = "\u200c\u200d"
"""Zero width non-joiner and joiner: spelling in the scripts whose letters join or form conjuncts."""
IN_WORD = {"'": "'", "\u2019": "'", "\u2018": "'", "\u055a": "'", "-": "-", "\u2010": "-", "\u2011": "-", "\u058a": "-"}
"""Apostrophes and hyphens, which are kept between two letters or digits, each with the form that is written."""
_TURKIC = frozenset("tr tur az aze azj azb crh gag tt tat".split())  # noqa: SIM905
"""Languages with dotted and dotless i: Turkish, Azerbaijani, Crimean Tatar, Gagauz, Tatar."""

_TURKIC_LOWER = str.maketrans("Iİ", "ıi")  # noqa: RUF001 - Turkish
_TURKIC_UPPER = str.maketrans("ıi", "Iİ")  # noqa: RUF001 - Turkish

_CONTROL = regex.compile(r"\p{Cc}")
_MONGOLIAN_VOWEL_SEPARATOR = "\u180e"
_INVISIBLE = regex.compile(rf"[\p{{Cf}}\p{{Cs}}\p{{Cn}}--[{JOINERS}{_MONGOLIAN_VOWEL_SEPARATOR}]]", regex.VERSION1)
_UNSPACED = (
    r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Ahom}\p{Tibetan}"
    r"\p{Javanese}\p{Balinese}\p{Buginese}\p{Han}\p{Hiragana}\p{Katakana}\p{Yi}"
)
_ZERO_WIDTH_SPACE = regex.compile("\u200b")
_BESIDE_UNSPACED = regex.compile(rf"(?<=[{_UNSPACED}]\p{{M}}*).|.(?=[{_UNSPACED}])")
_WITHOUT_CONJUNCTS = (
    r"\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}\p{Georgian}\p{Hebrew}\p{Ethiopic}\p{Hangul}\p{Han}\p{Hiragana}"
    r"\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Common}\p{Inherited}"
)
_JOINED = rf"[[\p{{L}}\p{{M}}]--[{_WITHOUT_CONJUNCTS}]]"
_JOINER_RUN = regex.compile(rf"[{JOINERS}]+")
_BESIDE_JOINED = regex.compile(rf"(?<={_JOINED}[\p{{M}}{JOINERS}]*).|[{JOINERS}]+(?={_JOINED})", regex.VERSION1)

_LETTER_LIKE = (
    r"\u104C-\u104F"  # Burmese words that are written with one sign
    r"\u02C2-\u02C5\u02D2-\u02DF\u02E5-\u02EB\u02ED\u02EF-\u02FF\uA700-\uA721\uA789\uA78A\uAB5B\uAB6A\uAB6B"  # tones
)
"""Letters and words of orthographies that Unicode classifies as punctuation or symbols."""
INSIDE_WORDS = "\u055b\u055c\u055e\u055f\u1807\u180a"
"""Armenian stress, exclamation, question and abbreviation marks, and Mongolian stem extenders: no word ends there."""
_WITHOUT_INSIDE_WORDS = dict.fromkeys(map(ord, INSIDE_WORDS))
_MARK = rf"[\p{{M}}{JOINERS}]"
_WORD = rf"[\p{{L}}\p{{N}}\p{{Co}}{_LETTER_LIKE}]"
_HEBREW = r"[\p{Hebrew}&&\p{L}]"  # the script also has punctuation of its own
_DROPPED = regex.compile(rf"([\p{{P}}\p{{S}}--[{_LETTER_LIKE}]]){_MARK}*", regex.VERSION1)
_AFTER = {
    **dict.fromkeys(IN_WORD, regex.compile(rf"(?<={_WORD}{_MARK}*).{_MARK}*(?={_WORD})", regex.VERSION1)),
    "\u00b7": regex.compile(rf"(?<=\p{{Latin}}{_MARK}*).{_MARK}*(?=\p{{Latin}})"),  # Catalan col·legi
    "\u05f3": regex.compile(rf"(?<={_HEBREW}{_MARK}*).", regex.VERSION1),  # geresh, also at the end of a word
    **dict.fromkeys('\u05f4"\u201d', regex.compile(rf"(?<={_HEBREW}{_MARK}*).{_MARK}*(?={_HEBREW})", regex.VERSION1)),
}
"""Where punctuation is part of a word."""
_WRITTEN = IN_WORD | {'"': "\u05f4", "\u201d": "\u05f4"}
_LOOSE_MARKS = regex.compile(rf"{_MARK}+")


def normalise(text: str, *, case: Case, casing: Casing, punctuation: Punctuation) -> str:
    """Normalise a text; idempotent.

    Args:
        text: a transcript or any other text.
        case: case of the result.
        casing: rules of `change_case`.
        punctuation: `drop`: punctuation and symbols become word boundaries, except those inside words; `keep`.
    """
    text = visible(text)
    if punctuation == "drop":
        text = text.translate(_WITHOUT_INSIDE_WORDS)
    text = change_case(unicodedata.normalize("NFC", text), case, casing)
    if punctuation == "drop":
        text = _DROPPED.sub(_in_word_or_space, text)
    words = (_without_loose_marks(word) for word in text.split())
    return unicodedata.normalize("NFC", " ".join(word for word in words if word))


def visible(text: str) -> str:
    """Return the text without characters that are neither seen nor spoken; word boundaries become spaces."""
    text = _CONTROL.sub(" ", text)
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", _ZERO_WIDTH_SPACE.sub(_space_or_nothing, text))
    return str(_JOINER_RUN.sub(_joiners_or_nothing, text))


def change_case(text: str, case: Case, casing: Casing) -> str:
    """Return the text in one case, in NFC.

    Args:
        text: text in NFC.
        case: case of the result.
        casing: `root`: the rules of Unicode for most languages; `turkic`: with a dotted and a dotless i.
    """
    if case == "keep":
        return text
    if casing == "turkic":
        text = text.translate(_TURKIC_LOWER if case == "lower" else _TURKIC_UPPER)
    return unicodedata.normalize("NFC", text.upper() if case == "upper" else text.lower())


def casing_of_language(language: str | None) -> Casing:
    """Return the rules of case of a language, by its code (`tur`, `tr`, `tr-TR`); None: most languages."""
    first = regex.split(r"[-_]", (language or "").strip().lower())[0]
    return "turkic" if first in _TURKIC else "root"


def _space_or_nothing(found: "regex.Match[str]") -> str:
    return " " if _BESIDE_UNSPACED.match(found.string, found.start()) else ""


def _joiners_or_nothing(found: "regex.Match[str]") -> str:
    return found[0] if _BESIDE_JOINED.match(found.string, found.start()) else ""


def _in_word_or_space(found: "regex.Match[str]") -> str:
    sign, text, start = found[1], found.string, found.start()
    inside = sign in _AFTER and _AFTER[sign].match(text, start)
    return _WRITTEN.get(sign, sign) + found[0][1:] if inside else " "


def _without_loose_marks(word: str) -> str:
    # a combining mark or joiner without a letter before it is not part of speech
    marks = _LOOSE_MARKS.match(word)
    return word[marks.end() :] if marks else word
