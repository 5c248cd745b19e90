"""Ten minutes of Korean and of Mboshi: error rates after pre-training on nothing, on English, and on several languages.

Results: `benchmarks/results/cross_lingual.json`, which `python benchmarks/cross_lingual.py --seeds 0 1` measures.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

import style

_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "cross_lingual.json"
_STARTS = {
    "scratch": ("no pre-training", style.GREY),
    "english": ("English", style.BLUE),
    "others": ("four others", style.GREEN),
    "all": ("all five", style.PURPLE),
}
_TARGETS = {"kor": "Korean (jamo)", "mdw": "Mboshi (letters)"}


def draw(_: dict[str, Any]) -> None:
    """Draw one panel for each target language: mean, both seeds, and their intervals over utterances."""
    rows = [row for row in json.loads(_RESULTS.read_text(encoding="utf-8"))["rows"] if row["split"] == "test"]
    made, panels = style.figure(3.2, columns=2, sharey=True)
    for axes, (target, title) in zip(panels, _TARGETS.items(), strict=True):
        _panel(axes, [row for row in rows if row["target"] == target])
        axes.set_title(title)
    style.save(made, "cross_lingual")


def _panel(axes: Axes, rows: list[dict[str, Any]]) -> None:
    by_start = {row["start"]: row for row in rows}
    for place, (start, (_, colour)) in enumerate(_STARTS.items()):
        row = by_start[start]
        for shift, rate, (low, high) in zip((-0.13, 0.13), row["cer"], row["intervals"], strict=True):
            axes.plot([100 * low, 100 * high], [place + shift] * 2, color=colour, linewidth=2)
            axes.plot([100 * rate], [place + shift], "o", color=colour, markersize=5)
        mean = 100 * row["mean"]
        axes.plot([mean] * 2, [place - 0.3, place + 0.3], color=style.INK, linewidth=1)
        axes.text(mean, place - 0.33, f"{mean:.1f}", ha="center", va="bottom", fontsize=8.5)
    axes.set_yticks(range(len(_STARTS)), [name for name, _ in _STARTS.values()])
    axes.set(ylim=(len(_STARTS) - 0.4, -0.85), xlabel="CER on the test, %")
    axes.grid(axis="x")


def main() -> None:
    """Draw the figure."""
    style.run("cross_lingual", draw)


if __name__ == "__main__":
    main()
