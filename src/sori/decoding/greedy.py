"""Greedy CTC decoding: class scores to symbols, words and characters with times, without a language model."""

import unicodedata
from itertools import accumulate
from typing import NamedTuple

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Frames
from sori.text.vocabulary import ESCAPED_BAR, SPECIAL, WORD_BOUNDARY, Vocabulary, graphemes


class Path(NamedTuple):
    """Symbols of one utterance with their frames."""

    ids: list[int]
    """Classes, repeats merged and blanks dropped."""
    spans: list[tuple[int, int]]
    """First frame of each class, and the one after its last."""


class Word(NamedTuple):
    """A word with its times."""

    text: str
    start: float
    """Seconds from the start of the utterance."""
    end: float


class Character(NamedTuple):
    """A character of a word with its times."""

    text: str
    start: float
    """Seconds from the start of the utterance."""
    end: float


def greedy(logits: Frames, *, blank: int = 0) -> list[Path]:
    """Take the likeliest class of every frame, merge repeats and remove blanks.

    Args:
        logits: Class scores, normalised or not; frames beyond an utterance's length are ignored.
        blank: Class of the blank.
    """
    best = logits.data.argmax(-1).cpu()
    return [collapse(row[:length].tolist(), blank) for row, length in zip(best, logits.lengths.tolist(), strict=True)]


def words(path: Path, vocabulary: Vocabulary, *, hop_samples: float) -> list[Word]:
    """Return the words of a path.

    A word lasts from the first frame of its first symbol to the end of the last frame of its last symbol. CTC peaks are
    late and short, so times are estimates, ends in particular.

    Args:
        path: Result of `greedy`.
        vocabulary: Vocabulary of the recogniser.
        hop_samples: Number of samples per frame.
    """
    seconds = hop_samples / SAMPLE_RATE
    return [
        Word(text, path.spans[symbols[0]][0] * seconds, path.spans[symbols[-1]][1] * seconds)
        for text, symbols in word_symbols(path, vocabulary)
    ]


def word_symbols(path: Path, vocabulary: Vocabulary) -> list[tuple[str, list[int]]]:
    """Return the words of a path, each with the positions of its symbols in the path."""
    found: list[tuple[str, list[int]]] = []
    current: list[int] = []
    for position, symbol in enumerate([*(vocabulary.symbols[i] for i in path.ids), WORD_BOUNDARY]):
        if symbol != WORD_BOUNDARY:
            current.append(position)
            continue
        if text := vocabulary.decode(path.ids[i] for i in current):
            found.append((text, current))
        current = []
    return found


def characters(path: Path, vocabulary: Vocabulary, *, hop_samples: float) -> list[list[Character]]:
    """Return the characters of each word of a path, in the order of `words`.

    A character is a grapheme cluster; it lasts from the first frame of its first symbol to the end of the last frame of
    its last symbol. A Hangul syllable of three jamo has the time of all three. Several clusters in one symbol (the "tʃ"
    of a phone recogniser) stay together.

    Args:
        path: Result of `greedy`.
        vocabulary: Vocabulary of the recogniser.
        hop_samples: Number of samples per frame.
    """
    seconds = hop_samples / SAMPLE_RATE
    found = []
    for _, symbols in word_symbols(path, vocabulary):
        spelled = [(vocabulary.symbols[path.ids[i]].replace(ESCAPED_BAR, "|"), path.spans[i]) for i in symbols]
        spelled = [(text, span) for text, span in spelled if not SPECIAL.fullmatch(text)]
        # a character ends where both a symbol and a cluster end
        ends = set(accumulate(len(cluster) for cluster in graphemes("".join(text for text, _ in spelled))))
        word, current, length = list[Character](), list[tuple[str, tuple[int, int]]](), 0
        for text, span in spelled:
            current.append((text, span))
            length += len(text)
            if length in ends:
                letters = unicodedata.normalize("NFC", "".join(part for part, _ in current))
                word.append(Character(letters, current[0][1][0] * seconds, current[-1][1][1] * seconds))
                current = []
        found.append(word)
    return found


def collapse(classes: list[int], blank: int) -> Path:
    """Convert the classes of all frames to a path: merge repeats, then remove blanks."""
    path = Path([], [])
    start = 0
    for frame in range(1, len(classes) + 1):
        if frame < len(classes) and classes[frame] == classes[start]:
            continue
        if classes[start] != blank:
            path.ids.append(classes[start])
            path.spans.append((start, frame))
        start = frame
    return path
