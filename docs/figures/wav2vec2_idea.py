"""The idea of wav2vec 2.0 in one picture: two branches over real speech, with the units of a small trained model.

Speech, units and predictions are those of `interactive_masking.py`, for one mask of 200 ms.
"""

import base64
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

import style

_FIRST, _LAST = 74, 114  # frames shown: "cold hearted"
_START, _SPAN = 88, 10
_LEFT, _RIGHT = 1.95, 5.25  # inches, of everything that has a time axis


def draw(_: dict[str, Any]) -> None:
    """Draw both branches, from the speech at the bottom to the comparison at the top."""
    results = style.read_results("interactive_masking")
    mel = _numbers(results["mel"]).reshape(results["frames"], results["mels"])[_FIRST:_LAST]
    units = np.array(results["units"])[_FIRST:_LAST]
    made, axes = style.canvas(5.2)
    _spectrogram(axes, mel, 0.25)
    axes.text(_LEFT - 0.12, 0.7, r"speech $\mathbf{x}$", ha="right", va="center", fontsize=9.5)
    style.box(axes, (3.6, 1.62), (3.3, 0.42), r"front end $f$: frames $\mathbf{z}_t$, every 20 ms", style.GREY)
    style.arrow(axes, (3.6, 1.2), (3.6, 1.4))
    # Left branch: mask and context.
    style.box(axes, (1.85, 2.42), (2.5, 0.42), r"mask half, put $\mathbf{m}$ there", style.BLUE)
    style.box(axes, (1.85, 3.12), (2.5, 0.42), r"context network $g$: $\mathbf{c}_t$", style.BLUE)
    style.box(axes, (5.35, 2.77), (2.5, 0.62), "quantiser, without mask:\nunits $\\mathbf{q}_t$", style.ORANGE)
    style.arrow(axes, (2.9, 1.84), (2.2, 2.2))
    style.arrow(axes, (4.3, 1.84), (5.0, 2.45))
    style.arrow(axes, (1.85, 2.64), (1.85, 2.9))
    style.arrow(axes, (1.85, 3.34), (1.85, 3.62))
    style.arrow(axes, (5.35, 3.09), (5.35, 3.62))
    style.box(
        axes, (3.6, 3.86), (6.0, 0.46), r"which of 101 is $\mathbf{q}_t$?  softmax of cosine / $\kappa$", style.GREEN
    )
    _units(axes, results, units)
    style.save(made, "wav2vec2_idea")


def _numbers(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8)


def _spectrogram(axes: Axes, mel: NDArray[np.uint8], bottom: float) -> None:
    extent = (_LEFT, _RIGHT, bottom, bottom + 0.9)
    axes.imshow(mel.T, cmap=style.HEAT, origin="lower", aspect="auto", extent=extent, interpolation="nearest", zorder=1)
    scale = (_RIGHT - _LEFT) / len(mel)
    axes.add_patch(
        Rectangle(
            (_LEFT + (_START - _FIRST) * scale, bottom),
            _SPAN * scale,
            0.9,
            facecolor=style.CARD,
            edgecolor=style.BLUE,
            alpha=0.75,
            hatch="////",
            zorder=2,
        )
    )
    axes.set(xlim=(0, style.WIDTH), ylim=(0, 5.2))


def _units(axes: Axes, results: dict[str, Any], units: NDArray[np.int64]) -> None:
    """Draw the units of the shown frames, and those that the model predicts under the mask."""
    colours = ListedColormap(results["colours"])
    limits = {"vmin": 0, "vmax": len(results["colours"]) - 1, "cmap": colours, "aspect": "auto"}
    axes.imshow(units[None], extent=(_LEFT, _RIGHT, 4.62, 4.84), interpolation="nearest", **limits)
    scale = (_RIGHT - _LEFT) / len(units)
    left = _LEFT + (_START - _FIRST) * scale
    predicted = _predicted(results)
    axes.imshow(predicted[None], extent=(left, left + _SPAN * scale, 4.26, 4.48), interpolation="nearest", **limits)
    axes.add_patch(Rectangle((left, 4.22), _SPAN * scale, 0.66, fill=False, edgecolor=style.BLUE, linewidth=1.4))
    axes.text(_LEFT - 0.12, 4.73, "units that were there", ha="right", va="center", fontsize=9)
    axes.text(_LEFT - 0.12, 4.37, "predicted under the mask", ha="right", va="center", fontsize=9)
    axes.set(xlim=(0, style.WIDTH), ylim=(0, 5.2))


def _predicted(results: dict[str, Any]) -> NDArray[np.uint8]:
    """Return the most likely unit of each masked frame."""
    spans = results["spans"]
    begin = sum(span * (results["frames"] - span + 1) for span in spans[: spans.index(_SPAN)])
    begin += _START * _SPAN
    return _numbers(results["first"])[begin : begin + _SPAN]


def main() -> None:
    """Draw the figure."""
    style.run("wav2vec2_idea", draw)


if __name__ == "__main__":
    main()
