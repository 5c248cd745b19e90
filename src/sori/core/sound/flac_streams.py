"""FLAC: find joined streams, and compare the length in the header with the last frame."""

import mmap

from sori.core.sound.contents import Contents, Piece
from sori.core.sound.virtual_files import Stretch

_MARK = b"fLaC"
_SEARCHED = 1 << 20
"""Bytes before the end in which the last frame is looked for; frames have at most some 500 kB."""
_BLOCK_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{c: 256 << c - 8 for c in range(8, 16)}}

Data = bytes | mmap.mmap


def examine_flac(data: Data, start: int, size: int) -> Contents:
    """Examine FLAC: one or several streams, one after the other.

    Args:
        data: the file.
        start: where the first stream begins, after tags.
        size: size of the file.
    """
    starts = _starts(data, start, size)
    stated = int.from_bytes(data[start + 21 : start + 26], "big") & ((1 << 36) - 1)
    if len(starts) > 1:
        parts = tuple(
            _without_length(data, first, stop) for first, stop in zip(starts, [*starts[1:], size], strict=True)
        )
        joined = f"joined streams: {len(starts)} FLAC files one after the other, decoded as one"
        return Contents("libsndfile", "flac", parts, (joined,))
    held = _last_frame_end(data, start, size)
    if stated and held == stated:
        block_frames = int.from_bytes(data[start + 10 : start + 12], "big")
        return Contents("libsndfile", "flac", num_frames=stated, block_frames=block_frames)
    warnings, missing = list[str](), None
    if not stated:
        warnings.append("no length in the header: the file may be incomplete, which cannot be checked")
    elif held is not None and held > stated:
        warnings.append(f"wrong length in the header: it states {stated} samples, but there are more")
    elif held is not None:
        missing = f"the header states {stated} samples, the last frame ends at {held}"
    return Contents("libsndfile", "flac", (_without_length(data, start, size),), tuple(warnings), missing)


def _starts(data: Data, start: int, size: int) -> list[int]:
    """Return where streams begin."""
    found, position = [start], start + 4
    while (position := data.find(_MARK + b"\0\0\0\x22", position, size)) >= 0:
        block = data[position + 8 : position + 26]
        rate = int.from_bytes(block[10:13], "big") >> 4
        if len(block) == 18 and int.from_bytes(block[:2], "big") >= 16 and 0 < rate <= 655_350:
            found.append(position)
        position += 4
    return found


def _without_length(data: Data, first: int, stop: int) -> tuple[Piece, ...]:
    """Return a stream whose header states no length, which decoders read to the end."""
    header = bytearray(data[first : min(stop, first + 42)])
    if len(header) < 42:
        return (Stretch(first, stop),)
    header[21] &= 0xF0
    header[22:26] = bytes(4)
    header[26:42] = bytes(16)  # the checksum of the whole
    return bytes(header), Stretch(first + 42, stop)


def _last_frame_end(data: Data, start: int, size: int) -> int | None:
    """Return how many samples there are up to the end of the last FLAC frame; None: no frame was found."""
    block_size = int.from_bytes(data[start + 10 : start + 12], "big")
    position, lowest = size, max(start + 42, size - _SEARCHED)
    while (position := data.rfind(b"\xff", lowest, position)) >= 0:
        if data[position + 1] in (0xF8, 0xF9) if position + 1 < size else False:
            stop = _frame_end(data[position : position + 20], block_size)
            if stop is not None:
                return stop
    return None


def _frame_end(head: bytes, block_size: int) -> int | None:
    """Return the number of samples up to the end of the frame with this header; None: it is no header."""
    if len(head) < 6 or head[3] & 1:
        return None
    code, number = head[2] >> 4, head[4]
    more = 0
    while number & (0x80 >> more):
        more += 1
    if more == 1 or more > 7:
        return None
    number &= 0x7F >> more
    place = 5
    for byte in head[5 : 5 + max(0, more - 1)]:
        number, place = number << 6 | byte & 0x3F, place + 1
    num_samples = _BLOCK_SIZES.get(code, 0)
    if code in (6, 7):
        num_samples = int.from_bytes(head[place : place + code - 5], "big") + 1
        place += code - 5
    place += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if place >= len(head) or not num_samples or _crc8(head[:place]) != head[place]:
        return None
    return number + num_samples if head[1] & 1 else number * block_size + num_samples


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value
