"""MPEG audio (MP3): find every frame, so that the length needs no header and a cut is seen.

Info, Xing and VBRI headers are only compared with what is there: encoders count differently, tools that join and cut
files leave the old numbers, and streams have none.
"""

import mmap
from typing import NamedTuple

from sori.core.sound.contents import Contents

_FIRST_FRAMES = 3
"""Consecutive frames that must be consistent for content to be taken for MPEG audio."""
_HEADER_OFFSETS = (13, 21, 36)
"""Bytes from the beginning of a frame to its Info or Xing mark: after the side information of each kind of frame."""
_MUCH_JUNK = 4096
_SEARCHED = 1 << 20
"""Bytes after the tags in which the first frame is looked for."""
_BIT_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by version (2 stands for 2 and 2.5) and layer."""
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Hz by the two bits of the version."""

Data = bytes | mmap.mmap


class _Frame(NamedTuple):
    size: int
    kind: int
    """The bits that do not change within a stream: version, layer and rate."""
    num_samples: int


def _parse(head: bytes) -> _Frame | None:
    """Return the frame that begins with four bytes; None: they are no header, or one of free format."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    kilobits = _BIT_RATES[1 if version == 3 else 2, layer][bits]
    hertz, padding = _RATES[version][rate], head[2] >> 1 & 1
    if layer == 1:
        size = (12_000 * kilobits // hertz + padding) * 4
    else:
        size = (72_000 if layer == 3 and version != 3 else 144_000) * kilobits // hertz + padding
    num_samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    return _Frame(size, (head[1] & 0xFE) << 2 | rate, num_samples)


_SIZES = {
    bytes((0xFF, second, third)): found
    for second in range(0xE0, 0x100)
    for third in range(0x100)
    if (found := _parse(bytes((0xFF, second, third, 0)))) is not None
}
"""Frames by the three bytes that decide."""


def skip_tags(data: Data, position: int, size: int) -> int:
    """Return where the ID3v2 tags that begin at a position end."""
    while (head := data[position : position + 10])[:3] == b"ID3" and len(head) == 10 and max(head[6:]) < 0x80:
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        position += 10 + length + (10 if head[5] & 0x10 else 0)
    return min(position, size)


def first_frame(data: Data, position: int, size: int, *, searched: int = _SEARCHED) -> int | None:
    """Return where the first frame begins that is followed by consistent ones; None: there is none nearby."""
    limit = min(size, position + searched)
    while (position := data.find(b"\xff", position, limit)) >= 0:
        end, kind, number = position, None, 0
        while number < _FIRST_FRAMES and (frame := _SIZES.get(data[end : end + 3])) and kind in (None, frame.kind):
            end, kind, number = end + frame.size, frame.kind, number + 1
        if number == _FIRST_FRAMES or (number and end == size):
            return position
        position += 1
    return None


def examine_mpeg(data: Data, start: int, size: int) -> Contents:
    """Walk through all frames of MPEG audio.

    Args:
        data: the file.
        start: where the first frame begins.
        size: size of the file.
    """
    position, num_frames, junk, kind, last = start, 0, 0, None, 0
    while position < size:
        frame = _SIZES.get(data[position : position + 3])
        if frame is not None and kind in (None, frame.kind):
            kind, last = frame.kind, position
            position += frame.size
            num_frames += 1
            continue
        after = _skip_other(data, position, size)
        if after == position:  # neither a frame nor a tag
            following = first_frame(data, position + 1, size, searched=size)
            after = size if following is None else following
            junk += after - position
        position = after
    missing = None
    if position > size:
        missing = f"the last frame has {size - last} of {position - last} bytes"
    warnings = [f"foreign bytes: {junk} bytes between the frames are no sound"] if junk > _MUCH_JUNK else []
    if joined := _later_headers(data, start, size, kind):
        warnings.append(f"joined streams: {1 + joined} MP3 files one after the other, decoded as one")
    if warnings or junk or missing is not None:
        return Contents("ffmpeg", "mp3", warnings=tuple(warnings), missing=missing)
    # Where libsndfile gets the length right, it is used, because it is twice as fast.
    stated = _stated_frames(data[start : start + 200])
    if stated is not None and stated not in (num_frames - 1, num_frames):
        return Contents("ffmpeg", "mp3")
    samples = 0 if stated is not None else num_frames * _SIZES[data[start : start + 3]].num_samples
    return Contents("libsndfile", "mp3", least_frames=samples)


def _later_headers(data: Data, start: int, size: int, kind: int | None) -> int:
    """Count the Info and Xing headers after the first frame: each begins another file."""
    number = 0
    for mark in (b"Xing", b"Info"):
        position = start + 200
        while (position := data.find(mark, position, size)) >= 0:
            places = (position - offset for offset in _HEADER_OFFSETS)
            frames = (_SIZES.get(data[place : place + 3]) for place in places)
            number += any(frame is not None and frame.kind == kind for frame in frames)
            position += 4
    return number


def _skip_other(data: Data, position: int, size: int) -> int:
    """Return where a tag that begins at a position ends; the position itself if none begins there."""
    head = data[position : position + 32]
    if head[:3] == b"ID3":
        return skip_tags(data, position, size)
    if head[:3] == b"TAG" and size - position <= 128:
        return size
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return min(size, position + int.from_bytes(head[12:16], "little") + (32 if head[23] & 0x20 else 0))
    if head[:11] == b"LYRICSBEGIN":
        ends = [data.find(mark, position) + len(mark) for mark in (b"LYRICS200", b"LYRICSEND")]
        return max(position, *ends) if max(ends) > 9 else position
    if not any(head):  # zeros that fill up a block of the disk
        while position < size and not any(data[position : position + 4096]):
            position += 4096
    return min(position, size)


def _stated_frames(frame: bytes) -> int | None:
    """Return the number of frames that an Info or Xing header states, if there is one."""
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place < 0 or len(frame) < place + 12 or not frame[place + 7] & 1:
        return None
    return int.from_bytes(frame[place + 8 : place + 12], "big")
