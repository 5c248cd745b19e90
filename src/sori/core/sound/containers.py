"""Recognise what a file contains by its first bytes, and examine its container."""

import mmap
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from os import PathLike
from pathlib import Path

from sori.core.sound.contents import Contents
from sori.core.sound.flac_streams import examine_flac
from sori.core.sound.mp4_boxes import examine_mp4
from sori.core.sound.mpeg_frames import examine_mpeg, first_frame, skip_tags
from sori.core.sound.ogg_pages import examine_ogg
from sori.core.sound.riff_chunks import examine_aiff, examine_wav
from sori.core.sound.sound_error import SoundError
from sori.core.sound.sound_suffixes import SOUND_SUFFIXES
from sori.core.user_files import open_bytes

_NO_FILE = "a folder, pipe, socket or device, not a file"
_LEAST_TEXT = 12
_REMEMBERED = 4096

Data = bytes | mmap.mmap

_EXAMINED: dict[bytes, Callable[[Data, int], Contents]] = {
    b"RIFF": examine_wav,
    b"RF64": examine_wav,
    b"FORM": examine_aiff,
    b"OggS": examine_ogg,
}
_LIBSNDFILE = {b".snd": "au", b"caff": "caf", b"riff": "w64", b"NIST": "nistsphere", b"Crea": "voc"}
"""First four bytes of what libsndfile decodes, and ffmpeg's name of it."""
_FFMPEG = {
    b"#!AMR": "amr",
    b"\x1aE\xdf\xa3": "matroska",
    b"0&\xb2u\x8ef\xcf\x11": "asf",
    b"MAC ": "ape",
    b"wvpk": "wv",
    b"ajkg": "shn",
    b".RMF": "rm",
    b".ra\xfd": "rm",
    b"TTA1": "tta",
    b"tBaK": "tak",
    b"FLV\x01": "flv",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x0bw": "ac3",
    b"\x02dss": "dss",
    b"\x03dss": "dss",
}
"""First bytes of what only ffmpeg decodes, and its name of it."""
_OTHERS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b\x08": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"MThd": "a MIDI file: notes, no sound",
}


def examine(path: str | PathLike[str]) -> Contents:
    """Examine a sound file without decoding it; what is found is remembered while the file stays the same.

    Raises:
        SoundError: it does not exist, is no file, is empty, or is evidently no sound file.
        OSError: it cannot be read.
    """
    name = os.fspath(path)
    if not os.path.lexists(name):
        raise SoundError("missing", "there is no such file")
    if not Path(name).exists():
        raise SoundError("missing", f"a link to {Path(name).readlink()}, which does not exist")
    about = Path(name).stat()
    if not stat.S_ISREG(about.st_mode):
        raise SoundError("wrongly named", _NO_FILE)
    if about.st_size == 0:
        raise SoundError("empty", "0 bytes")
    return _examine(name, about.st_size, about.st_mtime_ns)


@lru_cache(_REMEMBERED)
def _examine(name: str, size: int, _modified: int) -> Contents:
    with open_bytes(name) as file:
        size = min(size, os.fstat(file.fileno()).st_size)
        small = file.read(size) if size < mmap.PAGESIZE else None
        whole = nullcontext(small) if small is not None else mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        with whole as data:
            return _contents(data, size, Path(name).suffix.lower())


def _contents(data: Data, size: int, suffix: str) -> Contents:
    start = skip_tags(data, 0, size)
    head = data[start : start + 16]
    if start == 0 and head[:4] in _EXAMINED and not (head[:4] == b"RIFF" and head[8:12] != b"WAVE"):
        return _EXAMINED[head[:4]](data, size)
    if head[:4] == b"fLaC":
        return examine_flac(data, start, size)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return examine_mp4(data, size)
    if head[:4] in _LIBSNDFILE:
        return Contents("libsndfile", _LIBSNDFILE[head[:4]])
    name = (
        "avi" if head[:4] == b"RIFF" else next((name for mark, name in _FFMPEG.items() if head.startswith(mark)), None)
    )
    return _headless(data, start, size, suffix) if name is None else Contents("ffmpeg", name)


def _headless(data: Data, start: int, size: int, suffix: str) -> Contents:
    """Examine content without a mark at its beginning: MPEG audio, AAC, MPEG transport streams, or no sound at all."""
    head = data[start : start + 2]
    if len(head) == 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return Contents("ffmpeg", "aac")
    if size > 376 and data[0] == data[188] == data[376] == 0x47:
        return Contents("ffmpeg", "mpegts")
    if start == 0 and (kind := _other_kind(data[:4096])):
        raise SoundError("wrongly named", f"the content is {kind}")
    first = first_frame(data, start, size)
    if first is not None and (start > 0 or first == 0 or suffix in (".mp3", ".mp2", ".mpga")):
        return examine_mpeg(data, first, size)
    if start > 0 or suffix == ".mp3":
        raise SoundError("unreadable", "no MP3 frame found")
    return Contents("libsndfile")


def _other_kind(head: bytes) -> str | None:
    """Name content that is evidently no sound; None if it may be some."""
    for mark, kind in _OTHERS.items():
        if head.startswith(mark):
            return kind
    if not any(head):
        return "nothing but zero bytes"
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if head.lstrip()[:1] == b"<":
        return "a web page or XML"
    return "text" if printable > 0.95 * len(head) and len(head) >= _LEAST_TEXT else None


_CONTAINERS = {
    "WAV": (".wav", ".wave"),
    "WAVEX": (".wav", ".wave"),
    "RF64": (".wav", ".rf64"),
    "FLAC": (".flac",),
    "MP3": (".mp3", ".mp2", ".mpga"),
    "OGG": (".ogg", ".oga", ".opus", ".spx", ".ogx", ".ogv"),
}


def wrong_suffix(path: str, container: str) -> str | None:
    """Return a remark about a sound file whose suffix is that of another format."""
    suffix, expected = Path(path).suffix.lower(), _CONTAINERS.get(container, ())
    if expected and suffix in SOUND_SUFFIXES and suffix not in expected:
        return f"wrongly named: the content is {container}, not {suffix}"
    return None
