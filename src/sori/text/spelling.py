"""Spell grapheme clusters with the symbols that a vocabulary has.

Public recognisers often have one class for each code point, composed (NFC) or not (NFD), or for a letter with some of
its marks. A cluster that is no symbol itself is spelled with symbols that together are canonically equivalent to it.
"""

import itertools
import unicodedata
from collections.abc import Iterable, Iterator

from sori.text.normalise import IN_WORD

_MAX_MARKS = 4
_MAX_ORDERS = 200


class Speller:
    """Spells clusters with the symbols of one vocabulary."""

    def __init__(self, symbols: Iterable[str]) -> None:
        """Create the speller.

        Args:
            symbols: symbols that are text, in any order.
        """
        self._by_letters: dict[str, str] = {}
        self._known = frozenset(symbols)
        for symbol in sorted(self._known):
            self._by_letters.setdefault(unicodedata.normalize("NFD", symbol), symbol)
        self._found: dict[str, tuple[str, ...]] = {}

    def __call__(self, cluster: str) -> tuple[str, ...]:
        """Return the fewest symbols that spell a cluster, or the cluster if none do."""
        if cluster in self._known or not self._known:
            return (cluster,)
        if cluster not in self._found:
            self._found[cluster] = self._other_form(cluster) or self._spell(cluster) or (cluster,)
        return self._found[cluster]

    def _other_form(self, cluster: str) -> tuple[str, ...]:
        """Return another form of an apostrophe or hyphen."""
        forms = (form for form, written in IN_WORD.items() if written == cluster and form in self._known)
        return tuple(itertools.islice(forms, 1))

    def _spell(self, cluster: str) -> tuple[str, ...]:
        best: tuple[str, ...] = ()
        for letters in itertools.islice(_orders(unicodedata.normalize("NFD", cluster)), _MAX_ORDERS):
            found = self._shortest(letters)
            if found and (not best or len(found) < len(best)):
                best = found
        return best

    def _shortest(self, letters: str) -> tuple[str, ...]:
        ends: list[tuple[str, ...] | None] = [()]
        for end in range(1, len(letters) + 1):
            spelled = (
                (*before, symbol)
                for start, before in enumerate(ends)
                if before is not None and (symbol := self._by_letters.get(letters[start:end])) is not None
            )
            ends.append(min(spelled, key=len, default=None))
        return ends[-1] or ()


def _orders(letters: str) -> Iterator[str]:
    """Yield canonically equivalent orders of the marks, the canonical one first."""
    groups: list[list[str]] = []
    for letter in letters:
        if unicodedata.combining(letter) and groups:
            groups[-1].append(letter)
        else:
            groups.append([letter])
    choices = [
        ["".join(group)]
        if len(group) - 1 > _MAX_MARKS
        else ["".join((group[0], *marks)) for marks in itertools.permutations(group[1:])]
        for group in groups
    ]
    for parts in itertools.product(*choices):
        order = "".join(parts)
        if unicodedata.normalize("NFD", order) == letters:
            yield order
