"""Decoders with one interface: libsndfile, and ffmpeg (through PyAV) for everything that libsndfile cannot decode."""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from os import PathLike, fspath
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import numpy.typing as npt
import soundfile

from sori.core.sound.containers import examine
from sori.core.sound.contents import Contents, Piece
from sori.core.sound.sound_error import SoundError, require_plausible
from sori.core.sound.virtual_files import VirtualFile

Array = npt.NDArray[np.float32]

_EXACT = frozenset("PCM_S8 PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW".split())  # noqa: SIM905
"""Codings in which libsndfile finds every frame. All others are decoded from the beginning: their decoders remember."""
_SEEK_ERRORS = (39, 158)
"""libsndfile's error codes for a position outside the file, as a truncated FLAC file causes them."""
_CAREFUL_FRAMES = 1024
_BLOCK_FRAMES = 1 << 16
_UNKNOWN_LENGTH = 1 << 60
_FORGIVEN = 0.01
"""Fraction of packets that may be undecodable: where files were joined, decoders miss what came before."""
_SCALES = {"u8": 128.0, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63, "flt": 1.0, "dbl": 1.0}
_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""numpy's types of ffmpeg's sample formats."""


@runtime_checkable
class Decoder(Protocol):
    """An open sound file that is decoded from the beginning to the end."""

    sample_rate: int
    num_channels: int
    format: str
    """Container and coding, such as `WAV/PCM_16`."""
    contents: Contents
    num_frames: int | None
    """Number of frames, if it is certain without decoding."""
    can_seek: bool
    """Whether `seek` leads to the same samples as decoding from the beginning."""
    position: int
    """Frame that is read next."""
    missing: str | None
    """Why sound is missing at the end; complete once the end has been reached."""

    def read(self, num_frames: int) -> Array:
        """Return the next frames as `frame channel`; fewer than `num_frames` at the end."""
        ...

    def seek(self, frame: int) -> None:
        """Go to a frame; without `can_seek`, to 0."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_decoder(path: str | PathLike[str]) -> Decoder:
    """Open a sound file.

    Raises:
        SoundError: it cannot be decoded.
        OSError: it cannot be read.
    """
    contents, name = examine(path), fspath(path)
    if contents.decoder == "ffmpeg":
        return FfmpegDecoder(name, contents)
    try:
        return LibsndfileDecoder(name, contents)
    except SoundError as error:
        if error.reason != "unreadable":
            raise
        if contents.missing is not None:
            raise SoundError("truncated", contents.missing) from None
        if contents.ffmpeg_format is not None:
            with contextlib.suppress(SoundError):
                return FfmpegDecoder(name, contents)
        raise


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file of soundfile that does not seek to where it is after each `read`, which disturbs most decoders."""

    def seekable(self) -> bool:
        """Return False: `read` neither seeks nor stops at the length in the header."""
        return False


@final
class LibsndfileDecoder:
    """Decodes with libsndfile; several streams in one file are decoded one after the other."""

    def __init__(self, path: str, contents: Contents) -> None:
        self._path, self.contents = path, contents
        self._sources: Sequence[tuple[Piece, ...] | None] = contents.parts or (None,)
        self._index, self._part_start, self._is_careful = 0, 0, False
        self._virtual: VirtualFile | None = None
        self._file = self._open(0)
        if self._file.frames < contents.least_frames:
            raise SoundError(
                "unreadable", f"{self._file.frames} frames announced, at least {contents.least_frames} held"
            )
        self.sample_rate, self.num_channels = self._file.samplerate, self._file.channels
        require_plausible(self.sample_rate, self.num_channels)
        self.format = f"{self._file.format}/{self._file.subtype}"
        self.missing = contents.missing
        is_exact = len(self._sources) == 1 and self._file.subtype in _EXACT and self._file.format != "SD2"
        self.num_frames = contents.num_frames
        if is_exact and self._file.format != "FLAC" and self._file.frames < _UNKNOWN_LENGTH:
            self.num_frames = self._file.frames
        self.can_seek = is_exact and self.num_frames is not None
        self.position = 0

    def read(self, num_frames: int) -> Array:
        """See `Decoder`."""
        parts, remaining = [np.zeros((0, self.num_channels), np.float32)], num_frames
        while remaining > 0:
            try:
                wanted = min(remaining, self._step())
                block = self._file.read(wanted, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if not self._is_careful:
                    self._begin_careful_reading()
                    continue
                if not self._is_at_end():
                    raise self._damaged(error) from None
                self.missing = self.missing or "the last frame is incomplete"
                break
            parts.append(block)
            self.position += len(block)
            remaining -= len(block)
            if len(block) < wanted and not self._next():
                break
        if remaining > 0 and self.num_frames is not None and self.position < self.num_frames:
            self.missing = self.missing or f"{self.num_frames} frames expected, {self.position} decoded"
        return np.concatenate(parts) if len(parts) > 2 else parts[-1]

    def seek(self, frame: int) -> None:
        """See `Decoder`."""
        if self.can_seek:
            try:
                self._file.seek(frame)
            except soundfile.LibsndfileError as error:
                raise self._damaged(error) from None
        elif frame == 0:
            self.close()
            self._index, self._part_start = 0, 0
            self._file = self._open(0)
        self.position = frame

    def close(self) -> None:
        """See `Decoder`."""
        self._file.close()
        if self._virtual is not None:
            self._virtual.close()
            self._virtual = None

    def _step(self) -> int:
        """Return how many frames to ask for: libsndfile fills what the file does not have with zeros, which takes time.

        One more than announced shows the end; a file that has more than announced is read in blocks.
        """
        if self._is_careful:
            return _CAREFUL_FRAMES
        announced = self._file.frames - (self.position - self._part_start)
        return announced + 1 if announced >= 0 else _BLOCK_FRAMES

    def _begin_careful_reading(self) -> None:
        """Read few frames at a time from now on, because an error loses all frames of the same call."""
        self._is_careful = True
        skipped = self.position - self._part_start
        self.close()
        self._file = self._open(self._index)
        while skipped > 0 and (num := len(self._file.read(min(skipped, _CAREFUL_FRAMES), dtype="float32"))):
            skipped -= num

    def _is_at_end(self) -> bool:
        """Whether an error is that of a file that is cut off, rather than damaged before its end."""
        if self.missing is not None:
            return True
        return self.num_frames is not None and self.position >= (
            self.num_frames - self.contents.block_frames - _CAREFUL_FRAMES
        )

    def _next(self) -> bool:
        """Open the next stream, if there is one."""
        if self._index + 1 >= len(self._sources):
            return False
        self.close()
        self._index, self._part_start = self._index + 1, self.position
        self._file = self._open(self._index)
        if (self._file.samplerate, self._file.channels) != (self.sample_rate, self.num_channels):
            raise SoundError(
                "unreadable",
                f"streams of {self.sample_rate} Hz and {self._file.samplerate} Hz, or with {self.num_channels} and "
                f"{self._file.channels} channels, were joined into one file; split it",
            )
        return True

    def _open(self, index: int) -> soundfile.SoundFile:
        pieces = self._sources[index]
        self._virtual = None if pieces is None else VirtualFile(self._path, pieces)
        try:
            return _SoundFile(self._path if self._virtual is None else self._virtual)
        except soundfile.LibsndfileError as error:
            # The text of code 7 is about a missing file; its cause is an MP3 suffix without any MP3 frame.
            cause = "no MP3 frame found" if error.code == 7 else error.error_string
            raise SoundError("unreadable", f"error from the decoder: {cause}") from None
        except (TypeError, ValueError, OverflowError) as error:  # TypeError: a raw file, whose rate is unknown
            raise SoundError("unreadable", str(error)) from None

    def _damaged(self, error: soundfile.LibsndfileError) -> SoundError:
        reason = "truncated" if error.code in _SEEK_ERRORS else "damaged"
        at = f"{self.position / self.sample_rate:.1f} s"
        return SoundError(reason, f"decoding fails at {at} or shortly after: {error.error_string}")


@final
class FfmpegDecoder:
    """Decodes the first sound track of a file with ffmpeg's libraries, to the last packet."""

    def __init__(self, path: str, contents: Contents) -> None:
        self._path, self.contents = path, contents
        self.num_frames: int | None = None
        self.can_seek = False
        self._waiting: list[Array] = []
        self._num_waiting = 0
        self._pyav = _pyav()
        self.sample_rate = self.num_channels = 0
        self.missing: str | None = None
        self._start()
        container = self._container.format.name.split(",")[0]
        self.format = f"{container}/{self._stream.codec_context.name}".upper()

    def read(self, num_frames: int) -> Array:
        """See `Decoder`."""
        while self._num_waiting < num_frames and (block := next(self._blocks, None)) is not None:
            self._waiting.append(block)
            self._num_waiting += len(block)
        joined = np.concatenate(self._waiting) if self._waiting else np.zeros((0, self.num_channels), np.float32)
        self._waiting = [joined[num_frames:]]
        self._num_waiting = len(self._waiting[0])
        self.position += len(joined) - self._num_waiting
        return joined[:num_frames]

    def seek(self, frame: int) -> None:
        """See `Decoder`."""
        if frame == 0:
            self.close()
            self._start()

    def close(self) -> None:
        """See `Decoder`."""
        self._blocks.close()
        self._container.close()

    def _start(self) -> None:
        self.missing = self.contents.missing
        try:
            # The format is given and only files are opened: no playlist of a foreign file leads elsewhere.
            self._container = self._pyav.open(
                f"file:{self._path}",
                format=self.contents.ffmpeg_format,
                options={"protocol_whitelist": "file"},
                metadata_errors="ignore",
            )
        except (self._pyav.error.FFmpegError, ValueError) as error:
            raise SoundError("unreadable", f"error from the decoder: {error}") from None
        if not self._container.streams.audio:
            self._container.close()
            raise SoundError("unreadable", "there is no sound in the file")
        self._stream = self._container.streams.audio[0]
        if self._stream.codec_context is None:
            self._container.close()
            raise SoundError("unreadable", "there is no decoder for the coding of the sound")
        self.position = 0
        self._blocks = self._decoded()
        first = next(self._blocks, None)
        self._waiting = [] if first is None else [first]
        self._num_waiting = 0 if first is None else len(first)
        if first is None:
            self.close()
            raise SoundError("truncated" if self.missing else "empty", self.missing or "no sound can be decoded")

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except self._pyav.error.FFmpegError as error:
            self.missing = self.missing or f"reading ends with an error: {error.strerror}"

    def _decoded(self) -> Generator[Array, None, None]:
        num_packets = num_failed = 0
        for packet in self._packets():
            if packet.is_corrupt and not self._stream.codec_context.name.startswith("pcm"):
                self.missing = self.missing or "the last packet is incomplete"
            num_packets += 1
            try:
                frames = packet.decode()
            except self._pyav.error.FFmpegError:
                num_failed += 1
                continue
            for frame in frames:
                yield self._samples(frame)
        if num_failed > 2 + _FORGIVEN * num_packets:
            raise SoundError("damaged", f"{num_failed} of {num_packets} packets cannot be decoded")

    def _samples(self, frame: Any) -> Array:
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not self.sample_rate:
            require_plausible(rate, channels)
            self.sample_rate, self.num_channels = rate, channels
        if (rate, channels) != (self.sample_rate, self.num_channels):
            raise SoundError(
                "damaged",
                f"the sound changes from {self.sample_rate} Hz and {self.num_channels} channels to {rate} Hz and "
                f"{channels} channels at {self.position / self.sample_rate:.1f} s; likely joined files: split them",
            )
        name = frame.format.name.removesuffix("p")
        planes = [np.frombuffer(plane, _TYPES[name]) for plane in frame.planes]
        if frame.format.is_planar:
            values = np.stack([plane[: frame.samples] for plane in planes], axis=1)
        else:
            values = planes[0][: frame.samples * channels].reshape(-1, channels)
        if name == "u8":
            values = values.astype(np.float32) - 128
        scale = np.float32(1 / _SCALES[name])
        return values.astype(np.float32) if scale == 1 else values.astype(np.float32) * scale


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise SoundError(
            "unreadable",
            "expected the package av (PyAV), which decodes this format, but it is not installed; likely it was "
            "removed: `pip install av`, or convert the file with `ffmpeg -i FILE FILE.flac`",
        ) from None
    return av
