"""Speech2Vec in one picture: a word segment becomes a vector, from which a decoder predicts the segments around it."""

import itertools
import math
from typing import Any

from matplotlib.axes import Axes

import style

_BORDERS = (0.15, 1.35, 2.75, 4.25, 5.55, 7.05)


def draw(_: dict[str, Any]) -> None:
    """Draw the waveform with its segments, the encoder and the decoder."""
    made, axes = style.canvas(3.55)
    _waveform(axes)
    middle = (_BORDERS[2] + _BORDERS[3]) / 2
    style.arrow(axes, (middle, 2.62), (middle, 2.2), colour=style.BLUE)
    style.box(axes, (middle, 1.98), (1.6, 0.42), "encoder: LSTM", style.BLUE, fontsize=9)
    style.arrow(axes, (middle, 1.76), (middle, 1.4), colour=style.BLUE)
    axes.text(middle + 0.1, 1.57, "$z$", fontsize=10, va="center")
    style.box(axes, (middle, 1.18), (1.6, 0.42), "decoder: LSTM", style.GREEN, fontsize=9)
    for number in (1, 3):
        x = (_BORDERS[number] + _BORDERS[number + 1]) / 2
        way = -1 if x < middle else 1
        style.arrow(axes, (middle + 0.84 * way, 1.18), (x, 2.62), colour=style.GREEN, bend=0.28 * way)
        axes.text(x + 0.5 * way, 1.45, r"$\hat x_{n-1}$" if way < 0 else r"$\hat x_{n+1}$", fontsize=10, ha="center")
    style.arrow(axes, (middle, 0.58), (middle, 0.94), colour=style.ORANGE)
    axes.text(middle, 0.4, "previous true frame: a shortcut", fontsize=8.5, ha="center", color=style.ORANGE)
    style.save(made, "speech2vec_idea")


def _waveform(axes: Axes) -> None:
    """Draw an invented waveform in five segments with their symbols."""
    for number, (begin, end) in enumerate(itertools.pairwise(_BORDERS)):
        colour = (style.GREY, style.GREEN, style.BLUE, style.GREEN, style.GREY)[number]
        style.box(axes, ((begin + end) / 2, 3.0), (end - begin - 0.08, 0.72), "", colour)
        xs = [begin + 0.14 + (end - begin - 0.28) * place / 160 for place in range(161)]
        loud = [
            math.sin(math.pi * place / 160) * (0.5 + 0.5 * abs(math.sin(0.05 * place * (number + 2))))
            for place in range(161)
        ]
        wave = [3.06 + 0.2 * a * math.sin(place * (0.9 + 0.17 * number)) for place, a in enumerate(loud)]
        axes.plot(xs, wave, color=colour, linewidth=0.8)
        name = f"$x_{{n{number - 2:+d}}}$" if number != 2 else "$x_n$"
        axes.text((begin + end) / 2, 2.74, name, fontsize=9, ha="center", va="center")


def main() -> None:
    """Draw the figure."""
    style.run("speech2vec_idea", draw)


if __name__ == "__main__":
    main()
