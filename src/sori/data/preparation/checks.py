"""Check a sound file: decode all of it once, in blocks, and report what is wrong with it.

`check_process.py` runs this in separate processes, because a damaged file can crash or stall the decoder. Nothing that
it imports imports torch, so that such a process starts in a fraction of a second.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from sori.core.sound.containers import wrong_suffix
from sori.core.sound.decoders import Array, Decoder, open_decoder
from sori.core.sound.phases import Phases
from sori.core.sound.sound_error import SoundError
from sori.core.sound.waveforms import LONGEST_SECONDS, mono
from sori.data.preparation import segments as silences
from sori.data.preparation.sound_statistics import LEVELS_PER_SECOND, SoundStatistics

FINDINGS_VERSION = 1
"""Raised whenever `check` finds something else about the same file: findings of other versions are not used."""
MEMORY_BYTES = 4 << 30
SLACK_SECONDS = 0.05
"""Tables are often rounded: a segment may end this long after its file."""
_BLOCK_SAMPLES = 1 << 20
_FLOAT_CODINGS = ("FLOAT", "DOUBLE", "PCM_F32LE", "PCM_F32BE", "PCM_F64LE", "PCM_F64BE")

Channels = Literal["average", "separate"]


class Segment(NamedTuple):
    """A stretch of a file."""

    start: float = 0.0
    """Seconds to skip."""
    duration: float | None = None
    """Seconds; None: to the end."""
    channel: int | None = None
    """Channel, numbered from 0; None: as the caller wants all files to be read."""


class Finding(NamedTuple):
    """What decoding a segment of a file has shown."""

    reason: str | None = None
    """Why it must be left out; None: it is usable."""
    detail: str = ""
    warnings: tuple[str, ...] = ()
    """Warnings about a usable recording, each `kind: detail`."""
    sample_rate: int = 0
    num_frames: int = 0
    """Frames of the whole file, as decoded."""
    num_channels: int = 0
    format: str = ""
    seconds: float = 0.0
    """Length of the segment."""
    level_db: float = 0.0
    """Root mean square, in dB of full scale."""
    digest: str = ""
    """Equal for equal waveforms, whatever the container."""
    pieces: tuple[tuple[int, int], ...] | None = None
    """First and last 10 ms of each piece of a long segment, cut at silences; None: short, or not to be cut."""
    segment: int = 0
    """Number of the segment in the request."""
    channel: int | None = None
    """The channel that was examined; None: the average of all."""


def check(
    path: str,
    *,
    segments: Sequence[Segment] = (Segment(),),
    max_seconds: float = math.inf,
    channels: Channels = "average",
    keep_truncated: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> list[Finding]:
    """Decode a sound file once, and check whether segments of it are usable.

    Args:
        path: the file.
        segments: the segments, by default the whole file.
        max_seconds: longer segments are also cut at silences, into pieces of at most this length.
        channels: average the channels of a segment, or examine each of them as a recording of its own. Where two
            channels of opposite phase would cancel out, the louder one is used.
        keep_truncated: use what is there of files that are cut off.
        progress: called now and then.

    Returns:
        Findings for each segment, in order; several where channels are separate. `reason` is one of missing, empty,
        wrongly named, unreadable, truncated, damaged, absurd header, not finite, silent, clipped, too short, beyond the
        end.
    """
    reason, detail = "", ""
    try:
        decoder = open_decoder(path)
        try:
            return _Examination(decoder, path, segments, max_seconds, progress).findings(channels, keep_truncated)
        finally:
            decoder.close()
    except SoundError as error:
        reason, detail = error.reason, error.detail
    except MemoryError:
        reason, detail = "absurd header", f"decoding needs more than {MEMORY_BYTES >> 30} GB of memory"
    except OSError as error:
        reason, detail = "unreadable", str(error)
    except ValueError as error:  # a zero byte in the path, half of a surrogate pair
        reason, detail = "unreadable", f"{path!r}: {error}"
    return [Finding(reason, detail, segment=number) for number in range(len(segments))]


def _possible(seconds: float) -> float:
    """Return a time from a foreign list; what cannot be one is beyond the end of every file."""
    return seconds if 0 <= seconds <= LONGEST_SECONDS else LONGEST_SECONDS


class _Track:
    """A segment of one channel, or of the average, while the file is being decoded."""

    def __init__(self, number: int, segment: Segment, channel: int | None, decoder: Decoder) -> None:
        rate = decoder.sample_rate
        self.number, self.channel = number, channel
        start, length = _possible(segment.start), segment.duration
        self.first = round(start * rate)
        self.stop = None if length is None else round((start + _possible(length)) * rate)
        self.statistics = SoundStatistics(rate, is_float=decoder.format.endswith(_FLOAT_CODINGS))
        self.phases = Phases()
        self.warnings: list[str] = []

    def add(self, block: Array, position: int) -> None:
        """Add what a block of `frame channel` that begins at `position` has of the segment."""
        part = block[max(0, self.first - position) : None if self.stop is None else max(0, self.stop - position)]
        if len(part):
            self.statistics.add(mono(part, self.channel))
            if self.channel is None:
                self.phases.add(part)


class _Examination:
    """One file while it is being checked."""

    def __init__(
        self,
        decoder: Decoder,
        path: str,
        segments: Sequence[Segment],
        max_seconds: float,
        progress: Callable[[], None],
    ) -> None:
        self.decoder, self.path, self.segments = decoder, path, segments
        self.max_seconds, self.progress = max_seconds, progress
        self.num_frames = 0
        self.error: SoundError | None = None

    def findings(self, channels: Channels, keep_truncated: bool) -> list[Finding]:
        """Decode the file, and again what is of opposite phase; return what was found."""
        tracks = [
            _Track(number, segment, channel, self.decoder)
            for number, segment in enumerate(self.segments)
            for channel in self._channels(segment, channels)
        ]
        self._decode(tracks)
        opposite = [track for track in tracks if track.phases.channel is not None]
        if opposite and self.error is None:
            self.decoder.seek(0)
            for track in opposite:
                segment, channel = self.segments[track.number], track.phases.channel
                again = _Track(track.number, segment, channel, self.decoder)
                again.warnings.append(
                    f"opposite phase: the two channels cancel each other out (correlation "
                    f"{track.phases.correlation:.2f}); channel {channel} is used alone"
                )
                tracks[tracks.index(track)] = again
            self._decode([track for track in tracks if track.warnings])
        return [self._finding(track, keep_truncated) for track in tracks]

    def _channels(self, segment: Segment, channels: Channels) -> Iterator[int | None]:
        number = self.decoder.num_channels
        if segment.channel is not None and not 0 <= segment.channel < number:
            raise SoundError("missing", f"channel {segment.channel}, counted from 0, of a file with {number} channels")
        if segment.channel is not None:
            yield segment.channel if number > 1 else None
        elif channels == "separate" and number > 1:
            yield from range(number)
        else:
            yield None

    def _decode(self, tracks: Sequence[_Track]) -> None:
        """Feed all tracks; a file whose length is certain is decoded only where there is a segment."""
        decoder, rate = self.decoder, self.decoder.sample_rate
        seconds = max(1, _BLOCK_SAMPLES // (rate * decoder.num_channels))
        last = None
        if decoder.can_seek:
            decoder.seek(min(decoder.num_frames or 0, *(track.first for track in tracks)))
            stops = [track.stop for track in tracks if track.stop is not None]
            last = max(stops) if len(stops) == len(tracks) else None
        while last is None or decoder.position < last:
            position = decoder.position
            try:
                block = decoder.read(seconds * rate)
            except SoundError as error:
                self.error = error
                break
            if not len(block):
                break
            for track in tracks:
                if track.first < decoder.position and (track.stop is None or track.stop > position):
                    track.add(block, position)
            self.progress()
        self.num_frames = decoder.num_frames if decoder.num_frames is not None else decoder.position

    def _finding(self, track: _Track, keep_truncated: bool) -> Finding:
        statistics, decoder = track.statistics, self.decoder
        statistics.finish()
        seconds = statistics.num_frames / statistics.rate
        try:
            warnings = [*decoder.contents.warnings, *track.warnings, *self._incomplete(track, keep_truncated)]
            statistics.check()
        except SoundError as error:
            return Finding(error.reason, error.detail, segment=track.number, channel=track.channel)
        if (remark := wrong_suffix(self.path, decoder.format.split("/")[0])) is not None:
            warnings.append(remark)
        return Finding(
            warnings=(*warnings, *statistics.warnings()),
            sample_rate=statistics.rate,
            num_frames=self.num_frames,
            num_channels=decoder.num_channels,
            format=decoder.format,
            seconds=seconds,
            level_db=round(statistics.level_db, 1),
            digest=statistics.digest(),
            pieces=self._pieces(statistics) if seconds > self.max_seconds else None,
            segment=track.number,
            channel=track.channel,
        )

    def _pieces(self, statistics: SoundStatistics) -> tuple[tuple[int, int], ...]:
        """Cut a long segment here, because its levels are large: 360,000 for each hour."""
        return tuple(silences.cut(statistics.levels(), max_frames=int(self.max_seconds * LEVELS_PER_SECOND)))

    def _incomplete(self, track: _Track, keep_truncated: bool) -> Iterator[str]:
        """Yield a warning about a segment that is not complete but kept; raise the reason to leave it out."""
        held, rate = track.statistics.num_frames, track.statistics.rate
        slack = round(SLACK_SECONDS * rate)
        is_complete = track.stop is not None and track.first + held >= track.stop
        if is_complete:
            return
        if self.error is not None and self.error.reason != "truncated":
            raise self.error
        missing = self.error.detail if self.error is not None else self.decoder.missing
        if missing is not None and keep_truncated and held:
            yield f"truncated: {missing}; the {held / rate:.2f} s that are there are kept"
        elif missing is not None:
            cure = f"; {held / rate:.2f} s can be kept with --keep-truncated" if held else ""
            raise SoundError("truncated", f"{missing}{cure}")
        elif track.stop is not None and (track.first + held < track.stop - slack or not held):
            ends = self.num_frames / rate
            raise SoundError("beyond the end", f"the row ends at {track.stop / rate:.2f} s, the file at {ends:.2f} s")


def as_json(finding: Finding) -> dict[str, Any]:
    """Return a finding for `from_json`, in another process."""
    return finding._asdict()


def from_json(values: dict[str, Any]) -> Finding:
    """Return the finding that `as_json` was given."""
    pieces = values.get("pieces")
    return Finding(
        **(
            values
            | {
                "warnings": tuple(values["warnings"]),
                "pieces": None if pieces is None else tuple((first, stop) for first, stop in pieces),
            }
        )
    )
