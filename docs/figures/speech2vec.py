"""Speech2Vec: what the decoder gains from the vector, and how well vectors tell words apart.

From `benchmarks/results/spoken_words.json`, which `python benchmarks/spoken_words.py measure` writes.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

import style

_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "spoken_words.json"
_RUNS = {"speech2vec_skipgram": ("skip-gram", style.BLUE), "speech2vec_cbow": ("CBOW", style.GREEN)}


def draw(_: dict[str, Any]) -> None:
    """Draw both panels."""
    results = json.loads(_RESULTS.read_text(encoding="utf-8"))
    made, (left, right) = style.figure(2.7, columns=2, width_ratios=[1, 1.1])
    _errors(left, results)
    _precision(right, results)
    for axes in (left, right):
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    style.save(made, "speech2vec")


def _errors(axes: Axes, results: dict[str, Any]) -> None:
    starts = {
        "right vector": "right vector",
        "another's vector": "vector of another word",
        "zeros": "zeros",
        "previous": "last frame repeated",
    }
    for number, (run, (name, colour)) in enumerate(_RUNS.items()):
        values = [results[run]["error"][start] for start in starts]
        axes.barh([place + 0.38 * number - 0.19 for place in range(len(starts))], values, 0.34, color=colour)
        axes.text(0.008, 0.38 * number - 0.19, name, color="white", fontsize=8.5, va="center")
    axes.set_yticks(range(len(starts)), starts.values())
    axes.set(xlim=(0, 0.38), xlabel="squared error of neighbours")
    axes.set_title("decoder starts from")


def _precision(axes: Axes, results: dict[str, Any]) -> None:
    skipgram, cbow = (results[run] for run in _RUNS)
    rows = (
        ("chance level", skipgram["model"]["across speakers"]["chance"], style.GREY),
        ("skip-gram", skipgram["model"]["across speakers"]["average_precision"], style.BLUE),
        ("CBOW", cbow["model"]["across speakers"]["average_precision"], style.GREEN),
        ("random weights", skipgram["untrained"]["across speakers"]["average_precision"], style.GREY),
        ("mean MFCC", skipgram["mean cepstra"]["across speakers"]["average_precision"], style.ORANGE),
        ("ten MFCC frames", skipgram["sampled cepstra"]["across speakers"]["average_precision"], style.ORANGE),
    )
    axes.barh(range(len(rows)), [100 * value for _, value, _ in rows], 0.62, color=[colour for *_, colour in rows])
    for place, (_, value, _) in enumerate(rows):
        axes.text(100 * value + 0.04, place, f"{100 * value:.2f}", va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set(xlim=(0, 2.6), xlabel="average precision, %")
    axes.set_title("same word, two speakers")


def main() -> None:
    """Draw the figure."""
    style.run("speech2vec", draw)


if __name__ == "__main__":
    main()
