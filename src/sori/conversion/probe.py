"""A fixed waveform, and what a model makes of it: the part of a certificate that anybody can repeat."""

import contextlib
import io
import math
import warnings
from pathlib import Path
from typing import Any

import torch

from sori.conversion.model import Model
from sori.encoders import Encoder
from sori.shapes import Float, Tensor
from sori.systems.ctc import Ctc

WAVE = "2 s of sines that glide from 100 to 3,000 Hz, 16 kHz"
"""What `fixed_wave` is, in words."""


def fixed_wave() -> Float[Tensor, " sample"]:
    """The waveform; computed without random numbers, so that every machine has the same."""
    seconds = torch.arange(32_000, dtype=torch.float64) / 16_000
    wave = torch.zeros_like(seconds)
    for low, high, loudness in ((100, 300, 0.1), (400, 1200, 0.05), (900, 3000, 0.02)):
        wave += loudness * torch.sin(2 * math.pi * (low * seconds + (high - low) * seconds.square() / 4))
    return wave.float()


@torch.no_grad()
def answer(system: Encoder | Ctc) -> Float[Tensor, "frame dim"]:
    """Logits of a recogniser, last layer of an encoder."""
    wave = fixed_wave()[None]
    lengths = torch.tensor([wave.shape[1]])
    return (system.logits(wave, lengths) if isinstance(system, Ctc) else system.frames(wave, lengths)).data[0]


def summary(values: Float[Tensor, "frame dim"]) -> dict[str, Any]:
    """A few numbers that two models will hardly share."""
    return {
        "waveform": WAVE,
        "shape": list(values.shape),
        "mean": round(float(values.double().mean()), 6),
        "deviation": round(float(values.double().std()), 6),
        "first": [round(float(value), 5) for value in values[0, :4]],
    }


@torch.no_grad()
def answer_of_transformers(folder: Path, model: Model, *, language: str | None) -> Float[Tensor, "frame dim"] | None:
    """The same from the folder itself, run by transformers; None where that is not installed."""
    try:
        import transformers
    except ModuleNotFoundError:
        return None
    front = model.wav2vec2_config.front
    assert front.kind == "conv"  # noqa: S101 - transformers has no other
    wave = fixed_wave()[None]
    if front.normalize:
        wave = (wave - wave.mean()) * (wave.var(correction=0) + front.normalize_floor).rsqrt()
    architecture = model.origin["config"].get("architectures", ["Wav2Vec2Model"])[0]
    options = {"target_lang": language, "ignore_mismatched_sizes": True} if language else {}
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # progress bars
        warnings.simplefilter("ignore")
        theirs = getattr(transformers, architecture).from_pretrained(folder, local_files_only=True, **options)
    theirs.float().eval()
    if architecture != "Wav2Vec2ForCTC":
        encoder = getattr(theirs, "wav2vec2", theirs)
        return encoder(wave).last_hidden_state[0]  # type: ignore[no-any-return]
    return theirs(wave).logits[0][:, model.origin["order"]]  # type: ignore[no-any-return]
