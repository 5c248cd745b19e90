"""Checks of the inputs of inference: recordings, waveforms, recognisers."""

from pathlib import Path

import torch

from sori.core.audio import SAMPLE_RATE, read
from sori.core.shapes import Float, Int, Tensor
from sori.models.ctc import Ctc
from sori.models.factory import System, encoder_of
from sori.text.vocabulary import Vocabulary


def checked_recogniser(model: System) -> tuple[Ctc, Vocabulary]:
    """Return a recogniser and its vocabulary.

    Raises:
        ValueError: the model is not a recogniser.
    """
    if not isinstance(model, Ctc) or model.vocabulary is None:
        raise ValueError(
            "expected a recogniser, got a model without an output vocabulary; fine-tune it with transcripts first: "
            "`sori train ctc_10min --init MODEL`"
        )
    return model, model.vocabulary


def as_lengths(waveform: Float[Tensor, " sample"]) -> Int[Tensor, " batch"]:
    """Return the length of a waveform as the lengths of a batch of one."""
    return torch.tensor([len(waveform)], device=waveform.device)


def checked_waveform(model: System, source: str | Path | Tensor, sample_rate: int | None) -> Float[Tensor, " sample"]:
    """Return 16 kHz samples on the model's device, long enough for a frame.

    Raises:
        ValueError: a waveform comes without its rate or at another one, is too short, or is not finite.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, Tensor):
        if sample_rate != SAMPLE_RATE:
            raise ValueError(
                f"expected a waveform with sample_rate={SAMPLE_RATE}, got sample_rate={sample_rate}; samples carry no "
                "sampling rate, and at a wrong one the result is wrong: pass the result of `sori.read` with "
                f"sample_rate={SAMPLE_RATE}, or pass the file, which is resampled"
            )
        waveform, name = source, "the waveform"
    else:
        waveform, name = read(source), str(source)
    shortest = encoder_of(model).field_samples
    if len(waveform) < shortest:
        raise ValueError(
            f"{name} has {len(waveform)} samples, but one frame needs {shortest} "
            f"({shortest * 1000 // SAMPLE_RATE} ms); likely an empty or truncated recording"
        )
    if not bool(torch.isfinite(waveform).all()):
        raise ValueError(
            f"{name} contains NaN or infinite samples; likely damaged, or a failed conversion: export it again"
        )
    return waveform.to(next(model.parameters()).device)
