"""Decode a sound file of any format to a copy at 16 kHz, and to the peaks that a waveform is drawn from.

Nothing that this imports imports torch, so that a process that runs it starts in a fraction of a second.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from sori.core.sound.decoders import open_decoder
from sori.core.sound.phases import Phases
from sori.core.sound.sound_error import SoundError
from sori.core.sound.waveforms import SAMPLE_RATE, Waveform

PEAKS_PER_SECOND = 100
_PEAK_SAMPLES = SAMPLE_RATE // PEAKS_PER_SECOND
_BLOCK_SAMPLES = 60 * SAMPLE_RATE
_SCANNED_FRAMES = 1 << 18


class SoundCopy(NamedTuple):
    """A decoded recording."""

    num_samples: int
    format: str
    """Container and coding of the file, such as `MP3/MPEG_LAYER_III`."""
    missing: str | None
    """Why sound is missing at the end; None: it is complete."""


def write_copy(
    path: Path, copy: Path, peaks: Path, *, max_seconds: float, progress: Callable[[], None] = lambda: None
) -> SoundCopy:
    """Decode a sound file; the samples of the copy are those that `sori.read` returns.

    Args:
        path: sound file of any format.
        copy: WAV file to write: 16 kHz, mono, float32.
        peaks: file to write: the largest absolute sample of each 10 ms, one byte each, 255 for full scale.
        max_seconds: longest recording.
        progress: called now and then.

    Raises:
        SoundError: the file cannot be decoded, is empty or too long, or has samples that are not finite.
    """
    channel = _channel(path, max_seconds, progress)
    decoder = open_decoder(path)
    try:
        waveform, position = Waveform(decoder, channel), 0
        with (
            soundfile.SoundFile(copy, "w", SAMPLE_RATE, 1, "FLOAT", format="WAV") as samples,
            peaks.open("wb") as drawn,
        ):
            while len(block := waveform.read(position, position + _BLOCK_SAMPLES)):
                progress()
                if not np.isfinite(block).all():
                    raise SoundError("not finite", "there are samples that are no numbers; export the recording again")
                position += len(block)
                _require_length(position, max_seconds)
                samples.write(block)
                drawn.write(_peaks(block))
                if len(block) < _BLOCK_SAMPLES:
                    break
        if not position:
            raise SoundError("empty", "there is no sound in the file")
        return SoundCopy(position, decoder.format, decoder.missing)
    finally:
        decoder.close()


def _channel(path: Path, max_seconds: float, progress: Callable[[], None]) -> int | None:
    """Return the channel to use of a file whose two channels would cancel out; None: the average."""
    decoder, phases, num_frames = open_decoder(path), Phases(), 0
    try:
        if decoder.num_channels != 2:
            return None
        while len(block := decoder.read(_SCANNED_FRAMES)):
            progress()
            phases.add(block)
            num_frames += len(block)
            _require_length(num_frames * SAMPLE_RATE // decoder.sample_rate, max_seconds)
        return phases.channel
    finally:
        decoder.close()


def _require_length(num_samples: int, max_seconds: float) -> None:
    if num_samples > max_seconds * SAMPLE_RATE:
        raise SoundError(
            "too long", f"expected at most {max_seconds / 3600:g} hours; use `sori transcribe`, which takes any length"
        )


def _peaks(block: np.ndarray[tuple[int], np.dtype[np.float32]]) -> bytes:
    padded = np.pad(np.abs(block), (0, -len(block) % _PEAK_SAMPLES))
    return bytes((padded.reshape(-1, _PEAK_SAMPLES).max(axis=1).clip(0, 1) * 255).astype(np.uint8))
