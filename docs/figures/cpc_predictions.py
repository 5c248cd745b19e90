"""What CPC predicts: the probability that it gives to each frame of a sentence, one row for each step ahead."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

import style
from _pretrain import phones, pretrain, sentence
from sori.nn.spectral import LogMel, LogMelConfig

_UPDATES = 600
_SHOWN = (1, 3, 6, 12)
_AROUND = 30


def measure() -> dict[str, Any]:
    """Pre-train a small CPC for half a minute and score every frame of the sentence as the future of every other."""
    size = {"system__dim": 128, "system__front__dim": 128, "data__batch_seconds": 20.48}
    model, reports = pretrain("cpc_tiny", train__num_steps=_UPDATES, train__log_every=50, **size)
    waveform = sentence()[None]
    lengths = torch.tensor([waveform.shape[1]])
    with torch.no_grad():
        z, c = model.context(model.features(waveform, lengths))
        logits = model.predictors(c)[0] @ z[0].T / z.shape[-1]  # "step position frame"
        log_probs = logits.log_softmax(-1)
        steps, positions, _ = log_probs.shape
        last = positions - steps
        ahead = torch.arange(1, steps + 1)[:, None] + torch.arange(last)
        losses = -log_probs[:, :last].gather(2, ahead[..., None]).squeeze(2).mean(0)  # "position"
        inside = losses[_AROUND : last - _AROUND]
        place = _AROUND + int(inside.argsort()[len(inside) // 2])
        mel = LogMel(LogMelConfig(stack=1))(waveform, lengths).data[0]
    tail = reports[-3:]
    accuracy = [sum(row[f"correct_{k}"] for row in tail) / len(tail) for k in range(1, steps + 1)]
    return {
        "updates": _UPDATES,
        "hours": reports[-1]["hours"],
        "loss": sum(row["loss"] for row in tail) / len(tail),
        "chance_nats": model.chance_nats,
        "accuracy": accuracy,
        "place": place,
        "probabilities": log_probs[:, place].exp().tolist(),
        "phones": phones(),
        "mel": [[round(value, 1) for value in row] for row in mel.tolist()],
    }


def draw(results: dict[str, Any]) -> None:
    """Draw the spectrogram, the probabilities that one position gives, and the fraction found in training."""
    made = Figure(figsize=(style.WIDTH, 5.6), layout="constrained")
    grid = made.add_gridspec(2 + len(_SHOWN), 1, height_ratios=[2.4, *[0.62] * len(_SHOWN), 1.9])
    place = results["place"]
    spectrum = made.add_subplot(grid[0])
    mel = np.array(results["mel"]).T
    spectrum.imshow(mel, origin="lower", aspect="auto", cmap=style.HEAT, extent=(0, mel.shape[1] / 100, 0, len(mel)))
    spectrum.axvline((place + 1) / 50, color=style.INK, linewidth=2.2)
    spectrum.axvline((place + 1) / 50, color=style.CARD, linewidth=0.8)
    spectrum.text((place + 1) / 50 - 0.03, 6, "processed", color=style.CARD, fontsize=9, ha="right")
    spectrum.text((place + 1) / 50 + 0.03, 6, "future", color=style.CARD, fontsize=9)
    spectrum.set_yticks([])
    spectrum.set_ylabel("log-mel")
    spectrum.tick_params(labelbottom=False)
    for begin, end, phone in results["phones"]:
        spectrum.text((begin + end) / 2, 81, phone.replace("SIL", ""), ha="center", va="bottom", fontsize=7)
    for row, step in enumerate(_SHOWN):
        probs = np.array(results["probabilities"][step - 1])
        axes = made.add_subplot(grid[1 + row], sharex=spectrum)
        axes.bar((np.arange(len(probs)) + 0.5) / 50, probs, width=1 / 50, color=style.BLUE)
        top = 1.25 * probs.max()
        axes.plot([(place + step + 0.5) / 50], [top], "v", color=style.ORANGE, markersize=6, clip_on=False)
        axes.axvline((place + 1) / 50, color=style.INK, linewidth=0.8)
        axes.set(ylim=(0, top), yticks=[])
        axes.set_ylabel(f"+{step}", rotation=0, ha="right", va="center")
        axes.tick_params(labelbottom=row == len(_SHOWN) - 1)
    axes.set_xlabel("s")
    spectrum.set_xlim(0, mel.shape[1] / 100)
    found = made.add_subplot(grid[-1])
    steps = range(1, len(results["accuracy"]) + 1)
    found.bar(steps, [100 * one for one in results["accuracy"]], color=style.BLUE, width=0.6)
    found.axhline(100 / 129, color=style.ORANGE, linewidth=1.2)
    found.text(12.5, 100 / 129 + 2.2, "chance level", color=style.ORANGE, fontsize=9, ha="right")
    found.set(xlabel="frames ahead (20 ms each)", ylabel="found, %", xlim=(0.4, 12.6))
    found.set_xticks(list(steps))
    style.save(made, "cpc_predictions")


def main() -> None:
    """Draw the figure."""
    style.run("cpc_predictions", draw, measure)


if __name__ == "__main__":
    main()
