"""What is wrong with a sound file: decode all of it once, in blocks, and say what was found.

This file is also a program (`python -P checks.py`): it answers requests on standard input, one JSON object a line, with
findings on standard output. `workers.py` runs it so, because a damaged file can crash or stall the decoder. It
therefore imports nothing of the package: it starts in a fraction of a second, and nothing is lost when it is killed.
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
"""What the program says first."""
SHORTEST_SAMPLES = 400
"""One frame of the published models at 16 kHz (25 ms)."""
LEVELS_PER_SECOND = 100
SILENT_DB = -70.0
"""Loudest 10 ms, in dB of full scale, of what counts as silent."""
QUIET_DB = -45.0
CLIPPED_SHARE = 0.02
"""Share of samples at full scale that cannot be mended; plain loud recordings stay under a thousandth."""
CLIPPED_SOMEWHAT_SHARE = 0.0005
TELEPHONE_DB = -50.0
"""Power above 4.2 kHz relative to that of the voice, under which a recording was once sampled at 8 kHz."""
RATES = (4_000, 384_000)
MOST_CHANNELS = 64
MEMORY_BYTES = 4 << 30
_LEAST_TEXT = 12
_BLOCK_SAMPLES = 1 << 20
_SPECTRA_PER_BLOCK = 16
_NO_FILE = "a folder, pipe, socket or device, not a file"
_SEEK_ERRORS = (39, 158)
"""libsndfile's codes for a position the file does not have: what a FLAC file that was cut off leads to."""

Array = npt.NDArray[np.float32]


class Finding(NamedTuple):
    """What is known about a stretch of a file after decoding it."""

    reason: str | None = None
    """Why it must be left out; None: it is sound."""
    detail: str = ""
    warnings: tuple[str, ...] = ()
    """Peculiarities that a user should know of, each `kind: detail`."""
    sample_rate: int = 0
    num_frames: int = 0
    """Frames of the whole file, as its header says."""
    num_channels: int = 0
    format: str = ""
    seconds: float = 0.0
    """Length of the stretch."""
    level_db: float = 0.0
    """Root mean square, in dB of full scale."""
    digest: str = ""
    """Equal for equal waveforms, whatever the container."""
    levels: tuple[int, ...] = ()
    """Level of each 10 ms in whole dB, where it was asked for."""


class _Wrong(Exception):  # noqa: N818 - it is a finding, not an error
    """A reason to leave the file out, and the detail."""


def check(path: str, *, start: float = 0.0, duration: float | None = None, levels_over: float = math.inf) -> Finding:
    """Decode a stretch of a sound file and look for whatever makes it useless.

    Args:
        path: the file.
        start: seconds to skip.
        duration: seconds to look at; None: to the end.
        levels_over: also return the course of the level where the stretch lasts longer than this.

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
        return Finding("absurd header", f"decoding asks for more than {MEMORY_BYTES >> 30} GB of memory")
    except OSError as error:
        return Finding("unreadable", str(error))
    except ValueError as error:  # a zero byte in the path, half of a surrogate pair
        return Finding("unreadable", f"{path!r}: {error}")


# --- the container -----------------------------------------------------------------------------------------------


def _examine_container(path: str) -> list[str]:
    """What the bytes say before anything is decoded; returns warnings."""
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
    """A name for content that is plainly no sound this package reads."""
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
    """Walk RIFF (WAV) or FORM (AIFF) chunks: absurd formats, and more data promised than the file holds."""
    position, promised_64 = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(order + "4sI", file.read(8))
        body = position + 8
        if name == b"fmt " and length >= 16 and size >= body + 16:
            _, channels, rate = struct.unpack("<HHI", file.read(8))
            _sane(rate, channels)
        if name == b"ds64" and size >= body + 16:
            promised_64 = struct.unpack("<8xQ", file.read(16))[0]
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF and promised_64 is not None:
                length = promised_64
            return _examine_length(length, size - body)
        position = body + length + length % 2
    raise _Wrong("truncated", f"the header ends without any sound data ({size} bytes)")


def _examine_length(promised: int, held: int) -> list[str]:
    if promised <= held:
        if promised == 0 and held > 0:
            message = f"the header promises 0 bytes of sound but {held} follow: the recorder did not close the file"
            raise _Wrong("empty", message + "; `ffmpeg -ignore_length 1 -i FILE FILE.flac` may rescue it")
        return []
    # What writers to a pipe leave in the header, because they cannot go back.
    if promised >= 0xFFFFFF00 or 0x7FFFF000 <= promised <= 0x7FFFFFFF:
        return ["no length in the header: whether the file is whole cannot be told"]
    raise _Wrong("truncated", f"the header promises {promised} bytes of sound, the file holds {held}")


def _examine_ogg(file: BinaryIO, size: int) -> list[str]:
    """Walk the pages of an Ogg file up to its end-of-stream mark."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(27)
        if head[:4] != b"OggS" and len(head) >= 4:
            raise _Wrong("damaged", f"damaged from byte {position} of {size} on: no Ogg page begins there")
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
        # Code 7 speaks of a missing file, and means an MP3 suffix without any MP3 frame.
        says = "no MP3 frame found" if error.code == 7 else error.error_string
        raise _Wrong("unreadable", f"the decoder says: {says}") from None
    except (TypeError, ValueError) as error:
        raise _Wrong("unreadable", str(error)) from None


def _decode(
    file: soundfile.SoundFile, path: str, start: float, duration: float | None, levels_over: float, warnings: list[str]
) -> Finding:
    rate = file.samplerate
    _sane(rate, file.channels)
    if file.frames > 1 << 60:  # libsndfile's word for unknown
        raise _Wrong("unreadable", "the header gives no length; rewrite it: ffmpeg -i FILE FILE.flac")
    first, stop = _stretch(file, start, duration)
    tally = _Tally(rate)
    for block in _blocks(file, first, stop):
        tally.add(block)
    if tally.num_frames < stop - first:
        promised, held = (stop - first) / rate, tally.num_frames / rate
        raise _Wrong("truncated", f"{promised:.2f} s expected, {held:.2f} s decoded")
    tally.judge()
    suffix, expected = Path(path).suffix.lower(), _SUFFIXES.get(file.format, ())
    if expected and suffix not in expected:
        warnings.append(f"wrongly named: the content is {file.format}, not {suffix}")
    seconds = tally.num_frames / rate
    return Finding(
        warnings=tuple(warnings + tally.warnings()),
        sample_rate=rate,
        num_frames=file.frames,
        num_channels=file.channels,
        format=f"{file.format}/{file.subtype}",
        seconds=seconds,
        level_db=round(tally.level_db, 1),
        digest=tally.digest(),
        levels=tally.levels() if seconds > levels_over else (),
    )


_SUFFIXES = {
    "WAV": (".wav", ".wave"),
    "WAVEX": (".wav", ".wave"),
    "RF64": (".wav", ".rf64"),
    "FLAC": (".flac",),
    "MP3": (".mp3",),
    "OGG": (".ogg", ".oga", ".opus"),
}


def _stretch(file: soundfile.SoundFile, start: float, duration: float | None) -> tuple[int, int]:
    first = round(start * file.samplerate)
    stop = file.frames if duration is None else round((start + duration) * file.samplerate)
    slack = file.samplerate // 20  # tables are often rounded
    if stop > file.frames + slack or first > file.frames:
        ends = file.frames / file.samplerate
        raise _Wrong("beyond the end", f"the row ends at {stop / file.samplerate:.2f} s, the file at {ends:.2f} s")
    return first, min(stop, file.frames)


def _blocks(file: soundfile.SoundFile, first: int, stop: int) -> Iterator[Array]:
    """Mono blocks of whole seconds, so that 10 ms borders fall alike in each; ends where the file does."""
    seconds = max(1, _BLOCK_SAMPLES // (file.samplerate * file.channels))
    if first:
        file.seek(first)
    while first < stop:
        try:
            block = file.read(min(seconds * file.samplerate, stop - first), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = "truncated" if error.code in _SEEK_ERRORS else "damaged"
            at = f"{first / file.samplerate:.1f} s"
            raise _Wrong(reason, f"decoding fails at {at} or a little later: {error.error_string}") from None
        if not len(block):
            return
        first += len(block)
        yield block[:, 0] if file.channels == 1 else block.mean(axis=1)


class _Tally:
    """Everything that is counted while the blocks go by."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.num_frames = self.num_clipped = self.num_zero = 0
        self.is_finite = True
        self.total = self.square = self.voice = self.above = 0.0
        self.hash = hashlib.blake2b(str(rate).encode(), digest_size=16)
        self.parts: list[npt.NDArray[np.float64]] = []

    def add(self, block: Array) -> None:
        """Count one block."""
        self.num_frames += len(block)
        self.is_finite = self.is_finite and bool(np.isfinite(block).all())
        if not self.is_finite:
            return
        self.hash.update(np.ascontiguousarray(block).data)
        self.total += float(block.sum(dtype=np.float64))
        self.square += float(np.square(block, dtype=np.float64).sum())
        size = np.abs(block)
        # At full scale: the last step of 16 bit, or coarser coding that stays where it was.
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
        self.voice += float(power[(hertz > 300) & (hertz < 3_400)].mean())
        self.above += float(power[(hertz > 4_200) & (hertz < 7_500)].mean())

    @property
    def level_db(self) -> float:
        """Root mean square without the constant part."""
        mean = self.total / self.num_frames
        return 10 * math.log10(max(self.square / self.num_frames - mean * mean, 1e-20))

    def levels(self) -> tuple[int, ...]:
        """Level of each 10 ms, whole dB."""
        return tuple(np.concatenate(self.parts).round().astype(int).tolist())

    def digest(self) -> str:
        """Equal for equal waveforms."""
        return self.hash.hexdigest()

    def judge(self) -> None:
        """Raise the first reason, if any, to leave the stretch out."""
        if self.num_frames == 0:
            raise _Wrong("empty", "the header promises no samples")
        if not self.is_finite:
            raise _Wrong("not finite", "NaN or infinite samples; likely a failed computation wrote the file")
        if self.num_frames * 16_000 // self.rate < SHORTEST_SAMPLES:
            raise _Wrong("too short", f"{1000 * self.num_frames / self.rate:.1f} ms, one frame of a model is 25 ms")
        loudest = max(float(part.max()) for part in self.parts)
        if loudest < SILENT_DB:
            raise _Wrong("silent", f"the loudest 10 ms are at {loudest:.0f} dB of full scale")
        share = self.num_clipped / self.num_frames
        if share > CLIPPED_SHARE:
            raise _Wrong("clipped", f"{100 * share:.1f} % of the samples are at full scale")

    def warnings(self) -> list[str]:
        """Peculiarities of a stretch that is kept."""
        found = []
        share, mean = self.num_clipped / self.num_frames, self.total / self.num_frames
        if share > CLIPPED_SOMEWHAT_SHARE:
            found.append(f"some clipping: {100 * share:.2f} % of the samples are at full scale")
        loudest = max(float(part.max()) for part in self.parts)
        if loudest < QUIET_DB:
            found.append(f"very quiet: the loudest 10 ms are at {loudest:.0f} dB of full scale")
        if abs(mean) > 0.02:
            found.append(f"offset: the samples average {mean:.3f} instead of 0")
        if self.num_zero > 0.5 * self.num_frames:
            found.append(f"mostly zeros: {100 * self.num_zero / self.num_frames:.0f} % of the samples are exactly 0")
        above = 10 * math.log10(max(self.above, 1e-20) / max(self.voice, 1e-20))
        if above < TELEPHONE_DB:
            found.append(
                f"telephone: hardly anything above 4 kHz ({above:.0f} dB) although sampled at {self.rate} Hz; likely "
                "converted from 8 kHz"
            )
        return found


def _levels(block: Array, rate: int) -> npt.NDArray[np.float64]:
    """Standard deviation of each 10 ms in dB of full scale; a last part of less than 10 ms counts as one."""
    num = math.ceil(len(block) * LEVELS_PER_SECOND / rate)
    borders = np.arange(num) * rate // LEVELS_PER_SECOND
    lengths = np.diff(borders, append=len(block))
    mean = np.add.reduceat(block, borders, dtype=np.float64) / lengths
    square = np.add.reduceat(np.square(block), borders, dtype=np.float64) / lengths
    return np.asarray(10 * np.log10(np.maximum(square - mean * mean, 1e-12)))


# --- the program -------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer requests, `{"path": ..., "start": ...}` as for `check`, until the input ends."""
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
