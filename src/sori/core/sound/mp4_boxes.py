"""MP4, M4A, MOV and 3GP: see whether the file ends inside a box."""

import mmap

from sori.core.sound.contents import Contents
from sori.core.sound.sound_error import SoundError

Data = bytes | mmap.mmap


def examine_mp4(data: Data, size: int) -> Contents:
    """Walk through the boxes of the top level.

    Raises:
        SoundError: the box that says how to decode the sound is not there.
    """
    position, names, missing = 0, set[bytes](), None
    while position + 8 <= size:
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length == 0:  # up to the end of the file
            length = size - position
        names.add(name)
        if length < 8:
            break
        if position + length > size:
            missing = (
                f"the file ends at byte {size}, {position + length - size} bytes before the end of its box {name!r}"
            )
        position += length
    if b"moov" not in names:
        raise SoundError(
            "truncated",
            "the box `moov`, without which nothing can be decoded, is not in the file: the recorder did not close it, "
            "or the end was not copied",
        )
    return Contents("ffmpeg", "mov", missing=missing)
