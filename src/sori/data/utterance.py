"""One row of a prepared folder."""

from typing import NamedTuple

from sori.core.audio import SAMPLE_RATE, Channel


class Utterance(NamedTuple):
    """A segment of a sound file, with its transcript and metadata."""

    id: str
    path: str
    start: float
    """Seconds from the beginning of the file."""
    num_samples: int
    """Length at 16 kHz."""
    text: str | None
    """Transcript; None: untranscribed."""
    speaker: str | None
    language: str | None
    """ISO 639-3 code by convention."""
    split: str | None
    channel: int | None = None
    """Channel of the file, numbered from 0; None: the average of all."""

    @property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return self.num_samples / SAMPLE_RATE

    @property
    def mix(self) -> Channel:
        """What `audio.read` makes of the channels of the file."""
        return "average" if self.channel is None else self.channel
