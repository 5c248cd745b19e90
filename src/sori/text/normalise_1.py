r"""Normalisation by the first version of the rules, for models that were trained with it.

It loses what `normalise.py` keeps: the spacing marks of Burmese and other scripts, private-use characters, and letters
that Unicode classifies as punctuation. Zero width spaces are removed in every script.
"""

import unicodedata

import regex

from sori.text.normalise import JOINERS, Case, Punctuation

_INVISIBLE = regex.compile(rf"[\p{{Cf}}\p{{Cs}}\p{{Co}}\p{{Cn}}--[{JOINERS}]]", regex.VERSION1)
_CONTROL = regex.compile(r"\p{Cc}")
_DROPPED = regex.compile(r"[\p{P}\p{S}]")
_IN_WORD = {"'": "'", "\u2019": "'", "\u2018": "'", "-": "-", "\u2010": "-", "\u2011": "-"}
_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}]")
_MARK = regex.compile(rf"[\p{{M}}{JOINERS}]")


def normalise(text: str, *, case: Case, punctuation: Punctuation) -> str:
    """Normalise a text; see `sori.text.normalise.normalise`."""
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", _CONTROL.sub(" ", text)))
    if case != "keep":
        text = unicodedata.normalize("NFC", text.upper() if case == "upper" else text.lower())
    clusters = [_without_loose_marks(cluster) for cluster in regex.findall(r"\X", text)]
    if punctuation == "drop":
        clusters = _drop_punctuation(clusters)
    return " ".join(unicodedata.normalize("NFC", "".join(clusters)).split())


def _without_loose_marks(cluster: str) -> str:
    if cluster[0].isspace():
        return " "
    return "" if _MARK.match(cluster) else cluster


def _drop_punctuation(clusters: list[str]) -> list[str]:
    kept: list[str] = []
    for number, cluster in enumerate(clusters):
        inside = (
            cluster in _IN_WORD
            and 0 < number < len(clusters) - 1
            and _WORD_CHARACTER.match(clusters[number - 1])
            and _WORD_CHARACTER.match(clusters[number + 1])
        )
        if inside:
            kept.append(_IN_WORD[cluster])
        else:
            kept.append(" " if _DROPPED.match(cluster) else cluster)
    return kept
