"""Settings of how sources of recordings are read."""

from pathlib import Path
from typing import Literal

from sori.core.config import Config


class Reading(Config):
    """Settings of how folders and tables of recordings are read."""

    layout: str | None = None
    """Layout of the folders, such as common_voice, or folder for none. By default it is recognised."""
    tier: tuple[str, ...] = ()
    """Names, types or speakers of the tiers with transcripts in ELAN and Praat files."""
    transcript_rules: Path | None = None
    """File of rules (.toml) for conventions of annotators such as [laughs], instead of the built-in ones."""
    audio_root: Path | None = None
    """Folder of the recordings that tables name, if it is not that of the table; paths are relative to it, or are names
    of files below it."""
    channels: Literal["average", "separate"] = "average"
    """Average the channels of a recording, or make each of them a recording of its own, as for telephone calls and
    interviews with one speaker on each."""
    keep_truncated: bool = False
    """Keep what is there of recordings that are cut off."""
