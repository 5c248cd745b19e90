"""Word2Vec in one picture: skip-gram and CBOW over a window, and true words against random ones."""

from typing import Any

from matplotlib.axes import Axes

import style

_WORDS = ("the", "captain", "boarded", "the", "ship")
_NOISE = ("lemon", "perhaps")


def draw(_: dict[str, Any]) -> None:
    """Draw both architectures."""
    made, axes = style.canvas(3.35)
    for left, skipgram in ((0.1, True), (3.75, False)):
        _window(axes, left, skipgram=skipgram)
    axes.plot([3.6, 3.6], [0.3, 3.1], color=style.GREY, linewidth=0.6)
    style.save(made, "word2vec_idea")


def _window(axes: Axes, left: float, *, skipgram: bool) -> None:
    """Draw the words of a window, the vector between them, and the comparison with true and random words."""
    places = [left + 0.33 + 0.66 * number for number in range(5)]
    middle = places[2]
    axes.text(middle, 3.12, "skip-gram" if skipgram else "CBOW", fontsize=10.5, fontweight="bold", ha="center")
    inputs = (2,) if skipgram else (0, 1, 3, 4)
    for number, (x, word) in enumerate(zip(places, _WORDS, strict=True)):
        colour = style.BLUE if number in inputs else style.GREEN
        style.box(axes, (x, 2.75), (0.64, 0.36), word, colour, fontsize=8)
        if number in inputs:
            style.arrow(axes, (x, 2.55), (middle + (x - middle) * 0.28, 2.12), colour=style.BLUE)
    vector = r"$h = v_{\mathrm{boarded}}$" if skipgram else r"$h$ = mean of four $v$"
    style.box(axes, (middle, 1.9), (1.7, 0.38), vector, style.BLUE, fontsize=9)
    true = ("captain",) if skipgram else ("boarded",)
    for number, word in enumerate((*true, *_NOISE)):
        x, colour = left + 0.6 + 1.06 * number, style.ORANGE if number else style.GREEN
        style.arrow(axes, (middle + (x - middle) * 0.4, 1.69), (x, 1.2), colour=colour, dashed=bool(number))
        style.box(axes, (x, 0.98), (0.96, 0.38), rf"$u_{{\mathrm{{{word}}}}}$", colour, fontsize=9)
        sign = "-" if number else ""
        axes.text(x, 0.6, rf"$\sigma({sign}u \cdot h) \to 1$", fontsize=8.5, ha="center", color=colour)
        axes.text(x, 0.32, "random" if number else "true", fontsize=8.5, ha="center", color=colour)


def main() -> None:
    """Draw the figure."""
    style.run("word2vec_idea", draw)


if __name__ == "__main__":
    main()
