"""Which files are sound files, by their suffix: the one list that all commands share."""

from collections import Counter
from pathlib import Path

from sori.core.walk import listings

_LIBSNDFILE = ".wav .wave .flac .mp3 .ogg .oga .opus .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .nist .voc"
_FFMPEG = (
    ".m4a .m4b .mp4 .m4v .mov .3gp .3gpp .3g2 .aac .amr .awb .wma .wmv .asf .webm .weba .mka .mkv .spx .ogv .ogx .ac3 "
    ".mp2 .mpga .mpg .mpeg .avi .flv .ts .ra .ape .wv .shn .tta .tak .dss .alac .mts"
)
SOUND_SUFFIXES = frozenset(f"{_LIBSNDFILE} {_FFMPEG}".split())
"""Suffixes of sound files and of films, in lower case."""
COMMON_SUFFIXES = ".wav, .flac, .mp3, .ogg, .opus, .m4a, .webm, .amr, .wma, .mp4"
"""Examples for messages."""


def is_sound_name(name: str) -> bool:
    """Whether a file of this name is taken for a sound file; hidden files are not (macOS writes `._a.wav`)."""
    return not name.startswith(".") and Path(name).suffix.lower() in SOUND_SUFFIXES


def sound_files_below(folder: Path) -> tuple[list[Path], Counter[str], dict[Path, str]]:
    """Find all sound files below a folder, without hidden folders and trash.

    Returns:
        The sound files in order, the number of other files by suffix (`hidden` for hidden ones), and the folders that
        cannot be listed, with the reason.
    """
    found, others, unreadable = list[Path](), Counter[str](), dict[Path, str]()
    for listing in listings(folder):
        if listing.error is not None:
            unreadable[listing.folder] = listing.error
        for name in listing.names:
            if is_sound_name(name):
                found.append(listing.folder / name)
            else:
                others["hidden" if name.startswith(".") else Path(name).suffix.lower() or "no suffix"] += 1
        others.update({"hidden folders and trash": len(listing.skipped)} if listing.skipped else {})
    return sorted(found), others, unreadable
