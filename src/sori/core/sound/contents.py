"""What examining a container shows, for all kinds of containers."""

from dataclasses import dataclass
from typing import Literal

from sori.core.sound.virtual_files import Stretch

Piece = bytes | Stretch


@dataclass(frozen=True)
class Contents:
    """How to decode a sound file, and what its container says about completeness."""

    decoder: Literal["libsndfile", "ffmpeg"]
    ffmpeg_format: str | None = None
    """Name of ffmpeg's demuxer; for libsndfile, the one to use for what libsndfile refuses, if there is one."""
    parts: tuple[tuple[Piece, ...], ...] = ()
    """Files in the file that are decoded one after the other; none: the file as it is."""
    warnings: tuple[str, ...] = ()
    """Remarks about a usable file, each `kind: detail`."""
    missing: str | None = None
    """Why sound is demonstrably missing; None: nothing shows it."""
    num_frames: int | None = None
    """Number of frames, where the header that states it has been verified."""
    block_frames: int = 0
    """Number of frames in the largest block of the coding, where an error in the last block shows a file cut off."""
    least_frames: int = 0
    """Number of frames that libsndfile must announce to be trusted with the file; ffmpeg decodes it otherwise."""
