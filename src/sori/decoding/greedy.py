"""From class distributions to symbols with their times, without a language model."""

import unicodedata
from itertools import accumulate
from typing import NamedTuple

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Frames
from sori.text.vocabulary import ESCAPED_BAR, SPECIAL, WORD_BOUNDARY, Vocabulary, graphemes


class Path(NamedTuple):
    """The best alignment of one utterance, read out."""

    ids: list[int]
    """Classes, repeats merged and blanks dropped."""
    spans: list[tuple[int, int]]
    """Of each class, the first frame and the one after the last."""


class Word(NamedTuple):
    """A word with its time."""

    text: str
    start: float
    """Seconds from the beginning of the utterance."""
    end: float


class Character(NamedTuple):
    """A letter of a word with its time."""

    text: str
    start: float
    """Seconds from the beginning of the utterance."""
    end: float


def greedy(logits: Frames, *, blank: int = 0) -> list[Path]:
    """The likeliest class of every frame, equal neighbours merged, then blanks dropped.

    Args:
        logits: class scores, normalised or not; frames beyond an utterance's length are ignored.
        blank: its class.
    """
    best = logits.data.argmax(-1).cpu()
    return [collapse(row[:length].tolist(), blank) for row, length in zip(best, logits.lengths.tolist(), strict=True)]


def words(path: Path, vocabulary: Vocabulary, *, hop_samples: float) -> list[Word]:
    """The words of a path.

    A word lasts from its first symbol's first frame to the end of its last symbol's last frame. CTC peaks late and
    short, so that ends in particular are estimates.

    Args:
        path: from `greedy`.
        vocabulary: of the recogniser.
        hop_samples: samples from one class distribution to the next.
    """
    seconds = hop_samples / SAMPLE_RATE
    return [
        Word(text, path.spans[symbols[0]][0] * seconds, path.spans[symbols[-1]][1] * seconds)
        for text, symbols in word_symbols(path, vocabulary)
    ]


def word_symbols(path: Path, vocabulary: Vocabulary) -> list[tuple[str, list[int]]]:
    """The words of a path, each with the places of its symbols in the path."""
    found: list[tuple[str, list[int]]] = []
    begun: list[int] = []
    for place, symbol in enumerate([*(vocabulary.symbols[i] for i in path.ids), WORD_BOUNDARY]):
        if symbol != WORD_BOUNDARY:
            begun.append(place)
            continue
        if text := vocabulary.decode(path.ids[i] for i in begun):
            found.append((text, begun))
        begun = []
    return found


def characters(path: Path, vocabulary: Vocabulary, *, hop_samples: float) -> list[list[Character]]:
    """The characters of each word of a path, in the order of `words`.

    A character is a grapheme cluster of the written word; it lasts from its first symbol's first frame to the end of
    its last symbol's last frame. A Hangul syllable of three jamo has the time of all three. Where one symbol holds
    several clusters (the "tʃ" of a recogniser of phones), they stay together.

    Args:
        path: from `greedy`.
        vocabulary: of the recogniser.
        hop_samples: samples from one class distribution to the next.
    """
    seconds = hop_samples / SAMPLE_RATE
    found = []
    for _, symbols in word_symbols(path, vocabulary):
        spelled = [(vocabulary.symbols[path.ids[i]].replace(ESCAPED_BAR, "|"), path.spans[i]) for i in symbols]
        spelled = [(text, span) for text, span in spelled if not SPECIAL.fullmatch(text)]
        # a character ends where both a symbol and a cluster end
        ends = set(accumulate(len(cluster) for cluster in graphemes("".join(text for text, _ in spelled))))
        word, begun, length = list[Character](), list[tuple[str, tuple[int, int]]](), 0
        for text, span in spelled:
            begun.append((text, span))
            length += len(text)
            if length in ends:
                letters = unicodedata.normalize("NFC", "".join(part for part, _ in begun))
                word.append(Character(letters, begun[0][1][0] * seconds, begun[-1][1][1] * seconds))
                begun = []
        found.append(word)
    return found


def collapse(classes: list[int], blank: int) -> Path:
    """The classes of all frames as a path: equal neighbours merged, then blanks dropped."""
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
