"""A pre-training of the small model: loss of masked frames, fraction identified, units in use.

The run is that of `python benchmarks/same_speaker.py kathleen --corpora CORPORA`, whose log `--measure` reads.
"""

import json
from pathlib import Path
from typing import Any

import style

_LOG = Path(__file__).parents[2] / "runs" / "same_speaker" / "kathleen" / "pretrained" / "metrics.jsonl"


def measure() -> dict[str, Any]:
    """Read every third report of the log."""
    rows = [json.loads(line) for line in _LOG.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["kind"] == "train"][::3]
    names = ("step", "hours", "contrastive", "correct", "code_perplexity", "equal_share", "masked_share")
    curves = {name: [row[name] for row in rows] for name in names}
    return {"chance": rows[0]["chance"], "most": rows[0]["max_code_perplexity"], **curves}


def draw(results: dict[str, Any]) -> None:
    """Draw three panels over the hours processed."""
    made, (loss, found, used) = style.figure(2.35, columns=3)
    hours = results["hours"]
    loss.plot(hours, results["contrastive"], color=style.BLUE)
    loss.axhline(results["chance"], color=style.GREY, linewidth=1, linestyle="--")
    loss.text(hours[-1], results["chance"] - 0.06, "chance, ln 101", ha="right", va="top", fontsize=8.5)
    loss.set(ylim=(0, 5))
    loss.set_title("loss, nats")
    found.plot(hours, [100 * one for one in results["correct"]], color=style.GREEN)
    found.set(ylim=(0, 62))
    found.set_title("identified, %")
    used.plot(hours, results["code_perplexity"], color=style.ORANGE)
    used.axhline(results["most"], color=style.GREY, linewidth=1, linestyle="--")
    used.text(hours[-1], results["most"] - 1, "all entries", ha="right", va="top", fontsize=8.5)
    used.set(ylim=(0, 86))
    used.set_title("codebook perplexity")
    for axes in (loss, found, used):
        axes.set_xlabel("hours processed")
        axes.grid(axis="y")
    style.save(made, "wav2vec2_training")


def main() -> None:
    """Draw the figure."""
    style.run("wav2vec2_training", draw, measure)


if __name__ == "__main__":
    main()
