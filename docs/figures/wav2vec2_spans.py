"""Hidden frames whose unit the small model predicts: by length of the mask, and by place in it.

The predictions are those of `interactive_masking.py`.
"""

from typing import Any

import style


def draw(_: dict[str, Any]) -> None:
    """Draw both panels."""
    results = style.read_results("interactive_masking")
    made, (by_length, by_place) = style.figure(2.5, columns=2, width_ratios=[1, 1.2], sharey=True)
    lengths = [20 * span for span in results["spans"]]
    by_length.plot(lengths, [100 * one for one in results["half"]], "s-", color=style.GREY)
    by_length.plot(lengths, [100 * one for one in results["found"]], "o-", color=style.BLUE)
    by_length.axhline(100 * results["commonest"], color=style.INK, linewidth=1, linestyle="--")
    by_length.text(430, 100 * results["half"][3] + 2, "one entry or both", color=style.GREY, fontsize=9)
    by_length.text(430, 100 * results["found"][3] + 2, "both entries", color=style.BLUE, fontsize=9)
    by_length.set(xlabel="length of the mask, ms", ylabel="hidden frames predicted, %", ylim=(0, None))
    for span, colour, marker in ((10, style.BLUE, "o"), (50, style.ORANGE, "D")):
        at = results["found_at"][str(span)]
        times = [20 * (place + 0.5 - span / 2) for place in range(span)]
        by_place.plot(times, [100 * one for one in at], marker + "-", color=colour, markersize=3.5)
        by_place.text(times[-1], 100 * at[-1] + 2, f"{20 * span} ms", color=colour, ha="center", fontsize=9)
    by_place.set(xlabel="place in the mask, ms from its middle")
    for axes in (by_length, by_place):
        axes.grid(axis="y")
    style.save(made, "wav2vec2_spans")


def main() -> None:
    """Draw the figure."""
    style.run("wav2vec2_spans", draw)


if __name__ == "__main__":
    main()
