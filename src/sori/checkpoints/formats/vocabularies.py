"""Convert foreign lists of classes to sori's vocabulary and back."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import regex

from sori.text.vocabulary import BLANK, ESCAPED_BAR, WORD_BOUNDARY, Vocabulary, casing_of_symbols

_BRACKETED = regex.compile(r"[\[<](/?\p{L}+)[\]>]")
_JAMO = regex.compile(r"[\u1100-\u11FF]")


class Classes(NamedTuple):
    """A vocabulary, and the original order of its classes."""

    vocabulary: Vocabulary
    order: tuple[int, ...]
    """Their class for each of ours; the blank is our first class."""


def from_tokens(
    tokens: Sequence[str], *, blank: int, boundary: str, special: Mapping[str, str], origin: str
) -> Classes:
    """Convert a list of foreign classes to a vocabulary.

    Args:
        tokens: Token of each class.
        blank: Class of the CTC blank.
        boundary: Token between two words.
        special: Tokens that are not text, with sori's names for them (`<s>`, `</s>`, `<unk>`, `<pad>`).
        origin: File name for messages.

    Raises:
        ValueError: The blank is not among the classes, or a token occurs twice.
    """
    if not 0 <= blank < len(tokens):
        raise ValueError(f"{origin}: expected class {blank} to be the blank, got only {len(tokens)} classes")
    order = (blank, *(index for index in range(len(tokens)) if index != blank))
    symbols = [BLANK]
    for index in order[1:]:
        token = tokens[index]
        if token in special:
            symbols.append(special[token])
        elif token == boundary:
            symbols.append(WORD_BOUNDARY)
        else:
            symbols.append(ESCAPED_BAR if token == WORD_BOUNDARY else token)
    text = "".join(s for s in symbols[1:] if s not in (WORD_BOUNDARY, ESCAPED_BAR) and not _BRACKETED.fullmatch(s))
    case = _case(text)
    casing = casing_of_symbols(text, case)
    unit = "jamo" if _JAMO.search(text) else "grapheme"
    data = {"unit": unit, "case": case, "casing": casing, "symbols": symbols}
    kept = regex.search(r"[\p{P}\p{S}--['\-]]", text, flags=regex.VERSION1)
    return Classes(
        Vocabulary.from_data({**data, "punctuation": "keep" if kept else "drop"}, origin=f"{origin}: the vocabulary"),
        order,
    )


def _case(text: str) -> Literal["upper", "lower", "keep"]:
    lower, upper = text == text.lower(), text == text.upper()
    if lower:
        return "lower"  # also scripts without case
    return "upper" if upper else "keep"


def to_tokens(vocabulary: Vocabulary, *, blank: str, boundary: str) -> list[str]:
    """Return the foreign token of each class.

    Args:
        vocabulary: Vocabulary to convert.
        blank: Foreign token for the blank.
        boundary: Foreign token for the word boundary.
    """
    names = {WORD_BOUNDARY: boundary, ESCAPED_BAR: WORD_BOUNDARY}
    tokens = [blank, *(names.get(symbol, symbol) for symbol in vocabulary.symbols[1:])]
    if duplicates := {token for token in tokens if tokens.count(token) > 1}:
        raise ValueError(
            f"two classes would both have the token {', '.join(sorted(duplicates))} in that format; the vocabulary has "
            "a symbol with another meaning there"
        )
    return tokens
