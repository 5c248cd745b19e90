"""Plot waveforms, and recognised words below them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sori.core.shapes import Float, Tensor
from sori.plots.style import BLUE, GREEN, INK, RED, STYLE, figure
from sori.text.edit_distance import Kind, align

SAMPLE_RATE = 16_000


class TimedWord(NamedTuple):
    """Recognised word with start and end in seconds."""

    text: str
    start: float
    end: float


class AlignedWord(NamedTuple):
    """Word of a hypothesis aligned with the reference."""

    kind: Kind
    reference: str
    """Empty for an extra word."""
    hypothesis: str
    """Empty for a missing word."""
    position: int
    """Position in the hypothesis; for a missing word, where it would be inserted."""


def align_words(reference: str, hypothesis: str) -> list[AlignedWord]:
    """Align two word sequences with the fewest errors.

    Args:
        reference: reference text; at least one word.
        hypothesis: recognised text; may be empty.

    Raises:
        ValueError: the reference has no words.
    """
    words = reference.split()
    if not words:
        raise ValueError("expected a reference with at least one word, got an empty one; leave such utterances out")
    aligned: list[AlignedWord] = []
    position = 0
    for step in align([words], [hypothesis.split()])[0]:
        aligned.append(AlignedWord(*step, position))
        position += step.kind != "missing"
    return aligned


def draw_waveform(axes: Axes, waveform: Float[Tensor, " sample"], *, num_columns: int = 900) -> None:
    """Draw the envelope of a waveform: smallest and largest sample of each column, over seconds."""
    size = max(1, len(waveform) // num_columns)
    columns = waveform[: len(waveform) // size * size].reshape(-1, size)
    time = (np.arange(len(columns)) + 0.5) * size / SAMPLE_RATE
    axes.fill_between(time, columns.amin(1).numpy(), columns.amax(1).numpy(), color=BLUE, linewidth=0.4)
    limit = 1.1 * float(waveform.abs().max().clamp(min=1e-3))
    axes.set(xlim=(0, len(waveform) / SAMPLE_RATE), ylim=(-limit, limit), ylabel="amplitude")


@rc_context(STYLE)
def waveform(waveform: Float[Tensor, " sample"], *, title: str = "Waveform") -> Figure:
    """Plot a waveform over time.

    Args:
        waveform: 16 kHz.
        title: title of the figure.
    """
    made, (axes,) = figure([1.8])
    draw_waveform(axes, waveform)
    axes.set(title=title, xlabel="time in seconds")
    return made


@rc_context(STYLE)
def transcript(
    waveform: Float[Tensor, " sample"], *, reference: str, rows: Sequence[tuple[str, Sequence[TimedWord]]]
) -> Figure:
    """Plot a waveform with the recognised words below it, at their times.

    Errors are red: substitutions are marked with a cross, insertions with a plus, deletions with brackets.

    Args:
        waveform: 16 kHz.
        reference: reference text.
        rows: label and words of each recogniser.
    """
    made, (top, below) = figure([1.5, 0.4 + 0.62 * len(rows)])
    draw_waveform(top, waveform)
    top.set_title(f"Reference: \N{LEFT DOUBLE QUOTATION MARK}{reference}\N{RIGHT DOUBLE QUOTATION MARK}")
    for row, (_, words) in enumerate(rows):
        _draw_words(below, words, reference=reference, row=row)
    below.set(ylim=(0.3 - len(rows), 0.6), xlabel="time in seconds", xlim=(0, len(waveform) / SAMPLE_RATE))
    below.set_yticks([-row for row in range(len(rows))], [label for label, _ in rows])
    below.tick_params(left=False)
    below.spines["left"].set_visible(False)
    return made


def _draw_words(axes: Axes, words: Sequence[TimedWord], *, reference: str, row: int) -> None:
    aligned = align_words(reference, " ".join(word.text for word in words))
    missing: dict[int, list[str]] = {}
    for one in aligned:
        if one.kind == "missing":
            missing.setdefault(one.position, []).append(one.reference)
        else:
            _draw_word(axes, words[one.position], one.kind, y=float(-row))
    for position, lost in missing.items():
        before = words[position - 1].end if position else 0.0
        after = words[position].start if position < len(words) else before
        text = f"({' '.join(lost)})" if len(lost) < 3 else f"({len(lost)} words)"
        axes.text((before + after) / 2, -row - 0.42, text, color=RED, ha="center", fontsize=7)


def _draw_word(axes: Axes, word: TimedWord, kind: str, *, y: float) -> None:
    right = kind == "right"
    axes.hlines(y - 0.2, word.start, word.end, color=GREEN if right else RED, linewidth=3 if right else 1.2)
    mark = {"right": "", "wrong": "\N{MULTIPLICATION SIGN}", "extra": "+"}[kind]
    middle, colour = (word.start + word.end) / 2, INK if right else RED
    axes.text(middle, y + 0.08, word.text + mark, color=colour, ha="center", va="center", fontsize=9)
