"""Reading of sound files as 16 kHz mono waveforms: any rate, any number of channels, whole files or parts of them.

libsndfile decodes (WAV, FLAC, OGG/Vorbis, OGG/Opus, MP3, AIFF and others), and soxr resamples ("HQ").

A file gives the same samples read whole or in parts. For lossless files at 16 kHz this is exact. Resampled parts agree
with the whole within -90 dB, because a margin around the part is resampled with it. MP3, Vorbis and Opus decoders
restart after a seek and agree within the tolerance of the codec.
"""

import math
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
import torch

from sori.core.shapes import Float, Tensor
from sori.core.user_files import require_file

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside the package."""

_MARGIN_SECONDS = 0.05
"""Margin before and after a resampled part: longer than soxr's filter, so that the edges have no effect."""

_VORBIS_TAIL_SECONDS = 40
"""Tail of a Vorbis file that is decoded rather than sought, because libvorbisfile's seeks into the last page of a file
are some milliseconds off. A page has at most 255 packets, 32 s of sound at 8 kHz."""

_BLOCK_FRAMES = 1 << 20
"""Frames read at once, so that a wrong length in a header cannot cause a huge allocation."""


class AudioInfo(NamedTuple):
    """Format and length of a sound file, from its header."""

    sample_rate: int
    num_frames: int
    """Number of samples per channel at the file's own rate."""
    num_channels: int
    format: str
    """Container and encoding by libsndfile's names, such as `WAV/PCM_16`."""

    @property
    def num_samples(self) -> int:
        """Return the number of samples of the 16 kHz waveform, rounded down."""
        return self.num_frames * SAMPLE_RATE // self.sample_rate


def info(path: str | PathLike[str]) -> AudioInfo:
    """Return rate, length and format of a sound file, from its header alone.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded.
    """
    with _open(path) as file:
        return _info(file)


def read(path: str | PathLike[str], *, start: float = 0.0, duration: float | None = None) -> Float[Tensor, " sample"]:
    """Decode a sound file, average its channels and resample it.

    Args:
        path: sound file.
        start: seconds to skip, rounded to the nearest sample at 16 kHz.
        duration: seconds to read, rounded likewise; None: to the end.

    Returns:
        Waveform at 16 kHz, float32, full scale at 1.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be decoded, or ends before the requested part.
    """
    first = round(start * SAMPLE_RATE)
    if first < 0 or (duration is not None and duration < 0):
        raise ValueError(f"expected start and duration of 0 s or more, got start={start} and duration={duration}")
    with _open(path) as file:
        about = _info(file)
        stop = about.num_samples if duration is None else first + round(duration * SAMPLE_RATE)
        if stop > about.num_samples or first > stop:
            raise ValueError(_too_late(path, start, duration, about.num_samples))
        try:
            waveform = _resampled(file, about, first, stop)
        except soundfile.LibsndfileError as error:
            raise ValueError(_undecodable(path, str(error))) from None
    if duration is not None and len(waveform) < stop - first:
        raise ValueError(_too_late(path, start, duration, first + len(waveform)))
    return torch.from_numpy(waveform)


def _open(path: str | PathLike[str]) -> soundfile.SoundFile:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file; if it was moved after `sori prepare`, prepare it again")
    require_file(path)
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a raw file, whose rate is unknown
        raise ValueError(_undecodable(path, str(error))) from None


def _info(file: soundfile.SoundFile) -> AudioInfo:
    return AudioInfo(file.samplerate, file.frames, file.channels, f"{file.format}/{file.subtype}")


def _resampled(file: soundfile.SoundFile, about: AudioInfo, first: int, stop: int) -> np.ndarray:
    """Return the 16 kHz samples `first` to `stop`; fewer if the file is shorter than its header states."""
    rate = about.sample_rate
    if rate == SAMPLE_RATE:
        return _mono(file, first, stop)
    # `down` frames of the file last exactly as long as `up` samples at 16 kHz. Reading from a multiple of `down` aligns
    # the resampled part with the sampling grid of the resampled whole.
    divisor = math.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // divisor, rate // divisor
    margin = math.ceil(_MARGIN_SECONDS * SAMPLE_RATE / up)
    skip = max(0, first // up - margin)
    end = min(about.num_frames, (math.ceil(stop / up) + margin) * down)
    waveform = soxr.resample(_mono(file, skip * down, end), rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(waveform[first - skip * up : stop - skip * up])


def _mono(file: soundfile.SoundFile, first: int, stop: int) -> np.ndarray:
    """Return frames `first` to `stop` at the file's own rate, channels averaged; fewer if the file ends early."""
    entry = first
    if file.subtype == "VORBIS":
        entry = max(0, min(first, file.frames - _VORBIS_TAIL_SECONDS * file.samplerate))
    if entry > 0:
        file.seek(entry)
    blocks = [np.zeros(0, dtype=np.float32)]
    remaining = stop - entry
    while remaining > 0:
        block = file.read(min(remaining, _BLOCK_FRAMES), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
        remaining -= len(block)
    return np.concatenate(blocks)[first - entry :]


def _undecodable(path: str | PathLike[str], reason: str) -> str:
    name, size = Path(path), Path(path).stat().st_size
    return (
        f"{path}: expected a sound file, got something that cannot be decoded ({name.suffix or 'no suffix'}, {size} "
        f"bytes): {reason} Likely truncated or damaged, wrongly named, or in a format outside WAV, FLAC, OGG and MP3; "
        f"convert the last with `ffmpeg -i {name.name} {name.stem}.converted.flac`"
    )


def _too_late(path: str | PathLike[str], start: float, duration: float | None, num_samples: int) -> str:
    wanted = "the rest" if duration is None else f"{duration:g} s"
    return (
        f"{path}: expected {wanted} from {start:g} s on, but the sound ends at {num_samples / SAMPLE_RATE:g} s; likely "
        "truncated, or changed after `sori prepare`: prepare it again"
    )
