"""SimCLR on speech: two views of a sentence, and the similarities of views before and after training."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

import sori
import style
from _pretrain import data_folder, pretrain, sentence
from sori.core.seeds import Rng
from sori.core.shapes import Float, Tensor
from sori.models.simclr import SimClr
from sori.nn.speech_views import cut_views

_UPDATES = 150
_EXAMPLES = 12


def measure() -> dict[str, Any]:
    """Pre-train a small SimCLR for half a minute and compare the views of twelve utterances."""
    size = {"system__dim": 128, "system__num_layers": 3, "data__batch_seconds": 40.96}
    model, reports = pretrain("simclr_tiny", train__num_steps=_UPDATES, train__log_every=20, **size)
    torch.manual_seed(0)
    untrained = SimClr(model.config).eval()
    crops = _crops()
    draws = model.draw(len(crops), crops.shape[1], Rng(0), crops.device).views
    views = cut_views(crops, draws)
    flat = views.transpose(0, 1).flatten(0, 1)  # all first views, then all second ones
    lengths = torch.full((len(flat),), flat.shape[1])
    cosines = {}
    for name, one in (("before", untrained), ("after", model)):
        with torch.no_grad():
            frames = one.front(flat, lengths, warp=draws.warps.T.flatten())
            last = one.context(frames, masked=draws.gaps.transpose(0, 1).flatten(0, 1))[-1].mean(1)
            h = torch.nn.functional.normalize(last - last.mean(0), dim=1)
        cosines[name] = (h[:_EXAMPLES] @ h[_EXAMPLES:].T).tolist()
    frames = model.front(flat, lengths, warp=draws.warps.T.flatten()).data
    tail = reports[-1]
    return {
        "updates": _UPDATES,
        "hours": tail["hours"],
        "loss": tail["contrastive"],
        "chance": tail["chance"],
        "correct": tail["correct"],
        "starts": (draws.starts[0] / 16_000).tolist(),
        "cosines": cosines,
        "mel": {name: _mel(frames[row]) for name, row in (("first", 0), ("second", _EXAMPLES))},
        "gaps": draws.gaps[0].tolist(),
    }


def _crops() -> Float[Tensor, "batch sample"]:
    """Return 2.56 s from the middle of twelve utterances; the first is the sentence."""
    found = [sentence()]
    for path in sorted((data_folder() / "english-tiny" / "audio").glob("*.flac")):
        waveform = sori.read(path)
        if len(waveform) >= 2.56 * 16_000 and not torch.equal(waveform, found[0]):
            found.append(waveform)
    return torch.stack([one[(len(one) - 40_960) // 2 :][:40_960] for one in found[:_EXAMPLES]])


def _mel(frames: Float[Tensor, "frame mel"]) -> list[list[float]]:
    """Return two windows of each frame as rows."""
    return [[round(value, 1) for value in row] for row in frames.unflatten(1, (2, -1)).flatten(0, 1).tolist()]


def draw(results: dict[str, Any]) -> None:
    """Draw the two views of the sentence, and the similarities before and after training."""
    made = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
    grid = made.add_gridspec(2, 2, height_ratios=[1, 1.75])
    for column, name in enumerate(("first", "second")):
        axes = made.add_subplot(grid[0, column])
        mel = np.array(results["mel"][name]).T
        begin = results["starts"][column]
        extent = (begin, begin + mel.shape[1] / 100, 0, len(mel))
        axes.imshow(mel, origin="lower", aspect="auto", cmap=style.HEAT, extent=extent, vmin=-2, vmax=3)
        edges = np.flatnonzero(np.diff([0, *results["gaps"][column], 0])).reshape(-1, 2)
        for first, last in edges:
            axes.axvspan(begin + first / 50, begin + last / 50, color=style.CARD, linewidth=0)
        axes.set_yticks([])
        axes.set_xlabel("s")
        axes.set_title(f"{name} view")
    for column, name in enumerate(("before", "after")):
        axes = made.add_subplot(grid[1, column])
        shown = axes.imshow(np.array(results["cosines"][name]), cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set(xlabel="second view", ylabel="first view", xticks=[], yticks=[])
        axes.set_title(f"{name} training")
    made.colorbar(shown, ax=made.axes[2:], label="cosine", shrink=0.8)
    style.save(made, "simclr_views")


def main() -> None:
    """Draw the figure."""
    style.run("simclr_views", draw, measure)


if __name__ == "__main__":
    main()
