r"""Transcripts to symbols and back, for any script.

A transcript is normalised (NFC, one case, one punctuation policy, single spaces), cut into grapheme clusters (what a
reader takes for one letter: regex `\X`, Unicode annex 29), and each cluster is one symbol. Hangul syllables are cut
further into their conjoining jamo, which NFC puts together again, unless whole syllables are asked for.

A vocabulary is fitted on training transcripts only: a letter that appears only in test transcripts can never be
written by the recogniser, and hiding that would flatter nobody.
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
"""Symbol 0 of every vocabulary: CTC's "nothing new here"."""
WORD_BOUNDARY = "|"
"""Stands for the space between two words."""
ESCAPED_BAR = r"\|"
"""Stands for a real vertical bar in a transcript; a single backslash stands for itself."""

SPECIAL = regex.compile(r"<\p{L}+>|</?s>")
"""Symbols that stand for no text: `<blank>`, and `<s>`, `</s>`, `<unk>` of foreign models."""
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
    r"""The symbols a recogniser can write, and the rules that lead from a transcript to them.

    Symbol 0 is the blank. `|` is the boundary between words; a real bar in the text is the symbol `\|`. Symbols in
    angle brackets (`<blank>`, and `<s>`, `<unk>` of foreign checkpoints) are never produced by `encode` and vanish in
    `decode`; they cannot be confused with text, where `<` is a symbol of its own.
    """

    unit: Literal["grapheme", "jamo"] = "jamo"
    """What one symbol is. Both: a grapheme cluster; `jamo` cuts Hangul syllables into letters (about 70 symbols instead
    of about a thousand), `grapheme` keeps them whole. No difference outside Hangul."""
    case: Literal["upper", "lower", "keep"] = "lower"
    """`upper` as in the published English models (writes ß as SS); `keep` doubles the alphabet of a cased script."""
    punctuation: Literal["drop", "keep"] = "drop"
    """`drop`: punctuation and symbols become word boundaries, except apostrophes and hyphens between two letters or
    digits, which are kept and written ' and -. `keep`: everything visible stays."""
    symbols: tuple[str, ...]
    """Index is class; the first is the blank."""

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
        """Every symbol of the training transcripts, in code point order after the blank and the word boundary.

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
        """Read what `save` wrote.

        Raises:
            ValueError: naming the file, if it is not a vocabulary.
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
        """The text as the recogniser is asked to write it; applying it twice changes nothing.

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
        """The symbols of a text after normalisation, whether or not the vocabulary holds them."""
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
        """Symbols of the text that the vocabulary lacks, each once, in order of appearance."""
        return [symbol for symbol in dict.fromkeys(self.split(text)) if symbol not in self.symbols]

    def encode(self, text: str) -> list[int]:
        """Classes of a text's symbols.

        Raises:
            ValueError: naming the symbols that the vocabulary lacks.
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
        """The text of classes from which repeats and blanks are already gone.

        Args:
            ids: classes; symbols in angle brackets are skipped, boundaries at the ends vanish.
        """
        spelled = {WORD_BOUNDARY: " ", ESCAPED_BAR: "|"}
        symbols = (self.symbols[number] for number in ids)
        text = "".join(spelled.get(symbol, symbol) for symbol in symbols if not SPECIAL.fullmatch(symbol))
        return " ".join(unicodedata.normalize("NFC", text).split())


def graphemes(text: str) -> list[str]:
    """What a reader takes for single letters: the extended grapheme clusters of Unicode annex 29."""
    return list(regex.findall(r"\X", text))


def describe(symbol: str) -> str:
    """A symbol with its code points and names, for messages."""
    points = " + ".join(f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed')}" for c in symbol)
    return f"{symbol} ({points})"


def _without_loose_marks(cluster: str) -> str:
    # a mark with no letter before it (at the start, or after a space) belongs to nothing that could be spoken
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
    """One symbol of a corpus: how often it occurs and what is odd about it."""

    symbol: str
    count: int
    remarks: tuple[str, ...]


def count_symbols(texts: Iterable[str], vocabulary: Vocabulary) -> list[SymbolCount]:
    """Every symbol of some transcripts with its count, the most frequent first, and remarks on doubtful ones.

    Remarks: rare (under five times, too few to learn), figures (speakers say words, not digits), a Latin, Greek or
    Cyrillic letter in words mostly of another of these scripts, twins that look alike and are both in use, and symbols
    that the vocabulary lacks.

    Args:
        texts: raw transcripts.
        vocabulary: gives the normalisation, and what counts as unknown.
    """
    texts = list(texts)
    counts = Counter(symbol for text in texts for symbol in vocabulary.split(text))
    strange = _strangers(vocabulary.normalise(text) for text in texts)
    known = set(vocabulary.symbols)
    rows = []
    for symbol, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        remarks = [] if symbol in known else ["not in the vocabulary"]
        if count < _RARE_BELOW:
            remarks.append("rare")
        if _DIGIT.match(symbol):
            remarks.append("figures: write numbers as they are spoken")
        if symbol in strange:
            script, other, times = strange[symbol]
            remarks.append(f"{script} letter in {times} {other} words: is one alphabet meant?")
        remarks += [f"looks like {twin}, also in use" for twin in _twins(symbol) if twin in counts]
        rows.append(SymbolCount(symbol, count, tuple(remarks)))
    return rows


def _strangers(texts: Iterable[str]) -> dict[str, tuple[str, str, int]]:
    """Letters of a minor script inside words of the main one: symbol to (its script, main script, number of words)."""
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
    # the first word of a letter's Unicode name is its script, for the scripts compared here
    return unicodedata.name(symbol[0], "?").split()[0] if _LETTER.match(symbol) else ""


def _twins(symbol: str) -> list[str]:
    return [other for group in _TWINS if symbol in group for other in group if other != symbol]
