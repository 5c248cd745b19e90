"""Ogg: find joined (chained) streams, and pages that are cut off."""

import mmap

from sori.core.sound.contents import Contents
from sori.core.sound.sound_error import SoundError
from sori.core.sound.virtual_files import Stretch

_LIBSNDFILE = (b"\x01vorbis", b"OpusHead")

Data = bytes | mmap.mmap


class _Link:
    """One of the streams that a chained file consists of; with pictures, several at the same time."""

    def __init__(self, first: int) -> None:
        self.first, self.stop = first, first
        self.codecs: list[bytes] = []
        self.has_data = self.has_end = False

    def add(self, flags: int, body: bytes, stop: int) -> None:
        """Add a page."""
        if flags & 2:
            self.codecs.append(body)
        self.has_data |= not flags & 2
        self.has_end |= bool(flags & 4)
        self.stop = stop

    def is_plain(self) -> bool:
        """Whether libsndfile decodes it."""
        return len(self.codecs) == 1 and self.codecs[0].startswith(_LIBSNDFILE)


def examine_ogg(data: Data, size: int) -> Contents:
    """Walk through all pages.

    Raises:
        SoundError: something else than a page stands between the pages.
    """
    links, missing = _links(data, size)
    if not links:
        raise SoundError("truncated", missing or "no Ogg page")
    warnings = list[str]()
    if missing is not None:
        links[-1].stop = size
    elif not links[-1].has_end:
        warnings.append("no end-of-stream mark: the recording may have been cut off")
    if len(links) > 1:
        warnings.append(f"joined streams: {len(links)} Ogg streams one after the other, decoded as one")
    if not all(link.is_plain() for link in links):
        return Contents("ffmpeg", "ogg", warnings=tuple(warnings), missing=missing)
    parts = tuple((Stretch(link.first, link.stop),) for link in links)
    return Contents("libsndfile", "ogg", parts if len(parts) > 1 else (), tuple(warnings), missing)


def _links(data: Data, size: int) -> tuple[list[_Link], str | None]:
    """Return the streams of a file, and why its last page is incomplete, if it is."""
    links, position = list[_Link](), 0
    while position < size:
        head = data[position : position + 27]
        if head[:4] != b"OggS"[: len(head)]:
            if links and links[-1].has_end:
                break  # something after the end
            raise SoundError("damaged", f"damaged from byte {position} of {size} onwards: no Ogg page starts there")
        table = data[position + 27 : position + 27 + head[26]] if len(head) == 27 else b""
        stop = position + 27 + len(table) + sum(table)
        if len(head) < 27 or len(table) < head[26] or stop > size:
            return links, f"the file ends at byte {size}, inside an Ogg page"
        if not links or (head[5] & 2 and links[-1].has_data):
            links.append(_Link(position))
        links[-1].add(head[5], data[stop - sum(table) : stop - sum(table) + 8], stop)
        position = stop
    return links, None
