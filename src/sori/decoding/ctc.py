"""From class distributions to symbols with their times, without a language model."""

from typing import NamedTuple

from sori.audio import SAMPLE_RATE
from sori.shapes import Frames
from sori.text import WORD_BOUNDARY, Vocabulary


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
    found: list[Word] = []
    begun: list[int] = []
    for number, symbol in enumerate([*(vocabulary.symbols[i] for i in path.ids), WORD_BOUNDARY]):
        if symbol != WORD_BOUNDARY:
            begun.append(number)
            continue
        if text := vocabulary.decode(path.ids[i] for i in begun):
            found.append(Word(text, path.spans[begun[0]][0] * seconds, path.spans[begun[-1]][1] * seconds))
        begun = []
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
