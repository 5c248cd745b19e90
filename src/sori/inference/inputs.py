"""Checks of the inputs of inference: recordings, waveforms, recognisers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import soxr
import torch

from sori.core import system_errors
from sori.core.audio import SAMPLE_RATE, info, read
from sori.core.log import logger
from sori.core.shapes import Float, Int, Tensor
from sori.core.sound.sound_suffixes import COMMON_SUFFIXES, sound_files_below
from sori.models.ctc import Ctc
from sori.models.factory import System, encoder_of
from sori.text.vocabulary import Vocabulary

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Possible sampling rates of waveforms, in Hz."""
MOST_SECONDS = 3600.0
"""Longest recording that is read in one piece, where a result for all of it at once is wanted."""


def recordings_in(sources: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield every sound file, and its path below the folder that was given (the name of a file that was given).

    Files that are left out because their names are not those of sound files are counted in a message.

    Raises:
        FileNotFoundError: a folder contains no sound files.
    """
    for source in sources:
        if not source.is_dir():
            yield source, Path(source.name)
            continue
        found, others, unreadable = sound_files_below(source)
        for folder, error in unreadable.items():
            logger.warning("%s cannot be listed and is left out: %s", folder, error)
        if not found:
            raise FileNotFoundError(f"{source} contains no sound files ({COMMON_SUFFIXES} and the like)")
        listed = ", ".join(f"{count} x {suffix}" for suffix, count in others.most_common())
        logger.info("%s: %d sound files; other files, which are left out: %s", source, len(found), listed or "none")
        yield from ((path, path.relative_to(source)) for path in found)


def reason_of(error: Exception, path: str | Path) -> str:
    """Return why a recording cannot be processed, without its name; any error costs its own recording only."""
    if isinstance(error, ValueError | OSError):
        message = system_errors.explained(error) if isinstance(error, OSError) else str(error)
        return message.removeprefix(f"{path}: ")
    if system_errors.is_out_of_memory(error):
        return f"not enough memory ({error}); likely a very long recording: cut it with `sori prepare`"
    return f"{type(error).__name__}: {error}"


def read_whole(path: str | Path, *, most_seconds: float = MOST_SECONDS) -> Float[Tensor, " sample"]:
    """Read a sound file in one piece.

    Raises:
        ValueError: it cannot be decoded, or is too long.
        FileNotFoundError: there is no such file.
    """
    seconds = info(path).num_samples / SAMPLE_RATE
    if seconds > most_seconds:
        raise ValueError(
            f"{path}: expected a recording of up to {most_seconds / 60:g} min, got {seconds / 60:.1f} min; likely a "
            "whole session: cut it with `sori prepare`, or use `sori transcribe`, which takes any length"
        )
    return read(path)


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


def checked_source(
    model: System, source: str | Path | Tensor, sample_rate: int | None, *, max_seconds: float
) -> Path | Float[Tensor, " sample"]:
    """Return the samples of a waveform or of a short file, checked; a longer file is to be read part by part.

    Args:
        model: model that will process it.
        source: sound file, or waveform.
        sample_rate: sampling rate of a waveform.
        max_seconds: length of the longest file to be read whole.

    Raises:
        ValueError, FileNotFoundError: see `checked_waveform`.
    """
    if isinstance(source, Tensor) or info(source).num_samples <= max_seconds * SAMPLE_RATE:
        return checked_waveform(model, source, sample_rate)
    return Path(source)


def at_16_khz(waveform: Float[Tensor, " given"], sample_rate: int | None) -> Float[Tensor, " sample"]:
    """Resample a waveform of known sampling rate.

    Raises:
        ValueError: the rate is missing or impossible.
    """
    if sample_rate is None or not MIN_RATE <= sample_rate <= MAX_RATE:
        raise ValueError(
            f"expected the sampling rate of the waveform in Hz, such as sample_rate={SAMPLE_RATE} for the result of "
            f"`sori.read`, got sample_rate={sample_rate}; samples carry no sampling rate, and at a wrong one the "
            "result is wrong"
        )
    if sample_rate == SAMPLE_RATE:
        return waveform
    resampled = soxr.resample(waveform.cpu().float().numpy(), sample_rate, SAMPLE_RATE, quality="HQ")
    return torch.from_numpy(resampled).to(waveform.device)


def checked_waveform(model: System, source: str | Path | Tensor, sample_rate: int | None) -> Float[Tensor, " sample"]:
    """Return 16 kHz samples on the model's device, long enough for a frame.

    Raises:
        ValueError: a waveform comes without its rate, is too short, or is not finite; a file is too long or cannot be
            decoded.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, Tensor):
        waveform, name = at_16_khz(source, sample_rate), "the waveform"
    else:
        waveform, name = read_whole(source), str(source)
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
