"""What CPC predicts: the probability that it gives to each frame of a sentence, one row for each step ahead."""

from typing import Any

import numpy as np
import torch

import style
from pretrain import pretrain, sentence
from sori.core.shapes import Float, Tensor
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
        "mean_by_distance": _by_distance(log_probs.exp()).tolist(),
        "mel": [[round(value, 1) for value in row] for row in mel.tolist()],
    }


def _by_distance(probs: Float[Tensor, "step position frame"]) -> Float[Tensor, "step distance"]:
    """Return the mean probability of the frames at each distance from the position, -30 to +30."""
    places = range(_AROUND, probs.shape[2] - _AROUND)
    return torch.stack([probs[:, t, t - _AROUND : t + _AROUND + 1] for t in places]).mean(0)


def draw(results: dict[str, Any]) -> None:
    """Draw the spectrogram, the probabilities of one position, and those by distance."""
    made, _ = style.figure(5.2)
    style.save(made, "cpc_predictions")
    np.array(results["mel"])


def main() -> None:
    """Draw the figure."""
    style.run("cpc_predictions", draw, measure)


if __name__ == "__main__":
    main()
