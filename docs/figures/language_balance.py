"""Fraction of each language in an epoch by the exponent of the balance, for the five languages of our recordings."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import style
from sori.data.batches.language_balance import balanced_fractions

_SETS = {
    "English": (
        "speechocean762",
        "librispeech-train-clean-100-openings",
        "picovoice-barista",
        "free-spoken-digits",
    ),
    "Mboshi": ("mboshi",),
    "Korean": ("emotiontts-korean",),
    "German": ("kerstin-german",),
    "Arabic": ("arabic-speech-commands",),
}
_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.GREY)


def measure() -> dict[str, Any]:
    """Sum the durations in the manifests of the recordings, without their dev and test parts."""
    data = Path(os.environ.get("SORI_DATA", Path(__file__).parents[3] / "shared" / "data"))
    hours = {language: sum(_hours(data / name) for name in names) for language, names in _SETS.items()}
    return {"hours": hours}


def _hours(folder: Path) -> float:
    rows = map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    return float(sum(row["duration"] for row in rows if row.get("split") not in ("dev", "test")) / 3600)


def draw(results: dict[str, Any]) -> None:
    """Draw a stacked bar for each exponent."""
    names, hours = list(results["hours"]), np.array(list(results["hours"].values()))
    made, (axes,) = style.figure(2.1)
    rows = (1.0, 0.5, 0.0)
    for place, exponent in enumerate(rows):
        ends = np.cumsum(100 * balanced_fractions(hours, exponent))
        begins = np.concatenate([[0], ends[:-1]])
        for begin, end, name, colour in zip(begins, ends, names, _COLOURS, strict=True):
            axes.barh(place, end - begin - 0.4, left=begin, color=style.PALE[colour], edgecolor=colour, height=0.7)
            text = f"{name}\n{end - begin:.0f} %" if end - begin > 7 else f"{end - begin:.0f} %"
            axes.text(
                (begin + end) / 2, place, text, ha="center", va="center", fontsize=8.5 if end - begin > 5 else 7.5
            )
    axes.set_yticks(range(len(rows)), [rf"$\alpha = {exponent:g}$" for exponent in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 100), xlabel="of the audio of an epoch, %")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    style.save(made, "language_balance")


def main() -> None:
    """Draw the figure."""
    style.run("language_balance", draw, measure)


if __name__ == "__main__":
    main()
