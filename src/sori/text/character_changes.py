"""Count the characters that normalisation changes in texts, so that no letter is lost unnoticed.

The counts are those of a comparison of each text with its normalised form, both in NFD: every character that is missing
afterwards is counted, whichever rule removed it.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from sori.text.normalise import IN_WORD, INSIDE_WORDS, JOINERS
from sori.text.vocabulary import Vocabulary

_IN_WORD = regex.compile(r"(?<=[\p{L}\p{M}\p{N}])[^\p{L}\p{N}\s](?=[\p{L}\p{M}\p{N}])")
_LETTER = regex.compile(r"(?!\p{Variation_Selector})[\p{L}\p{M}\p{N}\p{Co}\p{Cs}\p{Cn}]")
_FATES = (
    (
        rf"[{regex.escape(''.join(IN_WORD))}]",
        "kept between two letters or digits (as ' or -), a word boundary elsewhere",
    ),
    (rf"[{INSIDE_WORDS}]", "removed: words go on behind it"),
    (r"\u200b", "a word boundary in scripts without spaces, removed elsewhere"),
    (rf"[{JOINERS}]", "removed: no joining letters beside it"),
    (r"\p{Cc}", "a word boundary"),
    (r"[\p{P}\p{S}]", "a word boundary"),
    (r"\p{M}", "removed: no letter before it"),
    (r"\p{Cf}", "removed: invisible"),
    (r"\p{Cs}", "removed: half of a character"),
    (r"\p{Cn}", "removed: not assigned in Unicode"),
)


@dataclass(frozen=True)
class CharacterChange:
    """A character that normalisation removes or replaces."""

    character: str
    count: int
    """Number of occurrences that are not in the normalised texts."""
    in_words: int
    """Number of occurrences between two letters, where it may be a letter of the language."""
    fate: str
    """What becomes of it."""

    @property
    def is_letter(self) -> bool:
        """Return whether a letter, mark, digit or unknown character is lost, rather than punctuation."""
        return _LETTER.match(self.character) is not None


class ChangeCounter:
    """Counts characters that are missing after normalisation, text by text.

    White space and case do not count as changes.

    Args:
        rules: vocabulary with the rules of normalisation.
    """

    def __init__(self, rules: Vocabulary) -> None:
        self.rules = rules
        self.lost, self.in_words = Counter[str](), Counter[str]()

    def add(self, text: str) -> None:
        """Add a raw transcript."""
        if not text:
            return
        here = _letters(self.rules.change_case(unicodedata.normalize("NFC", text)))
        here.subtract(_letters(self.rules.normalise(text)))
        self.lost.update({character: count for character, count in here.items() if count > 0})
        self.in_words.update(_IN_WORD.findall(text))

    def result(self) -> list[CharacterChange]:
        """Return all characters that are missing, the most frequent first."""
        return [
            CharacterChange(character, count, min(count, self.in_words[character]), _fate(character))
            for character, count in sorted(self.lost.items(), key=lambda item: (-item[1], item[0]))
        ]


def changed_characters(texts: Iterable[str], rules: Vocabulary) -> list[CharacterChange]:
    """Return all characters that are missing after normalisation, the most frequent first; see `ChangeCounter`.

    Args:
        texts: raw transcripts.
        rules: vocabulary with the rules of normalisation.
    """
    counter = ChangeCounter(rules)
    for text in texts:
        counter.add(text)
    return counter.result()


def _letters(text: str) -> Counter[str]:
    return Counter("".join(unicodedata.normalize("NFD", text).split()))


def _fate(character: str) -> str:
    return next((fate for pattern, fate in _FATES if regex.match(pattern, character)), "removed")
