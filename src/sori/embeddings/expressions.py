"""Word vector arithmetic: `king - man + woman`.

Words are separated by spaces and added; a plus or minus is separate or precedes a word. A word may contain signs
(`mother-in-law`): only a word without a vector is split at them (`king-man+woman`). Double quotes enclose one word,
whatever characters it has; the vector of a phrase (`"new york"`) may be stored with underscores (`new_york`).
"""

import re
from typing import NamedTuple

import numpy as np

from sori.core.counts import require_count
from sori.embeddings.space import NearestWord, WordSpace

_TOKEN = re.compile(r'(?P<sign>[+\-\N{MINUS SIGN}\N{EN DASH}])|"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]+)')
_QUOTES = str.maketrans("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '""')
_SIGNS = {"+": 1, "-": -1, "\N{MINUS SIGN}": -1, "\N{EN DASH}": -1}


class Term(NamedTuple):
    """A signed word of an expression."""

    sign: int
    word: str


class ExpressionResult(NamedTuple):
    """Terms of an expression and the words nearest to its sum."""

    terms: list[Term]
    nearest: list[NearestWord]


def evaluate(space: WordSpace, expression: str, *, number: int = 10) -> ExpressionResult:
    """Find the words nearest to an expression, except its own words.

    Vectors are normalised to length 1 before they are added, as in word2vec's programs.

    Raises:
        ValueError: a word has no vector, there is no word at all, or the sum is zero.
    """
    require_count("number of words", number)
    terms = parse(expression, space)
    rows = [space.row(term.word) for term in terms]
    signs = np.array([term.sign for term in terms], dtype=np.float64)
    total = signs @ space.unit[rows].astype(np.float64)
    if not np.linalg.norm(total) > 1e-6:
        raise ValueError(f"{expression!r} gives a zero vector: its words cancel out, or their vectors are zeros")
    return ExpressionResult(terms, space.nearest(total, number=number, leave_out=rows))


def parse(expression: str, space: WordSpace) -> list[Term]:
    """Parse an expression into terms whose words are in the space.

    Raises:
        ValueError: there is no word, a quotation mark is unpaired, a sign has no word, or a word has no vector.
    """
    text, found, sign = expression.translate(_QUOTES), list[Term](), 0
    if text.count('"') % 2:
        raise ValueError(f"{expression!r}: expected quotation marks in pairs, got {text.count(chr(34))}")
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        assert match is not None  # noqa: S101 - every character but an unpaired quotation mark begins a token
        at, token = match.end(), match[0]
        if match["sign"] is not None and not _is_word(space, text[match.start() :]):
            sign = (sign or 1) * _SIGNS[token]
            continue
        if match["sign"] is not None:
            token = text[match.start() :].split(maxsplit=1)[0]
            at = match.start() + len(token)
        pieces = [Term(1, _known(space, match["quoted"]))] if match["quoted"] is not None else _plain(space, token)
        found += [Term((sign or 1) * piece.sign, piece.word) for piece in pieces[:1]] + pieces[1:]
        sign = 0
    if sign or not found:
        raise ValueError(
            f"{expression!r}: expected a word {'after the sign' if sign else ''}, such as king - man + woman"
        )
    return found


def _is_word(space: WordSpace, rest: str) -> bool:
    """Return whether a sign begins a word of the space such as `-lish`; a separate sign never does."""
    token = rest.split(maxsplit=1)[0]
    return len(token) > 1 and token in space


def _plain(space: WordSpace, token: str) -> list[Term]:
    """Parse a word, or words joined by signs without spaces."""
    if token in space:
        return [Term(1, token)]
    pieces = re.split(r"([+\-\N{MINUS SIGN}\N{EN DASH}])", token)
    signs, words = [1, *(_SIGNS[sign] for sign in pieces[1::2])], pieces[::2]
    if len(words) > 1 and all(word in space for word in words):
        return [Term(sign, word) for sign, word in zip(signs, words, strict=True)]
    return [Term(1, _known(space, token))]


def _known(space: WordSpace, phrase: str) -> str:
    joined = "_".join(phrase.split())
    word = joined if phrase not in space and joined in space else phrase
    space.row(word)
    return word
