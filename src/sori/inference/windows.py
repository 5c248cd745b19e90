"""Frames of recordings of any length, computed in overlapping windows of bounded length.

Attention takes memory that grows with the square of the length. A recording longer than `WINDOW_SECONDS` is therefore
processed in windows with `CONTEXT_SECONDS` on either side, whose frames are not kept. All windows share one grid of
frames, so number and times of the frames are those of the whole. Models whose frames depend on less than the context
return the same frames as for the whole; others (attention, normalisation over time) nearly the same.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from sori.core import audio
from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor

WINDOW_SECONDS = 30.0
"""Length of the longest window; shorter recordings are processed as a whole."""
CONTEXT_SECONDS = 4.0

Waveform = Float[Tensor, " sample"]
Reader = Callable[[int, int], Waveform]
"""Returns samples `first` to `stop` of a recording."""


def open_reader(source: Path | Waveform) -> tuple[Reader, int]:
    """Return a reader of a sound file or of a waveform at 16 kHz, and the number of samples."""
    if isinstance(source, Tensor):
        return lambda first, stop: source[first:stop], len(source)
    return (
        lambda first, stop: audio.read(source, start=first / SAMPLE_RATE, duration=(stop - first) / SAMPLE_RATE),
        audio.info(source).num_samples,
    )


def frames_of(
    compute: Callable[[Waveform], Tensor],
    read: Reader,
    num_samples: int,
    *,
    hop_samples: int,
    field_samples: int,
    window_seconds: float = WINDOW_SECONDS,
) -> Tensor:
    """Compute the frames of a recording in windows, as if in one piece.

    Args:
        compute: returns the frames of a waveform, on the first axis.
        read: reader of the recording.
        num_samples: length of the recording.
        hop_samples: distance of two frames.
        field_samples: length of the part of the waveform from which a frame is computed.
        window_seconds: longest waveform that is given to `compute`.

    Returns:
        Frames, on the CPU.
    """
    if num_samples <= window_seconds * SAMPLE_RATE:
        return compute(read(0, num_samples)).cpu()
    total = (num_samples - field_samples) // hop_samples + 1
    context = round(CONTEXT_SECONDS * SAMPLE_RATE) // hop_samples
    longest = (round(window_seconds * SAMPLE_RATE) - field_samples) // hop_samples + 1
    kept = longest - 2 * context
    assert kept > 0, f"windows of {window_seconds} s are shorter than their context"  # noqa: S101
    parts = []
    for first in range(0, total, kept):
        stop = min(first + kept, total)
        begin, end = max(0, first - context), min(total, stop + context)
        frames = compute(read(begin * hop_samples, (end - 1) * hop_samples + field_samples))
        parts.append(frames[first - begin : stop - begin].cpu())
    return torch.cat(parts)
