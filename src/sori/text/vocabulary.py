r"""Conversion of transcripts to symbols and back, for any script.

A transcript is normalised (NFC, one case, one punctuation policy, single spaces) and split into grapheme clusters
(user-perceived characters: regex `\X`, Unicode annex 29); each cluster is one symbol. Hangul syllables are split
further into their conjoining jamo, which NFC composes again, unless `unit` is `grapheme`.

A vocabulary is fitted on training transcripts only: the recogniser can never predict a letter that occurs only in test
transcripts, and the error rates should show that.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import regex
from pydantic import model_validator

from sori.core.config import Config
from sori.core.files import write_json
from sori.core.user_files import read_text

BLANK = "<blank>"
"""Symbol 0 of every vocabulary: the blank of CTC."""
WORD_BOUNDARY = "|"
"""Symbol for the space between two words."""
ESCAPED_BAR = r"\|"
"""Symbol for a vertical bar in a transcript; a single backslash is a symbol of its own."""

SPECIAL = regex.compile(r"<\p{L}+>|</?s>")
"""Symbols that are not text: `<blank>`, and `<s>`, `</s>`, `<unk>` of external models."""
_JOINERS = "\u200c\u200d"  # meaningful in Persian and Indic spelling, unlike every other format character
_INVISIBLE = regex.compile(rf"[\p{{Cf}}\p{{Cs}}\p{{Co}}\p{{Cn}}--[{_JOINERS}]]", regex.VERSION1)
_CONTROL = regex.compile(r"\p{Cc}")
_DROPPED = regex.compile(r"[\p{P}\p{S}]")
_IN_WORD = {"'": "'", "\u2019": "'", "\u2018": "'", "-": "-", "\u2010": "-", "\u2011": "-"}
_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}]")
_HANGUL = regex.compile(r"\p{Script=Hangul}")
_MARK = regex.compile(rf"[\p{{M}}{_JOINERS}]")
_LETTER = regex.compile(r"\p{L}")
_DIGIT = regex.compile(r"\p{N}")
_CONFUSABLE_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
_TWINS = ("يی", "كک", "هہ", "'ʼʻ", "əǝә", "ɛε", "ʿʕ")  # noqa: RUF001 - look-alikes are the point
_RARE_BELOW = 5


class Vocabulary(Config):
    r"""The symbols a recogniser can predict, and the rules for converting transcripts to them.

    Symbol 0 is the blank. `|` is the boundary between words; a vertical bar in the text is the symbol `\|`. Symbols in
    angle brackets (`<blank>`, and `<s>`, `<unk>` of external checkpoints) are never produced by `encode` and removed by
    `decode`; they cannot be confused with text, where `<` is a symbol of its own.
    """

    unit: Literal["grapheme", "jamo"] = "jamo"
    """Type of the symbols: grapheme clusters; `jamo` splits Hangul syllables into letters (about 70 symbols instead of
    about a thousand), `grapheme` keeps them whole. No difference outside Hangul."""
    case: Literal["upper", "lower", "keep"] = "lower"
    """Case of the symbols: `upper` as in the published English models (ß becomes SS); `keep` doubles the alphabet of a
    cased script."""
    punctuation: Literal["drop", "keep"] = "drop"
    """`drop`: punctuation and symbols become word boundaries, except apostrophes and hyphens between two letters or
    digits, which become ' and -. `keep`: all visible characters are kept."""
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
        unit: Literal["grapheme", "jamo"] = "jamo",
        case: Literal["upper", "lower", "keep"] = "lower",
        punctuation: Literal["drop", "keep"] = "drop",
    ) -> "Vocabulary":
        """Build the vocabulary of all symbols of the training transcripts.

        They are in code point order, after the blank and the word boundary.

        Raises:
            ValueError: if no text is left after normalisation.
        """
        rules = cls(unit=unit, case=case, punctuation=punctuation, symbols=(BLANK,))
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
        try:
            data = json.loads(read_text(path))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not readable as JSON: {error}") from None
        return cls.from_data(data, origin=str(path))

    def save(self, path: Path) -> None:
        """Write JSON, one symbol a line, letters readable as they are."""
        write_json(path, self.model_dump())

    def __len__(self) -> int:
        return len(self.symbols)

    def normalise(self, text: str) -> str:
        """Normalise a text to the form that the recogniser is trained to predict; idempotent.

        Error rates compare normalised references with normalised hypotheses.
        """
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", _CONTROL.sub(" ", text)))
        if self.case != "keep":
            text = unicodedata.normalize("NFC", text.upper() if self.case == "upper" else text.lower())
        clusters = [_without_loose_marks(cluster) for cluster in graphemes(text)]
        if self.punctuation == "drop":
            clusters = _drop_punctuation(clusters)
        return " ".join(unicodedata.normalize("NFC", "".join(clusters)).split())

    def split(self, text: str) -> list[str]:
        """Normalise a text and split it into symbols, in the vocabulary or not."""
        symbols: list[str] = []
        for cluster in graphemes(self.normalise(text)):
            if cluster == " ":
                symbols.append(WORD_BOUNDARY)
            elif cluster == WORD_BOUNDARY:
                symbols.append(ESCAPED_BAR)
            elif self.unit == "jamo" and _HANGUL.match(cluster):
                symbols += unicodedata.normalize("NFD", cluster)
            else:
                symbols.append(cluster)
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


def graphemes(text: str) -> list[str]:
    """Split a text into extended grapheme clusters (Unicode annex 29)."""
    return list(regex.findall(r"\X", text))


def describe(symbol: str) -> str:
    """Return a symbol with its code points and names, for messages."""
    points = " + ".join(f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed')}" for c in symbol)
    return f"{symbol} ({points})"


def _without_loose_marks(cluster: str) -> str:
    # a combining mark without a letter before it (at the start, or after a space) is not part of speech
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
