"""Count the symbols of a corpus, with remarks on possible mistakes of spelling."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from sori.text.vocabulary import Vocabulary, graphemes

_LETTER = regex.compile(r"\p{L}")
_DIGIT = regex.compile(r"\p{N}")
_CONFUSABLE_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
_TWINS = ("يی", "كک", "هہ", "'ʼʻ", "əǝә", "ɛε", "ʿʕ")  # noqa: RUF001 - look-alikes are the point
_RARE_BELOW = 5


@dataclass(frozen=True)
class SymbolCount:
    """A symbol of a corpus with its count and remarks on possible mistakes."""

    symbol: str
    count: int
    remarks: tuple[str, ...]


def count_symbols(texts: Iterable[str], vocabulary: Vocabulary) -> list[SymbolCount]:
    """Count every symbol of the transcripts, the most frequent first, with remarks on doubtful ones.

    Remarks: rare (under five times, too few to learn), figures (speakers say words, not digits), a Latin, Greek or
    Cyrillic letter in words mostly of another of these scripts, look-alike symbols that are both in use, and symbols
    that are not in the vocabulary.

    Args:
        texts: raw transcripts.
        vocabulary: vocabulary that defines the normalisation and the known symbols.
    """
    texts = list(texts)
    counts = Counter(symbol for text in texts for symbol in vocabulary.split(text))
    foreign = _foreign_letters(vocabulary.normalise(text) for text in texts)
    known = set(vocabulary.symbols)
    rows = []
    for symbol, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        remarks = [] if symbol in known else ["not in the vocabulary"]
        if count < _RARE_BELOW:
            remarks.append("rare")
        if _DIGIT.match(symbol):
            remarks.append("figures: write numbers as they are spoken")
        if symbol in foreign:
            script, other, times = foreign[symbol]
            remarks.append(f"{script} letter in {times} {other} words: should they be in one alphabet?")
        remarks += [f"looks like {twin}, also in use" for twin in _twins(symbol) if twin in counts]
        rows.append(SymbolCount(symbol, count, tuple(remarks)))
    return rows


def _foreign_letters(texts: Iterable[str]) -> dict[str, tuple[str, str, int]]:
    """Return letters of a minor script in words of the main one: symbol to (its script, main script, word count)."""
    words = Counter(word for text in texts for word in text.split())
    scripts = {word: {c: _script(c) for c in graphemes(word)} for word in words}
    tally = Counter[str]()
    for word, count in words.items():
        tally.update({script: count for script in scripts[word].values() if script in _CONFUSABLE_SCRIPTS})
    if len(tally) < 2:
        return {}
    main = tally.most_common(1)[0][0]
    found = Counter[str]()
    for word, count in words.items():
        if main in scripts[word].values():
            found.update({c: count for c, s in scripts[word].items() if s in _CONFUSABLE_SCRIPTS and s != main})
    return {c: (_script(c), main, times) for c, times in found.items()}


def _script(symbol: str) -> str:
    # for the scripts compared here, the first word of a letter's Unicode name is its script
    return unicodedata.name(symbol[0], "?").split()[0] if _LETTER.match(symbol) else ""


def _twins(symbol: str) -> list[str]:
    return [other for group in _TWINS if symbol in group for other in group if other != symbol]
