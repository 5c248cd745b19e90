"""Read an annotation file of any supported format."""

from collections.abc import Sequence
from pathlib import Path

from sori.data.sources.annotations.audacity import read_labels
from sori.data.sources.annotations.chat import read_chat
from sori.data.sources.annotations.eaf import read_eaf
from sori.data.sources.annotations.praat import read_praat
from sori.data.sources.annotations.stretches import Annotation
from sori.data.sources.annotations.subtitles import read_subtitles
from sori.data.sources.annotations.transcriber import read_transcriber

SUFFIXES = (".eaf", ".textgrid", ".trs", ".cha", ".vtt", ".srt")
"""Suffixes in lower case; if a recording has several, the first one in this order is used."""
SAYMORE = ".annotations.eaf"
"""SayMore appends this to the full name of the recording: `talk.wav.annotations.eaf`."""


def read_annotation(path: Path, wanted: Sequence[str]) -> Annotation:
    """Read the stretches of a file.

    Args:
        path: the file; other suffixes than `SUFFIXES` are label tracks of Audacity.
        wanted: names, types or speakers of tiers, for formats with tiers.

    Raises:
        ValueError: the file is damaged or in another format, or has no such tier.
    """
    match path.suffix.lower():
        case ".eaf":
            return read_eaf(path, wanted)
        case ".textgrid":
            return read_praat(path, wanted)
        case ".trs":
            return read_transcriber(path)
        case ".cha":
            return read_chat(path)
        case ".srt" | ".vtt":
            return read_subtitles(path)
        case _:
            return read_labels(path)
