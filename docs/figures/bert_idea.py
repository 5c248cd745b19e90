"""BERT in one picture: a masked word, predicted from both sides, beside a left-to-right language model."""

from typing import Any

from matplotlib.axes import Axes

import style

_WORDS = ("she", "opened", "[MASK]", "and", "left")


def draw(_: dict[str, Any]) -> None:
    """Draw both."""
    made, axes = style.canvas(2.9)
    _model(axes, 0.1, "BERT", _WORDS, target=2, visible=(0, 1, 2, 3, 4))
    _model(axes, 3.75, "left to right", ("she", "opened", "the", "door", "and"), target=3, visible=(0, 1, 2))
    axes.plot([3.6, 3.6], [0.2, 2.7], color=style.GREY, linewidth=0.6)
    style.save(made, "bert_idea")


def _model(
    axes: Axes, left: float, title: str, words: tuple[str, ...], *, target: int, visible: tuple[int, ...]
) -> None:
    """Draw the words, the arrows from the visible ones to the prediction, and the prediction."""
    places = [left + 0.33 + 0.66 * number for number in range(5)]
    axes.text(places[2], 2.66, title, fontsize=10.5, fontweight="bold", ha="center")
    aim = (places[target], 1.62)
    for number, (x, word) in enumerate(zip(places, words, strict=True)):
        shown = number in visible and word != "[MASK]"
        colour = style.ORANGE if word == "[MASK]" else style.BLUE if shown else style.GREY
        style.box(axes, (x, 0.5), (0.64, 0.38), word if number in visible else "", colour, fontsize=8)
        if shown:
            bend = -0.12 if x < aim[0] else 0.12
            style.arrow(axes, (x, 0.72), (aim[0] + 0.4 * (x - aim[0]) / 2, aim[1]), colour=style.BLUE, bend=bend)
    style.box(axes, (aim[0], 1.84), (1.5, 0.36), "$p(w\\,|\\,$visible words$)$", style.GREEN, fontsize=8.5)
    axes.text(aim[0], 2.2, "it   doors   up   …" if target == 2 else "door   box   way   …", fontsize=8.5, ha="center")


def main() -> None:
    """Draw the figure."""
    style.run("bert_idea", draw)


if __name__ == "__main__":
    main()
