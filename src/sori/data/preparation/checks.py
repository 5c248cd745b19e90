"""Check a sound file: decode all of it once, in blocks, and report what is wrong with it.

This file is also a program (`python -P checks.py`): it reads requests from standard input, one JSON object a line, and
writes findings to standard output. `workers.py` runs it as a separate process, because a damaged file can crash or
stall the decoder. It imports nothing of the package, so that it starts in a fraction of a second.
"""

import hashlib
import json
import math
import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

if sys.platform == "linux":
    import resource

GREETING = "ready"
"""First line that the program prints."""
SHORTEST_SAMPLES = 400
"""One frame of the published models at 16 kHz (25 ms)."""
LEVELS_PER_SECOND = 100
SILENT_DB = -70.0
"""A recording is silent if its loudest 10 ms are below this level (dB of full scale)."""
QUIET_DB = -45.0
CLIPPED_FRACTION = 0.02
"""Fraction of samples at full scale above which a recording is unusable; loud ones stay below 0.001."""
CLIPPED_SOMEWHAT_FRACTION = 0.0005
TELEPHONE_DB = -50.0
"""Power above 4.2 kHz relative to 0.3 to 3.4 kHz; below this, the recording was once sampled at 8 kHz."""
RATES = (4_000, 384_000)
MOST_CHANNELS = 64
MEMORY_BYTES = 4 << 30
_LEAST_TEXT = 12
_BLOCK_SAMPLES = 1 << 20
_SPECTRA_PER_BLOCK = 16
_NO_FILE = "a folder, pipe, socket or device, not a file"
_SEEK_ERRORS = (39, 158)
"""libsndfile's error codes for a position outside the file, as a truncated FLAC file causes them."""

Array = npt.NDArray[np.float32]


class Finding(NamedTuple):
    """What decoding a segment of a file has shown."""

    reason: str | None = None
    """Why it must be left out; None: it is usable."""
    detail: str = ""
    warnings: tuple[str, ...] = ()
    """Warnings about a usable recording, each `kind: detail`."""
    sample_rate: int = 0
    num_frames: int = 0
    """Frames of the whole file, according to its header."""
    num_channels: int = 0
    format: str = ""
    seconds: float = 0.0
    """Length of the segment."""
    level_db: float = 0.0
    """Root mean square, in dB of full scale."""
    digest: str = ""
    """Equal for equal waveforms, whatever the container."""
    levels: tuple[int, ...] = ()
    """Level of each 10 ms in whole dB, if requested."""


class _Wrong(Exception):  # noqa: N818 - it is a finding, not an error
    """The reason to leave the file out, and the detail."""


def check(path: str, *, start: float = 0.0, duration: float | None = None, levels_over: float = math.inf) -> Finding:
    """Decode a segment of a sound file and check whether it is usable.

    Args:
        path: the file.
        start: seconds to skip.
        duration: seconds to decode; None: to the end.
        levels_over: also return the level of each 10 ms if the segment is longer than this (seconds).

    Returns:
        A finding; `reason` is one of missing, empty, wrongly named, unreadable, truncated, damaged, absurd header,
        not finite, silent, clipped, too short, beyond the end.
    """
    try:
        warnings = _examine_container(path)
        with _open(path) as file:
            return _decode(file, path, start, duration, levels_over, warnings)
    except _Wrong as wrong:
        reason, detail = wrong.args
        return Finding(reason, detail)
    except MemoryError:
        return Finding("absurd header", f"decoding needs more than {MEMORY_BYTES >> 30} GB of memory")
    except OSError as error:
        return Finding("unreadable", str(error))
    except ValueError as error:  # a zero byte in the path, half of a surrogate pair
        return Finding("unreadable", f"{path!r}: {error}")


# --- the container -----------------------------------------------------------------------------------------------


def _examine_container(path: str) -> list[str]:
    """Check the container before anything is decoded, and return warnings."""
    if not os.path.lexists(path):
        raise _Wrong("missing", "there is no such file")
    if not Path(path).exists():
        raise _Wrong("missing", f"a link to {Path(path).readlink()}, which does not exist")
    if not Path(path).is_file():
        raise _Wrong("wrongly named", _NO_FILE)
    with open(path, "rb", opener=_open_at_once) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise _Wrong("empty", "0 bytes")
        head = file.read(4096)
        if head[:4] in (b"RIFF", b"RF64"):
            return _examine_chunks(file, size, "<")
        if head[:4] == b"FORM":
            return _examine_chunks(file, size, ">")
        if head[:4] == b"OggS":
            return _examine_ogg(file, size)
        kind = _other_kind(head)
    if kind:
        raise _Wrong("wrongly named", f"the content is {kind}")
    return []


def _open_at_once(path: str, flags: int) -> int:
    """For `open`: a pipe or device put in the place of the file meanwhile is not waited for, and refused."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _Wrong("wrongly named", _NO_FILE)
    return handle


def _other_kind(head: bytes) -> str | None:
    """Name content that is evidently not a supported sound format; None if it may be one."""
    for magic, kind in _MAGIC.items():
        if magic in head[:12]:
            return kind
    if not any(head):
        return "nothing but zero bytes"
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if head.lstrip()[:1] == b"<":
        return "a web page or XML"
    return "text" if printable > 0.95 * len(head) and len(head) >= _LEAST_TEXT else None


_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff\xe0": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b\x08": "a gzip archive",
    b"ftyp": "MP4/M4A (convert it: ffmpeg -i FILE FILE.flac)",
    b"\x1aE\xdf\xa3": "Matroska/WebM (convert it: ffmpeg -i FILE FILE.flac)",
    b"#!AMR": "AMR (convert it: ffmpeg -i FILE FILE.flac)",
}


def _examine_chunks(file: BinaryIO, size: int, order: str) -> list[str]:
    """Check RIFF (WAV) or FORM (AIFF) chunks: implausible formats, and less data than the header states."""
    position, stated_64 = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(order + "4sI", file.read(8))
        body = position + 8
        if name == b"fmt " and length >= 16 and size >= body + 16:
            _, channels, rate = struct.unpack("<HHI", file.read(8))
            _sane(rate, channels)
        if name == b"ds64" and size >= body + 16:
            stated_64 = struct.unpack("<8xQ", file.read(16))[0]
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF and stated_64 is not None:
                length = stated_64
            return _examine_length(length, size - body)
        position = body + length + length % 2
    raise _Wrong("truncated", f"the file ends before any sound data ({size} bytes)")


def _examine_length(stated: int, held: int) -> list[str]:
    if stated <= held:
        if stated == 0 and held > 0:
            message = f"the header states 0 bytes of sound, but {held} follow: the recorder did not close the file"
            raise _Wrong("empty", message + "; `ffmpeg -ignore_length 1 -i FILE FILE.flac` may recover it")
        return []
    # Programs that write to a pipe leave these values in the header, because they cannot go back to it.
    if stated >= 0xFFFFFF00 or 0x7FFFF000 <= stated <= 0x7FFFFFFF:
        return ["no length in the header: the file may be incomplete, which cannot be checked"]
    raise _Wrong("truncated", f"the header states {stated} bytes of sound, the file has {held}")


def _examine_ogg(file: BinaryIO, size: int) -> list[str]:
    """Check the pages of an Ogg file up to its end-of-stream mark."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(27)
        if head[:4] != b"OggS" and len(head) >= 4:
            raise _Wrong("damaged", f"damaged from byte {position} of {size} onwards: no Ogg page starts there")
        table = file.read(head[26]) if len(head) == 27 else b""
        if len(head) < 27 or len(table) < head[26] or position + 27 + len(table) + sum(table) > size:
            raise _Wrong("truncated", f"the file ends at byte {size}, inside an Ogg page")
        position += 27 + len(table) + sum(table)
        if head[5] & 4:  # end of stream
            return []
    return ["no end-of-stream mark: the recording may have been cut off"]


def _sane(rate: int, channels: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise _Wrong("absurd header", f"a sample rate of {rate} Hz")
    if not 1 <= channels <= MOST_CHANNELS:
        raise _Wrong("absurd header", f"{channels} channels")


# --- the samples -------------------------------------------------------------------------------------------------


def _open(path: str) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        # The text of code 7 is about a missing file; its cause is an MP3 suffix without any MP3 frame.
        cause = "no MP3 frame found" if error.code == 7 else error.error_string
        raise _Wrong("unreadable", f"error from the decoder: {cause}") from None
    except (TypeError, ValueError) as error:
        raise _Wrong("unreadable", str(error)) from None


def _decode(
    file: soundfile.SoundFile, path: str, start: float, duration: float | None, levels_over: float, warnings: list[str]
) -> Finding:
    rate = file.samplerate
    _sane(rate, file.channels)
    if file.frames > 1 << 60:  # libsndfile's value for an unknown length
        raise _Wrong("unreadable", "the header gives no length; rewrite it: ffmpeg -i FILE FILE.flac")
    first, stop = _bounds(file, start, duration)
    statistics = _Statistics(rate)
    for block in _blocks(file, first, stop):
        statistics.add(block)
    if statistics.num_frames < stop - first:
        stated, held = (stop - first) / rate, statistics.num_frames / rate
        raise _Wrong("truncated", f"{stated:.2f} s expected, {held:.2f} s decoded")
    statistics.check()
    suffix, expected = Path(path).suffix.lower(), _SUFFIXES.get(file.format, ())
    if expected and suffix not in expected:
        warnings.append(f"wrongly named: the content is {file.format}, not {suffix}")
    seconds = statistics.num_frames / rate
    return Finding(
        warnings=tuple(warnings + statistics.warnings()),
        sample_rate=rate,
        num_frames=file.frames,
        num_channels=file.channels,
        format=f"{file.format}/{file.subtype}",
        seconds=seconds,
        level_db=round(statistics.level_db, 1),
        digest=statistics.digest(),
        levels=statistics.levels() if seconds > levels_over else (),
    )


_SUFFIXES = {
    "WAV": (".wav", ".wave"),
    "WAVEX": (".wav", ".wave"),
    "RF64": (".wav", ".rf64"),
    "FLAC": (".flac",),
    "MP3": (".mp3",),
    "OGG": (".ogg", ".oga", ".opus"),
}


def _bounds(file: soundfile.SoundFile, start: float, duration: float | None) -> tuple[int, int]:
    first = round(start * file.samplerate)
    stop = file.frames if duration is None else round((start + duration) * file.samplerate)
    slack = file.samplerate // 20  # tables are often rounded
    if stop > file.frames + slack or first > file.frames:
        ends = file.frames / file.samplerate
        raise _Wrong("beyond the end", f"the row ends at {stop / file.samplerate:.2f} s, the file at {ends:.2f} s")
    return first, min(stop, file.frames)


def _blocks(file: soundfile.SoundFile, first: int, stop: int) -> Iterator[Array]:
    """Yield mono blocks of whole seconds, each aligned with the 10 ms grid, until the end of the file."""
    seconds = max(1, _BLOCK_SAMPLES // (file.samplerate * file.channels))
    if first:
        file.seek(first)
    while first < stop:
        try:
            block = file.read(min(seconds * file.samplerate, stop - first), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = "truncated" if error.code in _SEEK_ERRORS else "damaged"
            at = f"{first / file.samplerate:.1f} s"
            raise _Wrong(reason, f"decoding fails at {at} or shortly after: {error.error_string}") from None
        if not len(block):
            return
        first += len(block)
        yield block[:, 0] if file.channels == 1 else block.mean(axis=1)


class _Statistics:
    """Statistics of all samples, accumulated block by block."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.num_frames = self.num_clipped = self.num_zero = 0
        self.is_finite = True
        self.total = self.square = self.speech = self.above = 0.0
        self.hash = hashlib.blake2b(str(rate).encode(), digest_size=16)
        self.parts: list[npt.NDArray[np.float64]] = []

    def add(self, block: Array) -> None:
        """Add one block."""
        self.num_frames += len(block)
        self.is_finite = self.is_finite and bool(np.isfinite(block).all())
        if not self.is_finite:
            return
        self.hash.update(np.ascontiguousarray(block).data)
        self.total += float(block.sum(dtype=np.float64))
        self.square += float(np.square(block, dtype=np.float64).sum())
        size = np.abs(block)
        # At full scale: the highest 16-bit value, or, for coarser coding, near full scale and unchanged.
        self.num_clipped += int(np.count_nonzero(size >= 1 - 2**-15))
        self.num_clipped += int(
            np.count_nonzero((size[1:] >= 0.97) & (size[1:] < 1 - 2**-15) & (block[1:] == block[:-1]))
        )
        self.num_zero += int(np.count_nonzero(size == 0))
        self.parts.append(_levels(block, self.rate))
        if self.rate >= 16_000:
            self._add_spectrum(block)

    def _add_spectrum(self, block: Array) -> None:
        length = 1 << round(math.log2(self.rate * 0.064))
        frames = block[: len(block) // length * length].reshape(-1, length)
        frames = frames[:: max(1, len(frames) // _SPECTRA_PER_BLOCK)]
        power = np.square(np.abs(np.fft.rfft(frames * np.hanning(length).astype(np.float32)))).sum(axis=0)
        hertz = np.arange(length // 2 + 1) * self.rate / length
        self.speech += float(power[(hertz > 300) & (hertz < 3_400)].mean())
        self.above += float(power[(hertz > 4_200) & (hertz < 7_500)].mean())

    @property
    def level_db(self) -> float:
        """Root mean square without the constant offset, in dB of full scale."""
        mean = self.total / self.num_frames
        return 10 * math.log10(max(self.square / self.num_frames - mean * mean, 1e-20))

    def levels(self) -> tuple[int, ...]:
        """Return the level of each 10 ms in whole dB."""
        return tuple(np.concatenate(self.parts).round().astype(int).tolist())

    def digest(self) -> str:
        """Return a digest that is equal for equal waveforms."""
        return self.hash.hexdigest()

    def check(self) -> None:
        """Raise the first reason, if any, to leave the segment out."""
        if self.num_frames == 0:
            raise _Wrong("empty", "0 samples according to the header")
        if not self.is_finite:
            raise _Wrong("not finite", "NaN or infinite samples; likely written by a program whose computation failed")
        if self.num_frames * 16_000 // self.rate < SHORTEST_SAMPLES:
            raise _Wrong("too short", f"{1000 * self.num_frames / self.rate:.1f} ms; models need 25 ms (one frame)")
        loudest = max(float(part.max()) for part in self.parts)
        if loudest < SILENT_DB:
            raise _Wrong("silent", f"the loudest 10 ms are at {loudest:.0f} dB of full scale")
        fraction = self.num_clipped / self.num_frames
        if fraction > CLIPPED_FRACTION:
            raise _Wrong("clipped", f"{100 * fraction:.1f} % of the samples are at full scale")

    def warnings(self) -> list[str]:
        """Return warnings about a segment that is kept."""
        found = []
        fraction, mean = self.num_clipped / self.num_frames, self.total / self.num_frames
        if fraction > CLIPPED_SOMEWHAT_FRACTION:
            found.append(f"some clipping: {100 * fraction:.2f} % of the samples are at full scale")
        loudest = max(float(part.max()) for part in self.parts)
        if loudest < QUIET_DB:
            found.append(f"very quiet: the loudest 10 ms are at {loudest:.0f} dB of full scale")
        if abs(mean) > 0.02:
            found.append(f"offset: the mean of the samples is {mean:.3f} instead of 0")
        if self.num_zero > 0.5 * self.num_frames:
            found.append(f"mostly zeros: {100 * self.num_zero / self.num_frames:.0f} % of the samples are exactly 0")
        above = 10 * math.log10(max(self.above, 1e-20) / max(self.speech, 1e-20))
        if above < TELEPHONE_DB:
            found.append(
                f"telephone: almost no energy above 4 kHz ({above:.0f} dB) although sampled at {self.rate} Hz; likely "
                "converted from 8 kHz"
            )
        return found


def _levels(block: Array, rate: int) -> npt.NDArray[np.float64]:
    """Return the standard deviation of each 10 ms in dB of full scale; the last one may be shorter."""
    num = math.ceil(len(block) * LEVELS_PER_SECOND / rate)
    borders = np.arange(num) * rate // LEVELS_PER_SECOND
    lengths = np.diff(borders, append=len(block))
    mean = np.add.reduceat(block, borders, dtype=np.float64) / lengths
    square = np.add.reduceat(np.square(block), borders, dtype=np.float64) / lengths
    return np.asarray(10 * np.log10(np.maximum(square - mean * mean, 1e-12)))


# --- the program -------------------------------------------------------------------------------------------------


def serve() -> None:
    """Process requests, `{"path": ..., "start": ...}` as for `check`, until the input ends."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(GREETING, flush=True)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        try:
            found = check(**request)
        except Exception as error:  # noqa: BLE001 - the decoder's as well: none may go unanswered
            found = Finding("unreadable", f"{type(error).__name__}: {error}")
        print(json.dumps(found._asdict()), flush=True)


if __name__ == "__main__":
    serve()
