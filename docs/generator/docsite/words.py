"""Words of the search: English stems, and Korean words also without their endings.

Korean particles are written together with the noun (코드북을, 코드북의). So the index also holds the beginnings of a
Korean word from two syllables on: a query finds the noun with any particle. Searching needs no server: the index
is a script.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

_KOREAN = re.compile(r"[가-힣]{3,}")


class SearchBoth(SearchEnglish):
    """English stems and beginnings of Korean words."""

    def split(self, text: str) -> list[str]:
        """Return the words of a text as they are indexed."""
        words = super().split(text)
        beginnings = [
            found.group()[:end]
            for word in words
            for found in _KOREAN.finditer(word)
            for end in range(2, len(found.group()) + 1)
        ]
        return [*words, *beginnings]

    def word_filter(self, word: str) -> bool:
        """Keep Korean words of two syllables, and English ones as usual."""
        return bool(re.fullmatch(r"[가-힣]+", word)) or super().word_filter(word)


def setup(app: Sphinx) -> dict[str, Any]:
    """Replace the search language of the site."""
    app.add_search_language(SearchBoth)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
