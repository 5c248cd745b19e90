"""WAV and AIFF: find the sound data, and its length whatever the header states.

Recorders that crash or write into a pipe leave 0 or a placeholder as the length, some count their header as sound, and
files over 4 GiB have lengths that wrapped around.
"""

import mmap
import struct
from typing import NamedTuple

from sori.core.sound.contents import Contents, Piece
from sori.core.sound.sound_error import SoundError, require_plausible
from sori.core.sound.virtual_files import Stretch

_LARGEST_RIFF = 0xFFFFFFFF
_TAGS = (b"TAG", b"ID3", b"APETAGEX")
_FRAMES_PER_BLOCK_1 = (1, 3, 6, 7)
"""Codings whose blocks are single frames: PCM, float, A-law, mu-law."""
_STREAMED = "no length in the header: the file may be incomplete, which cannot be checked"

Data = bytes | mmap.mmap


class _Length(NamedTuple):
    """Length of the sound data in bytes, and remarks."""

    num_bytes: int
    is_stated: bool
    warnings: tuple[str, ...] = ()
    missing: str | None = None


def examine_wav(data: Data, size: int) -> Contents:
    """Examine a RIFF or RF64 file.

    Raises:
        SoundError: the header is absurd, or there is no sound data.
    """
    position, stated_64, form = 12, None, b""
    while position + 8 <= size:
        name, length = struct.unpack("<4sI", data[position : position + 8])
        body = position + 8
        if name == b"fmt " and length >= 16 and size >= body + 16:
            form = data[body : min(body + length, size)]
            require_plausible(*struct.unpack("<I", form[4:8]), *struct.unpack("<H", form[2:4]))
        if name == b"ds64" and size >= body + 16:
            (stated_64,) = struct.unpack("<8xQ", data[body : body + 16])
        if name == b"data":
            if length == _LARGEST_RIFF and stated_64:
                length = stated_64
            return _wav_contents(data, form, body, length, size)
        position = body + length + length % 2
    raise SoundError("truncated", f"the file ends before any sound data ({size} bytes)")


def _wav_contents(data: Data, form: bytes, body: int, stated: int, size: int) -> Contents:
    if len(form) < 16:
        return Contents("libsndfile", "wav")
    length = _length(data, body, stated, size, "<4sI")
    block = max(1, struct.unpack("<H", form[12:14])[0])
    coding = struct.unpack("<H", form[24:26] if form[:2] == b"\xfe\xff" and len(form) >= 26 else form[:2])[0]
    if length.num_bytes == 0:
        raise SoundError("empty", "no sound data")
    num_frames = length.num_bytes // block if coding in _FRAMES_PER_BLOCK_1 else None
    # soundfile reads the rest of a last incomplete block of GSM or ADPCM as noise, so it is left out.
    num_bytes = length.num_bytes // block * block
    parts: tuple[tuple[Piece, ...], ...] = ()
    if not length.is_stated:
        parts = ((_wav_header(form, num_bytes), Stretch(body, body + num_bytes)),)
    return Contents("libsndfile", "wav", parts, length.warnings, length.missing, num_frames)


def _wav_header(form: bytes, num_bytes: int) -> bytes:
    """Return a header with the true length."""
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + bytes(len(form) % 2)
    whole = 4 + len(chunks) + 8 + num_bytes
    if whole <= _LARGEST_RIFF:
        return b"RIFF" + struct.pack("<I", whole) + b"WAVE" + chunks + b"data" + struct.pack("<I", num_bytes)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, whole + 36, num_bytes, 0, 0)
    unknown = struct.pack("<I", _LARGEST_RIFF)
    return b"RF64" + unknown + b"WAVE" + sizes + chunks + b"data" + unknown


def _length(data: Data, body: int, stated: int, size: int, layout: str) -> _Length:
    """Return the length of the sound data that begin at `body`."""
    held = size - body
    if stated == held or (stated < held and _is_chunks(data, body + stated, size, layout)):
        return _Length(stated, is_stated=True)
    wrong, missing = _STREAMED, None
    if stated == 0:
        wrong = "no length in the header: the recorder did not close the file"
    elif stated < held:
        wrong = f"wrong length in the header: it states {stated} bytes of sound, but {held} follow; all are used"
    elif stated - held <= body:  # the header counted as sound, or one byte to fill up
        wrong = f"wrong length in the header: it states {stated - held} bytes more than there are"
    elif not (stated >= 0xFFFFFF00 or 0x7FFFF000 <= stated <= 0x80000100):
        missing = f"the header states {stated} bytes of sound, the file has {held}"
    # Programs that write to a pipe leave those values in the header, because they cannot go back to it.
    return _Length(held, is_stated=False, warnings=() if missing else (wrong,), missing=missing)


def _is_chunks(data: Data, position: int, size: int, layout: str) -> bool:
    """Whether nothing but chunks and tags follows, up to the end of the file."""
    for start in (position + position % 2, position):
        place = start
        while place + 8 <= size:
            name, length = struct.unpack(layout, data[place : place + 8])
            if name.startswith(_TAGS) or data[place : place + 8] == b"APETAGEX":
                return True
            if not all(0x20 <= byte < 0x7F for byte in name) or place + 8 + length > size + 1:
                break
            place += 8 + length + length % 2
        if place + 8 > size and (place > start or not any(data[place:size])):
            return True
    return False


def examine_aiff(data: Data, size: int) -> Contents:
    """Examine an AIFF or AIFF-C file.

    Raises:
        SoundError: the header is absurd, or there is no sound data.
    """
    position, common = 12, None
    while position + 8 <= size:
        name, length = struct.unpack(">4sI", data[position : position + 8])
        body = position + 8
        if name == b"COMM" and length >= 18 and size >= body + 18:
            common = body
            exponent, mantissa = struct.unpack(">HQ", data[body + 8 : body + 18])
            rate = mantissa >> max(0, 16_446 - exponent) if exponent <= 16_446 else 1 << 32
            require_plausible(rate, *struct.unpack(">H", data[body : body + 2]))
        if name == b"SSND" and common is not None:
            return _aiff_contents(data, common, body, length, size)
        position = body + length + length % 2
    raise SoundError("truncated", f"the file ends before any sound data ({size} bytes)")


def _aiff_contents(data: Data, common: int, body: int, stated: int, size: int) -> Contents:
    channels, stated_frames, bits = struct.unpack(">HIH", data[common : common + 8])
    is_compressed = data[8:12] == b"AIFC" and data[common + 18 : common + 22] not in (b"NONE", b"sowt", b"twos")
    length = _length(data, body, stated, size, ">4sI")
    num_bytes = max(0, length.num_bytes - 8)
    num_frames = num_bytes // (channels * ((bits + 7) // 8))
    if num_bytes == 0:
        raise SoundError("empty", "no sound data")
    if is_compressed or (length.is_stated and num_frames == stated_frames):
        return Contents("libsndfile", "aiff", (), length.warnings, length.missing)
    header = bytearray(data[:body])
    header[common + 2 : common + 6] = struct.pack(">I", min(num_frames, _LARGEST_RIFF))
    header[body - 4 : body] = struct.pack(">I", min(num_bytes + 8, _LARGEST_RIFF))
    header[4:8] = struct.pack(">I", min(body + num_bytes, _LARGEST_RIFF))
    parts = ((bytes(header), Stretch(body, body + 8 + num_bytes)),)
    return Contents("libsndfile", "aiff", parts, length.warnings, length.missing)
