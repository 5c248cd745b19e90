"""Units of vq-wav2vec: a sentence as the model writes it, and what becomes of the codebook with and without help."""

from typing import Any

import numpy as np
import torch

import style
from pretrain import phones, pretrain, sentence
from sori.nn.spectral import LogMel, LogMelConfig

_UPDATES = 300
_SETTINGS: dict[str, dict[str, Any]] = {
    "with": {},
    "without": {"system__start_sharpness": 0.0, "system__diversity_weight": 0.0},
}


def measure() -> dict[str, Any]:
    """Pre-train `vq_wav2vec_tiny` twice for a short time and write the units of the sentence."""
    runs = {}
    for name, changes in _SETTINGS.items():
        model, reports = pretrain(
            "vq_wav2vec_tiny",
            train__num_steps=_UPDATES,
            train__log_every=20,
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
        "hop_seconds": model.hop_samples / sori_rate(),
        "phones": phones(),
        "mel": [[round(value, 1) for value in row] for row in mel.tolist()],
    }


def sori_rate() -> int:
    """Return samples per second."""
    return 16_000


def draw(results: dict[str, Any]) -> None:
    """Draw."""
    made, _ = style.figure(5.2)
    style.save(made, "vq_wav2vec_units")
    np.array(results["mel"])


def main() -> None:
    """Draw the figure."""
    style.run("vq_wav2vec_units", draw, measure)


if __name__ == "__main__":
    main()
