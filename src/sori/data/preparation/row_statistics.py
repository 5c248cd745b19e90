"""Statistics of the utterances that are kept, gathered one by one: 17 bytes each, and what is counted by name."""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sori.core.audio import SAMPLE_RATE, AudioInfo
from sori.data.manifest import Utterance
from sori.text.character_changes import ChangeCounter
from sori.text.vocabulary import BLANK, Vocabulary


class Row(NamedTuple):
    """An utterance that is kept, with what its file contains."""

    utterance: Utterance
    about: AudioInfo
    level_db: float
    """Root mean square of the recording, in dB of full scale."""


@dataclass
class Group:
    """The utterances that have one value in common, such as a language."""

    num_utterances: int = 0
    num_samples: int = 0
    num_transcribed_samples: int = 0
    speakers: set[str] = field(default_factory=set)

    def add(self, utterance: Utterance) -> None:
        """Add an utterance."""
        self.num_utterances += 1
        self.num_samples += utterance.num_samples
        self.num_transcribed_samples += utterance.num_samples if utterance.text is not None else 0
        if utterance.speaker is not None:
            self.speakers.add(utterance.speaker)

    @property
    def hours(self) -> float:
        """Length of all utterances."""
        return self.num_samples / SAMPLE_RATE / 3600

    @property
    def transcribed_hours(self) -> float:
        """Length of those with a transcript."""
        return self.num_transcribed_samples / SAMPLE_RATE / 3600


class RowStatistics:
    """What `report.md` says about the utterances."""

    def __init__(self) -> None:
        self.all = Group()
        self.seconds, self.levels = array("d"), array("d")
        """Length and level of each utterance."""
        self.has_text = bytearray()
        self.files: set[str] = set()
        self.languages: set[str] = set()
        self.samples_by_speaker: Counter[str] = Counter()
        self.groups: dict[str, dict[str, Group]] = {}
        """For each property, the utterances with each of its values."""
        self.num_texts, self.num_words = 0, 0
        self.characters: Counter[str] = Counter()
        """In NFC."""
        self.changes = ChangeCounter(Vocabulary(symbols=(BLANK,)))

    def added(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield rows again, each after it was added."""
        for row in rows:
            self.add(row)
            yield row

    def add(self, row: Row) -> None:
        """Add an utterance."""
        utterance, about = row.utterance, row.about
        self.all.add(utterance)
        self.seconds.append(utterance.duration_seconds)
        self.levels.append(row.level_db)
        self.has_text.append(utterance.text is not None)
        self.files.add(utterance.path)
        if utterance.language:
            self.languages.add(utterance.language)
        if utterance.speaker is not None:
            self.samples_by_speaker[utterance.speaker] += utterance.num_samples
        for title, name in (
            ("split", utterance.split or "none"),
            ("language", utterance.language or "not given"),
            ("sample rate", f"{about.sample_rate} Hz"),
            ("channels", str(about.num_channels)),
            ("format", about.format),
        ):
            self.groups.setdefault(title, {}).setdefault(name, Group()).add(utterance)
        if utterance.text is not None:
            self.num_texts += 1
            text = unicodedata.normalize("NFC", utterance.text)
            self.num_words += len(text.split())
            self.characters.update(text)
        self.changes.add(utterance.text or "")
