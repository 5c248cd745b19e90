"""Two strands after wav2vec 2.0: what is predicted at a hidden frame, and how many languages one model serves.

Languages and hours of pre-training, as stated by the papers or the model cards that the article's page links:
wav2vec 2.0 (arXiv 2006.11477), XLSR-53 (2006.13979), XLS-R (2111.09296), MMS (2305.13516: 1,406 languages), Omnilingual
ASR (2511.09690: more than 1,600; its hours are not stated in the abstract).
"""

from typing import Any

from matplotlib.axes import Axes

import style

_TARGETS = (
    ("wav2vec 2.0\n2020", "entry of a\nlearnt codebook", style.BLUE),
    ("HuBERT\n2021", "cluster,\nmade beforehand", style.GREEN),
    ("WavLM\n2021", "cluster of the\nclean speech", style.GREEN),
    ("data2vec\n2022", "vector of\na teacher", style.PURPLE),
)
_LANGUAGES = (
    (2020.45, 1, "wav2vec 2.0\n53,200 h", (8, 4), "left"),
    (2020.48, 53, "XLSR-53\n56,000 h", (-8, 4), "right"),
    (2021.88, 128, "XLS-R\n436,000 h", (10, -30), "left"),
    (2023.38, 1406, "MMS\n491,000 h", (-8, 4), "right"),
    (2025.86, 1600, "Omnilingual\nASR", (0, -27), "center"),
)


def draw(_: dict[str, Any]) -> None:
    """Draw the targets above, the languages below."""
    made, (above, below) = style.figure(4.3, rows=2, height_ratios=[1, 1.6])
    _targets(above)
    _languages(below)
    style.save(made, "after")


def _targets(axes: Axes) -> None:
    axes.set(xlim=(0, 8), ylim=(0, 2))
    axes.axis("off")
    axes.set_title("what is predicted at a hidden frame")
    for place, (name, target, colour) in enumerate(_TARGETS):
        x = 1 + 2 * place
        style.box(axes, (x, 0.62), (1.72, 1.0), target, colour, fontsize=9)
        axes.text(x, 1.6, name, ha="center", va="center", fontsize=9)


def _languages(axes: Axes) -> None:
    axes.set_title("languages in pre-training, hours of speech")
    axes.set_yscale("log")
    axes.plot([at for at, *_ in _LANGUAGES[1:]], [many for _, many, *_ in _LANGUAGES[1:]], color=style.ORANGE)
    for at, many, name, shift, side in _LANGUAGES:
        axes.plot([at], [many], "o", color=style.ORANGE)
        axes.annotate(name, (at, many), shift, textcoords="offset points", ha=side, va="bottom", fontsize=9)
    axes.set(xlim=(2019.4, 2026.4), ylim=(0.7, 9000))
    axes.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    axes.set_xticks(range(2020, 2027))
    axes.minorticks_off()
    axes.grid(axis="y")


def main() -> None:
    """Draw the figure."""
    style.run("after", draw)


if __name__ == "__main__":
    main()
