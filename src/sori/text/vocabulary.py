r"""Conversion of transcripts to symbols and back, for any script.

A transcript is normalised (NFC, one case, one punctuation policy, single spaces: `normalise.py`) and split into
grapheme clusters (user-perceived characters: regex `\X`, Unicode annex 29); each cluster is one symbol. Hangul
syllables are split further into their conjoining jamo, which NFC composes again, unless `unit` is `grapheme`. A cluster
that is not in the vocabulary is spelled with smaller symbols that are, such as the code points of public recognisers
(`spelling.py`).

A vocabulary is fitted on training transcripts only: the recogniser can never predict a letter that occurs only in test
transcripts, and the error rates should show that.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import regex
from pydantic import model_validator

from sori.core.config import Config
from sori.core.files import read_json, write_json
from sori.text import normalise_1
from sori.text.normalise import Case, Casing, Punctuation, change_case, normalise
from sori.text.spelling import Speller

BLANK = "<blank>"
"""Symbol 0 of every vocabulary: the blank of CTC."""
WORD_BOUNDARY = "|"
"""Symbol for the space between two words."""
ESCAPED_BAR = r"\|"
"""Symbol for a vertical bar in a transcript; a single backslash is a symbol of its own."""

SPECIAL = regex.compile(r"<\p{L}+>|</?s>")
"""Symbols that are not text: `<blank>`, and `<s>`, `</s>`, `<unk>` of external models."""
_HANGUL = regex.compile(r"\p{Script=Hangul}")
_DOTLESS = {"lower": "ı", "upper": "İ", "keep": "ı"}  # noqa: RUF001 - Turkish

Unit = Literal["grapheme", "jamo"]
Version = Literal[1, 2]
NEWEST: Version = 2
"""Version of the rules of normalisation for new recognisers; `normalise_1.py` has the first."""


class Vocabulary(Config):
    r"""The symbols a recogniser can predict, and the rules for converting transcripts to them.

    Symbol 0 is the blank. `|` is the boundary between words; a vertical bar in the text is the symbol `\|`. Symbols in
    angle brackets (`<blank>`, and `<s>`, `<unk>` of external checkpoints) are never produced by `encode` and removed by
    `decode`; they cannot be confused with text, where `<` is a symbol of its own.
    """

    unit: Unit = "jamo"
    """Type of the symbols: grapheme clusters; `jamo` splits Hangul syllables into letters (about 70 symbols instead of
    about a thousand), `grapheme` keeps them whole. No difference outside Hangul."""
    case: Case = "lower"
    """Case of the symbols: `upper` as in the published English models (ß becomes SS); `keep` doubles the alphabet of a
    cased script."""
    casing: Casing = "root"
    """Rules of case: `turkic` for the languages with dotted and dotless i, `root` for all others."""
    punctuation: Punctuation = "drop"
    """`drop`: punctuation and symbols become word boundaries, except apostrophes and hyphens between two letters or
    digits, which become ' and -, and the letter-like ones of some scripts. `keep`: all visible characters are kept."""
    normalisation: Version = NEWEST
    """Version of the rules of `normalise`: those that the recogniser was trained with."""
    symbols: tuple[str, ...]
    """Symbol of each class; the first is the blank."""

    @model_validator(mode="after")
    def _check(self) -> "Vocabulary":
        twice = [symbol for symbol, count in Counter(self.symbols).items() if count > 1]
        if twice:
            raise ValueError(f"symbols must differ; more than once: {' '.join(twice)}")
        if not self.symbols or not SPECIAL.fullmatch(self.symbols[0]):
            raise ValueError(f"the first symbol must be the blank, {BLANK}; got {self.symbols[:1]}")
        return self

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        unit: Unit = "jamo",
        case: Case = "lower",
        casing: Casing = "root",
        punctuation: Punctuation = "drop",
        normalisation: Version = NEWEST,
    ) -> "Vocabulary":
        """Build the vocabulary of all symbols of the training transcripts.

        They are in code point order, after the blank and the word boundary.

        Raises:
            ValueError: if no text is left after normalisation.
        """
        rules = cls(
            unit=unit,
            case=case,
            casing=casing,
            punctuation=punctuation,
            normalisation=normalisation,
            symbols=(BLANK,),
        )
        seen = {symbol for text in texts for symbol in rules.split(text)} - {WORD_BOUNDARY}
        if not seen:
            raise ValueError(
                "expected transcripts with letters, got none. Probably the transcripts are empty or hold only "
                'punctuation; check the text column, or fit with punctuation="keep".'
            )
        return rules.model_copy(update={"symbols": (BLANK, WORD_BOUNDARY, *sorted(seen))})

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a vocabulary written by `save`.

        Raises:
            ValueError: if the file is not a vocabulary.
        """
        return cls.from_stored(read_json(path), origin=str(path))

    @classmethod
    def from_stored(cls, data: Any, *, origin: str) -> "Vocabulary":
        """Validate the data of a stored vocabulary, which has the first version of the rules if it names none.

        Raises:
            ValueError: if the data are invalid.
        """
        return cls.from_data({"normalisation": 1} | data if isinstance(data, dict) else data, origin=origin)

    def save(self, path: Path) -> None:
        """Write JSON, one symbol a line, letters readable as they are."""
        write_json(path, self.model_dump())

    def __len__(self) -> int:
        return len(self.symbols)

    def normalise(self, text: str) -> str:
        """Normalise a text to the form that the recogniser is trained to predict; idempotent.

        Error rates compare normalised references with normalised hypotheses.
        """
        if self.normalisation == 1:
            return normalise_1.normalise(text, case=self.case, punctuation=self.punctuation)
        return normalise(text, case=self.case, casing=self.casing, punctuation=self.punctuation)

    def change_case(self, text: str) -> str:
        """Return a text in the case of the symbols."""
        return change_case(text, self.case, self.casing)

    def split(self, text: str) -> list[str]:
        """Normalise a text and split it into symbols, in the vocabulary or not."""
        spell = _speller(self.symbols)
        normal = self.normalise(text)
        symbols: list[str] = []
        # no cluster contains a space; the first version of the rules let some letters join one
        for word in [normal] if self.normalisation == 1 else normal.split():
            if symbols:
                symbols.append(WORD_BOUNDARY)
            for cluster in graphemes(word):
                if cluster == " ":
                    symbols.append(WORD_BOUNDARY)
                elif cluster == WORD_BOUNDARY:
                    symbols.append(ESCAPED_BAR)
                elif self.unit == "jamo" and _HANGUL.match(cluster):
                    symbols += unicodedata.normalize("NFD", cluster)
                else:
                    symbols += spell(cluster)
        return symbols

    def unknown(self, text: str) -> list[str]:
        """Return the symbols of the text that are not in the vocabulary, each once, in order of appearance."""
        return [symbol for symbol in dict.fromkeys(self.split(text)) if symbol not in self.symbols]

    def encode(self, text: str) -> list[int]:
        """Return the classes of a text's symbols.

        Raises:
            ValueError: if symbols are not in the vocabulary; names them.
        """
        index = {symbol: number for number, symbol in enumerate(self.symbols)}
        symbols = self.split(text)
        if missing := [symbol for symbol in dict.fromkeys(symbols) if symbol not in index]:
            raise ValueError(
                f"expected symbols of the vocabulary, got {', '.join(map(describe, missing))} in {text!r}. Probably "
                "this transcript was not among those the vocabulary was fitted on; leave it out of training, or fit "
                "again with it."
            )
        return [index[symbol] for symbol in symbols]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of classes, after repeats and blanks have been removed.

        Args:
            ids: classes; symbols in angle brackets, and boundaries at either end, are dropped.
        """
        spelled = {WORD_BOUNDARY: " ", ESCAPED_BAR: "|"}
        symbols = (self.symbols[number] for number in ids)
        text = "".join(spelled.get(symbol, symbol) for symbol in symbols if not SPECIAL.fullmatch(symbol))
        return " ".join(unicodedata.normalize("NFC", text).split())


def casing_of_symbols(symbols: Iterable[str], case: Case) -> Casing:
    """Return the rules of case of an alphabet: those with a dotless i, or a capital I with a dot, are Turkic."""
    return "turkic" if _DOTLESS[case] in symbols else "root"


def graphemes(text: str) -> list[str]:
    """Split a text into extended grapheme clusters (Unicode annex 29)."""
    return list(regex.findall(r"\X", text))


def describe(symbol: str) -> str:
    """Return a symbol with its code points and names, for messages."""
    points = " + ".join(f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed')}" for c in symbol)
    return f"{symbol} ({points})"


@lru_cache(maxsize=8)
def _speller(symbols: tuple[str, ...]) -> Speller:
    return Speller(symbol for symbol in symbols if symbol not in (WORD_BOUNDARY, ESCAPED_BAR))
