"""Error rates by hours of labels: published ones of wav2vec 2.0, and those of our own small runs.

Published: Baevski et al. 2020, arXiv 2006.11477, LARGE pre-trained on 53,200 h, WER of LibriSpeech test-clean (table 1
and appendix C), and the same network without pre-training. Ours: `benchmarks/results/low_resource_attention.json`, CER
on the test split of speechocean762, measured with the former `tiny` by `python benchmarks/low_resource.py`.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

import style

_HOURS = (1 / 6, 1, 10, 100, 960)
_TICKS = ("10 min", "1 h", "10 h", "100 h", "960 h")
_ALONE = (40.2, 17.2, 6.3, 3.1, 2.2)
_WITH_LANGUAGE_MODEL = (4.8, 2.9, 2.6, 2.0, 1.8)
_NO_PRE_TRAINING = 2.1  # 960 h of labels, Transformer language model
_OURS = Path(__file__).parents[2] / "benchmarks" / "results" / "low_resource_attention.json"
_LABELLED = {"10min": 1 / 6, "1h": 1.0, "all": 3.7}


def draw(_: dict[str, Any]) -> None:
    """Draw both panels."""
    made, (published, ours) = style.figure(3.1, columns=2, width_ratios=[1.25, 1])
    for axes in (published, ours):
        axes.set_xscale("log")
        axes.grid(axis="y")
    _published(published)
    _own(ours)
    style.save(made, "labels")


def _published(axes: Axes) -> None:
    axes.plot(_HOURS, _ALONE, "o-", color=style.BLUE)
    axes.plot(_HOURS, _WITH_LANGUAGE_MODEL, "s-", color=style.GREEN)
    axes.plot([_HOURS[-1]], [_NO_PRE_TRAINING], "D", color=style.ORANGE, markersize=8, fillstyle="none")
    axes.annotate("without language model", (_HOURS[0], _ALONE[0]), (0.3, 39), color=style.BLUE, fontsize=9)
    axes.annotate("with it", (_HOURS[0], 4.8), (0.14, 7.2), color=style.GREEN, fontsize=9)
    axes.annotate(
        "no pre-training,\nwith language model",
        (_HOURS[-1], _NO_PRE_TRAINING),
        (900, 13),
        color=style.ORANGE,
        fontsize=9,
        ha="right",
        arrowprops={"arrowstyle": "-", "color": style.ORANGE, "shrinkB": 5},
    )
    axes.set(ylim=(0, 44), ylabel="WER, %", xlabel="transcribed speech")
    axes.set_title("published: LARGE, 53,200 h unlabelled")
    axes.set_xticks(_HOURS, _TICKS)
    axes.minorticks_off()


def _own(axes: Axes) -> None:
    rows = [row for row in json.loads(_OURS.read_text(encoding="utf-8"))["rows"] if row["split"] == "test"]
    hours = [_LABELLED[row["labels"]] for row in rows]
    kinds = (("scratch_cer", style.ORANGE, "D", "no pre-training"), ("pretrained_cer", style.BLUE, "o", "pre-trained"))
    for key, colour, marker, label in kinds:
        means = [100 * sum(row[key]) / len(row[key]) for row in rows]
        axes.plot(hours, means, "-", color=colour)
        for hour, row in zip(hours, rows, strict=True):
            axes.plot([hour] * len(row[key]), [100 * one for one in row[key]], marker, color=colour, markersize=4)
        axes.text(hours[1] * 0.9, means[1] + (2.2 if key == "scratch_cer" else -4.2), label, color=colour, fontsize=9)
    axes.set(ylim=(40, 75), ylabel="CER, %", xlabel="transcribed speech")
    axes.set_title("our runs: tiny, 6 h unlabelled")
    axes.set_xticks(hours, ["10 min", "1 h", "3.7 h"])
    axes.minorticks_off()


def main() -> None:
    """Draw the figure."""
    style.run("labels", draw)


if __name__ == "__main__":
    main()
