"""Error rates by hours of speech without transcripts, ten minutes with: published ones, and those of our small runs.

Published: Baevski et al. 2020, arXiv 2006.11477, WER of LibriSpeech test-clean without a language model (table 1), BASE
and LARGE pre-trained on 960 h, LARGE on 53,200 h. Ours: `benchmarks/results/librispeech.json`, CER of test-clean, which
`python benchmarks/librispeech.py --hours 1 3 6 12 28 --updates 4000 --seeds 0` measures, as many updates for each.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

import style

_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "librispeech.json"
_LARGE = {960: 43.5, 53_200: 40.2}
_BASE = {960: 46.9}
_UPDATES = 4000


def draw(_: dict[str, Any]) -> None:
    """Draw both panels."""
    made, (ours, published) = style.figure(3.1, columns=2, width_ratios=[1.5, 1])
    _own(ours)
    _published(published)
    for axes in (ours, published):
        axes.grid(axis="y")
        axes.minorticks_off()
    style.save(made, "unlabelled")


def _own(axes: Axes) -> None:
    every = json.loads(_RESULTS.read_text(encoding="utf-8"))["rows"]
    rows = [row for row in every if row["labels"] == "10min" and row["decoding"] == "greedy"]
    pretrained = [row for row in rows if row.get("pretraining") == "muon"]
    points = sorted((row["hours"], row["cer"]) for row in pretrained if row["updates"] == _UPDATES)
    hours = [hour for hour, _ in points]
    axes.set_xscale("log")
    low, middle, high = ([100 * cer[key] for _, cer in points] for key in ("low", "rate", "high"))
    axes.fill_between(hours, low, high, color=style.BLUE, alpha=0.15, linewidth=0)
    axes.plot(hours, middle, "o-", color=style.BLUE)
    longer = [(row["hours"], 100 * row["cer"]["rate"]) for row in pretrained if row["updates"] > _UPDATES]
    axes.plot(*zip(*longer, strict=True), "D", color=style.PURPLE, fillstyle="none")
    axes.text(hours[-1] * 0.9, longer[0][1] - 1.1, "12,000 updates", color=style.PURPLE, fontsize=9, ha="right")
    scratch = [100 * row["cer"]["rate"] for row in rows if row["hours"] == 0]
    mean = sum(scratch) / len(scratch)
    axes.axhline(mean, color=style.ORANGE, linestyle="--")
    axes.text(hours[0], mean + 0.3, "no pre-training", color=style.ORANGE, fontsize=9)
    axes.set_xticks(hours, [f"{hour} h" for hour in hours])
    axes.set(ylim=(46, 56), ylabel="CER, %", xlabel="speech without transcripts")
    axes.set_title(f"our runs: tiny, {_UPDATES:,} updates each")


def _published(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.plot(list(_LARGE), list(_LARGE.values()), "s-", color=style.BLUE)
    axes.plot(list(_BASE), list(_BASE.values()), "^", color=style.GREEN)
    axes.annotate("BASE", (960, 46.9), (1400, 46.6), color=style.GREEN, fontsize=9)
    axes.annotate("LARGE", (960, 43.5), (1800, 43.3), color=style.BLUE, fontsize=9)
    axes.set_xticks([960, 53_200], ["960 h", "53,200 h"])
    axes.set(xlim=(400, 130_000), ylim=(36, 50), ylabel="WER, %", xlabel="speech without transcripts")
    axes.set_title("published")


def main() -> None:
    """Draw the figure."""
    style.run("unlabelled", draw)


if __name__ == "__main__":
    main()
