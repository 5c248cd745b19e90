"""Foreign lists of classes to our vocabulary and back."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import regex

from sori.text.vocabulary import BLANK, ESCAPED_BAR, WORD_BOUNDARY, Vocabulary

_BRACKETED = regex.compile(r"[\[<](/?\p{L}+)[\]>]")
_JAMO = regex.compile(r"[\u1100-\u11FF]")


class Classes(NamedTuple):
    """A vocabulary, and where its classes were."""

    vocabulary: Vocabulary
    order: tuple[int, ...]
    """Their class for each of ours; ours begin with the blank."""


def from_tokens(
    tokens: Sequence[str], *, blank: int, boundary: str, special: Mapping[str, str], origin: str
) -> Classes:
    """Our vocabulary for a list of foreign classes.

    Args:
        tokens: what each class stands for.
        blank: the class of CTC's blank.
        boundary: the token between two words.
        special: tokens that are no text, with our name for them (`<s>`, `</s>`, `<unk>`, `<pad>`).
        origin: the file, for messages.

    Raises:
        ValueError: the blank is not among the classes, or a token stands twice.
    """
    if not 0 <= blank < len(tokens):
        raise ValueError(f"{origin}: class {blank} should be the blank, but there are {len(tokens)} classes only")
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
    data = {"unit": "jamo" if _JAMO.search(text) else "grapheme", "case": _case(text), "symbols": symbols}
    kept = regex.search(r"[\p{P}\p{S}--['\-]]", text, flags=regex.VERSION1)
    return Classes(
        Vocabulary.from_data({**data, "punctuation": "keep" if kept else "drop"}, origin=f"{origin}: the vocabulary"),
        order,
    )


def _case(text: str) -> Literal["upper", "lower", "keep"]:
    lower, upper = text == text.lower(), text == text.upper()
    if lower:
        return "lower"  # scripts without case too: nothing changes there
    return "upper" if upper else "keep"


def to_tokens(vocabulary: Vocabulary, *, blank: str, boundary: str) -> list[str]:
    """What each of our classes is called elsewhere.

    Args:
        vocabulary: ours.
        blank: their name for the blank.
        boundary: their name for the boundary between words.
    """
    names = {WORD_BOUNDARY: boundary, ESCAPED_BAR: WORD_BOUNDARY}
    tokens = [blank, *(names.get(symbol, symbol) for symbol in vocabulary.symbols[1:])]
    if twice := {token for token in tokens if tokens.count(token) > 1}:
        raise ValueError(
            f"two classes would both be called {', '.join(sorted(twice))} in that format; the vocabulary has a symbol "
            "that means something else there"
        )
    return tokens
