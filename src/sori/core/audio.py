"""Reading of sound files as 16 kHz mono waveforms: any common format, rate and number of channels, whole or in part.

libsndfile decodes what it decodes well, ffmpeg (PyAV) the rest, and soxr resamples ("HQ"); see `core/sound/`. The
length of a file is what its decoder delivers, not what its header states. A stretch of a file has the same samples, bit
for bit, as the same stretch of the whole, in every format. The path may be that of a part of a tar file
(`core/sound/tar_members.py`), which is decoded whole.
"""

import threading
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from sori.core.log import logger
from sori.core.shapes import Float, Tensor
from sori.core.sound.decoders import Decoder, open_decoder
from sori.core.sound.phases import Phases
from sori.core.sound.sound_error import SoundError
from sori.core.sound.sound_suffixes import COMMON_SUFFIXES
from sori.core.sound.tar_members import Member, Sound, decoded, member_of
from sori.core.sound.waveforms import LONGEST_SECONDS as LONGEST_SECONDS  # noqa: PLC0414 - exported from here
from sori.core.sound.waveforms import SAMPLE_RATE as SAMPLE_RATE  # noqa: PLC0414 - exported from here
from sori.core.sound.waveforms import Waveform
from sori.core.user_files import require_file

Channel = int | Literal["average"] | None
"""A channel, numbered from 0; the average of all; None: the average, except that of a file whose two channels are of
opposite phase and would cancel each other out, one is used."""

_SCANNED_FRAMES = 1 << 18
_KEPT_OPEN = 4
"""Files that cannot be positioned are kept open where reading stopped, because the next stretch usually follows."""


class AudioInfo(NamedTuple):
    """Format and length of a sound file."""

    sample_rate: int
    num_frames: int
    """Number of samples per channel at the file's own rate, as decoded."""
    num_channels: int
    format: str
    """Container and encoding, such as `WAV/PCM_16`."""
    channel: int | None = None
    """The channel to use, where the average would cancel out; None: the average of all."""

    @property
    def num_samples(self) -> int:
        """Return the number of samples of the 16 kHz waveform, rounded down."""
        return self.num_frames * SAMPLE_RATE // self.sample_rate


def info(path: str | PathLike[str]) -> AudioInfo:
    """Return rate, length and format of a sound file.

    Files whose header cannot be relied on, and stereo files, are decoded to the end; the result is remembered while the
    file stays the same.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded.
    """
    member = member_of(path)
    if member is not None:
        sound = _member(member)
        num_frames, num_channels = sound.samples.shape
        return AudioInfo(sound.sample_rate, num_frames, num_channels, sound.format)
    _require_sound(path)
    about = Path(path).stat()
    try:
        return _scan(fspath(path), about.st_size, about.st_mtime_ns)
    except SoundError as error:
        raise ValueError(_unusable(path, error)) from None


def read(
    path: str | PathLike[str], *, start: float = 0.0, duration: float | None = None, channel: Channel = None
) -> Float[Tensor, " sample"]:
    """Decode a sound file, mix its channels and resample it.

    Args:
        path: sound file.
        start: seconds to skip, rounded to the nearest sample at 16 kHz.
        duration: seconds to read, rounded likewise; None: to the end.
        channel: see `Channel`.

    Returns:
        Waveform at 16 kHz, float32. Full scale is 1; files with float samples may exceed it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be decoded, has no such channel, or ends before the requested part.
    """
    if not 0 <= start <= LONGEST_SECONDS or not 0 <= (duration or 0) <= LONGEST_SECONDS:
        raise ValueError(
            f"{path}: expected start and duration of 0 s or more, up to {LONGEST_SECONDS:g}, got start={start:g} and "
            f"duration={'the rest' if duration is None else f'{duration:g}'}; likely a mistake in the list or table"
        )
    first = round(start * SAMPLE_RATE)
    stop = None if duration is None else first + round(duration * SAMPLE_RATE)
    member = member_of(path)
    if member is not None:
        return _read_member(member, first, stop)
    _require_sound(path)
    try:
        with _Borrowed(path, channel, first) as opened:
            waveform = opened.read(first, stop)
            missing = opened.decoder.missing
    except SoundError as error:
        raise ValueError(_unusable(path, error)) from None
    is_short = stop is not None and len(waveform) < stop - first
    if is_short or (not len(waveform) and first > 0 and first > info(path).num_samples):
        raise ValueError(_too_late(path, start, duration))
    if missing is not None and stop is None:
        logger.warning("%s is truncated (%s): only what is there is used", path, missing)
    return torch.from_numpy(waveform)


def _read_member(member: Member, first: int, stop: int | None) -> Float[Tensor, " sample"]:
    sound = _member(member)
    samples = torch.from_numpy(sound.samples)
    if sound.sample_rate != SAMPLE_RATE or samples.shape[1] != 1:
        raise ValueError(
            f"{member.tar}: expected shards of `sori shards`, 16 kHz and one channel, got {sound.sample_rate} Hz and "
            f"{samples.shape[1]}; make them again"
        )
    found = samples[first:stop, 0]
    if stop is not None and len(found) < stop - first:
        raise ValueError(
            f"{member.tar}: expected samples {first} to {stop} of the part at byte {member.first}, got {len(samples)} "
            "in all; likely the shard was replaced: make the folder again"
        )
    return found


def _member(member: Member) -> Sound:
    try:
        return decoded(member)
    except SoundError as error:
        raise ValueError(
            f"{member.tar}: {error}; likely the shard is truncated or damaged, or belongs to another list: copy it "
            "again, or make the shards again"
        ) from None


@lru_cache(4096)
def _scan(path: str, _size: int, _modified: int) -> AudioInfo:
    """Decode a file to its end, unless its length is certain and it has no two channels to compare."""
    decoder = open_decoder(path)
    try:
        num_frames, phases = decoder.num_frames, Phases()
        if num_frames is None or decoder.num_channels == 2:
            num_frames = 0
            while len(block := decoder.read(_SCANNED_FRAMES)):
                num_frames += len(block)
                phases.add(block)
        return AudioInfo(decoder.sample_rate, num_frames, decoder.num_channels, decoder.format, phases.channel)
    finally:
        decoder.close()


class _Borrowed:
    """Context manager of an open file: one that was kept open, or a new one."""

    idle: list[tuple[tuple[object, ...], Waveform]] = []  # noqa: RUF012 - shared by design, guarded by `lock`
    lock = threading.Lock()

    def __init__(self, path: str | PathLike[str], channel: Channel, first: int) -> None:
        about = Path(path).stat()
        self.path, self.channel, self.first = path, channel, first
        self.key = (fspath(path), about.st_size, about.st_mtime_ns, channel)

    def __enter__(self) -> Waveform:
        with self.lock:
            usable = [one for one in self.idle if one[0] == self.key]
            if usable:
                chosen = max(usable, key=lambda one: (one[1].position <= self.first, one[1].position))
                self.idle.remove(chosen)
                self.waveform = chosen[1]
                return self.waveform
        self.waveform = Waveform(*_opened(self.path, self.channel))
        return self.waveform

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        closed = [self.waveform]
        if kind is None and not self.waveform.decoder.can_seek:
            with self.lock:
                self.idle.append((self.key, self.waveform))
                closed = [waveform for _, waveform in self.idle[:-_KEPT_OPEN]]
                del self.idle[:-_KEPT_OPEN]
        for waveform in closed:
            waveform.decoder.close()


def _opened(path: str | PathLike[str], channel: Channel) -> tuple[Decoder, int | None]:
    decoder = open_decoder(path)
    if channel == "average":
        return decoder, None
    if channel is None:
        return decoder, info(path).channel if decoder.num_channels == 2 else None
    if not 0 <= channel < decoder.num_channels:
        decoder.close()
        raise ValueError(
            f"{path}: expected channel {channel}, counted from 0, got a file with {decoder.num_channels} channels; "
            "likely replaced after `sori prepare`: prepare it again"
        )
    return decoder, channel


def _require_sound(path: str | PathLike[str]) -> None:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file; if it was moved after `sori prepare`, prepare it again")
    require_file(path)


def _unusable(path: str | PathLike[str], error: SoundError) -> str:
    name, size = Path(path), Path(path).stat().st_size
    return (
        f"{path}: expected a sound file, got something that cannot be used ({name.suffix or 'no suffix'}, {size} "
        f"bytes): {error}. Likely truncated or damaged, wrongly named, or in a format other than {COMMON_SUFFIXES}; "
        f"if it can be played, convert it with `ffmpeg -i {name.name} {name.stem}.converted.flac`"
    )


def _too_late(path: str | PathLike[str], start: float, duration: float | None) -> str:
    wanted = "the rest" if duration is None else f"{duration:g} s"
    ends = info(path).num_samples / SAMPLE_RATE
    return (
        f"{path}: expected {wanted} from {start:g} s on, but the sound ends at {ends:g} s; likely truncated or changed "
        "after `sori prepare`: prepare it again"
    )
