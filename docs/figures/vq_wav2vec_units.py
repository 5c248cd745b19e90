"""Units of vq-wav2vec: a sentence as the model writes it, and what becomes of the codebook with and without help."""

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import style
from _pretrain import phones, pretrain, sentence
from sori.nn.spectral import LogMel, LogMelConfig

_UPDATES = 200
_SETTINGS: dict[str, dict[str, Any]] = {
    "with": {},
    "without": {  # the run would stop when the codebook has collapsed
        "system__start_sharpness": 0.0,
        "system__diversity_weight": 0.0,
        "watch__stop_on_collapse": False,
    },
}


def measure() -> dict[str, Any]:
    """Pre-train `vq_wav2vec_tiny` twice for a short time and write the units of the sentence."""
    runs = {}
    for name, changes in _SETTINGS.items():
        model, reports = pretrain(
            "vq_wav2vec_tiny",
            train__num_steps=_UPDATES,
            train__log_every=10,
            system__gumbel_updates=round(0.7 * _UPDATES),
            **changes,
        )
        waveform = sentence()[None]
        lengths = torch.tensor([waveform.shape[1]])
        with torch.no_grad():
            units = model.units(waveform, lengths).data[0]
        runs[name] = {
            "updates": [row["step"] for row in reports],
            "code_perplexity": [row["code_perplexity"] for row in reports],
            "contrastive": [row["contrastive"] for row in reports],
            "correct": [row["correct"] for row in reports],
            "units": units.tolist(),
        }
    mel = LogMel(LogMelConfig(stack=1))(waveform, lengths).data[0]
    return {
        "runs": runs,
        "entries": model.max_code_perplexity,
        "chance_nats": model.chance_nats,
        "hop_seconds": model.hop_samples / 16_000,
        "phones": phones(),
        "mel": [[round(value, 1) for value in row] for row in mel.tolist()],
    }


def draw(results: dict[str, Any]) -> None:
    """Draw the sentence with its units, and the use of the codebook in both runs."""
    made = Figure(figsize=(style.WIDTH, 5.2), layout="constrained")
    grid = made.add_gridspec(4, 1, height_ratios=[1.9, 0.36, 0.36, 2.2])
    spectrum = made.add_subplot(grid[0])
    mel = np.array(results["mel"]).T
    spectrum.imshow(mel, origin="lower", aspect="auto", cmap=style.HEAT, extent=(0, mel.shape[1] / 100, 0, len(mel)))
    for begin, end, phone in results["phones"]:
        spectrum.text((begin + end) / 2, 81, phone.replace("SIL", ""), ha="center", va="bottom", fontsize=7)
    spectrum.set_yticks([])
    spectrum.tick_params(labelbottom=False)
    units = np.array(results["runs"]["with"]["units"])
    hop = results["hop_seconds"]
    for group in range(units.shape[1]):
        axes = made.add_subplot(grid[1 + group], sharex=spectrum)
        _draw_strip(axes, units[:, group], hop)
        for begin, *_ in results["phones"][1:]:
            axes.axvline(begin, color=style.INK, linewidth=0.5)
        axes.set_ylabel(f"group {group + 1}", rotation=0, ha="right", va="center", fontsize=9)
        axes.tick_params(labelbottom=group == 1)
    axes.set_xlabel("s")
    spectrum.set_xlim(0, mel.shape[1] / 100)
    used = made.add_subplot(grid[3])
    for name, colour, marker in (("with", style.BLUE, "o"), ("without", style.ORANGE, "s")):
        run = results["runs"][name]
        used.plot(run["updates"], run["code_perplexity"], marker + "-", color=colour, markersize=3.5)
        label = "clusters and a loss for even use" if name == "with" else "neither"
        used.annotate(label, (run["updates"][-1], run["code_perplexity"][-1]), (0, 7), textcoords="offset points",
                      color=colour, fontsize=9, ha="right")  # fmt: skip
    used.axhline(results["entries"], color=style.GREY, linestyle=":")
    used.set(xlabel="updates", ylabel="entries in use", ylim=(0, 1.1 * results["entries"]))
    style.save(made, "vq_wav2vec_units")


def _draw_strip(axes: Axes, units: np.ndarray, hop: float) -> None:
    """Draw one coloured cell for each frame; equal units have equal colours, the most frequent ones distinct ones."""
    names, counts = np.unique(units, return_counts=True)
    ranked = names[np.argsort(-counts, kind="stable")]
    for start, unit in enumerate(units):
        rank = int(np.flatnonzero(ranked == unit)[0])
        colour = colormaps["tab20"](rank % 20)
        axes.axvspan(start * hop, (start + 1) * hop, color=colour, linewidth=0)
    axes.set_yticks([])


def main() -> None:
    """Draw the figure."""
    style.run("vq_wav2vec_units", draw, measure)


if __name__ == "__main__":
    main()
