"""Decide which of the checked recordings are used, and make an utterance, or several, of each of them."""

from collections.abc import Iterator
from typing import NamedTuple

from sori.core.audio import SAMPLE_RATE, AudioInfo
from sori.data.manifest import Utterance
from sori.data.preparation.checked_items import CheckedItems
from sori.data.preparation.checks import Finding
from sori.data.preparation.row_statistics import Row
from sori.data.preparation.sound_statistics import LEVELS_PER_SECOND, SHORTEST_SAMPLES
from sori.data.preparation.summary import Flag
from sori.data.preparation.transcript_rules import Tagged
from sori.data.sources.recordings import Excluded, Found, Item

_KEPT_IF_OFFICIAL = ("too short", "too long for its transcript", "duplicate")
"""Reasons that do not remove an utterance from an official test or development set: results would not compare."""


class Limits(NamedTuple):
    """What the user wants of utterances."""

    language: str | None
    """Language of those whose source names none."""
    min_seconds: float
    max_seconds: float


class UsableRows:
    """The utterances that are kept, made one by one, in the order of the sources.

    Args:
        found: the sources; `excluded` is extended, and `notes` once all rows have been made.
        checked: the findings.
        limits: lengths and language.
        tagged: conventions of annotators in the transcripts.
    """

    def __init__(self, found: Found, checked: CheckedItems, limits: Limits, tagged: Tagged) -> None:
        self.found, self.checked, self.limits, self.tagged = found, checked, limits, tagged
        self.flags: list[Flag] = []
        """Warnings, complete once all rows have been made."""
        self._owners: dict[bytes, int] = {}
        """The first item with each digest."""
        self._is_kept = bytearray(len(found.items))
        self._official: dict[int, str] = {}
        """Why an item of an official set would have been left out."""
        self._decide()

    def _decide(self) -> None:
        """Decide on each item; of duplicates, one of an official set is kept if there is one, else a transcribed one.

        The time is linear in the number of items: one pass for each rank.
        """
        items = self.found.items
        for rank in range(4):
            for index, item in enumerate(items):
                if 2 * (not item.is_official) + (not item.text) == rank:
                    self._decide_on(index, item, self.checked.finding(index))
        self._owners.clear()
        self.found.excluded.sort(key=lambda row: (row.path, row.id))

    def _decide_on(self, index: int, item: Item, finding: Finding) -> None:
        digest = finding.digest.encode()
        reason, detail = _exclusion(item, finding, self.limits)
        if reason is None and (owner := self._owners.get(digest)) is not None:
            reason, detail = "duplicate", f"the same audio as {self.found.items[owner].id}"
        if reason in _KEPT_IF_OFFICIAL and item.is_official and not finding.reason:
            self._official[index] = f"{reason}, kept as part of an official set: {detail}"
        elif reason:
            self.found.excluded.append(Excluded(item.id, item.path, reason, detail))
            return
        self._owners.setdefault(digest, index)
        self._is_kept[index] = True

    def __iter__(self) -> Iterator[Row]:
        """Make all rows, once."""
        num_long, num_pieces, seconds, samples = 0, 0, 0.0, 0
        for index, item in enumerate(self.found.items):
            if not self._is_kept[index]:
                continue
            finding = self.checked.finding(index)
            kept = self._as_kept(item)
            self._flag(index, kept, finding)
            num_long += finding.pieces is not None
            seconds += finding.seconds if finding.pieces is not None else 0.0
            for row in _rows(kept, finding):
                num_pieces += finding.pieces is not None
                samples += row.utterance.num_samples if finding.pieces is not None else 0
                yield row
        if num_long:
            self.found.notes.append(
                f"recordings longer than {self.limits.max_seconds:g} s: {num_long} ({seconds / 3600:.2f} h), cut at "
                f"silences into {num_pieces} pieces; {(seconds - samples / SAMPLE_RATE) / 3600:.2f} h of silence were "
                "dropped"
            )

    def _as_kept(self, item: Item) -> Item:
        text = " ".join(item.text.split()) if item.text else None
        return item._replace(text=text or None, language=item.language or self.limits.language)

    def _flag(self, index: int, kept: Item, finding: Finding) -> None:
        warnings = list(finding.warnings) + ([self._official[index]] if index in self._official else [])
        if kept.id in self.tagged.details:
            warnings.append(f"annotation tags: {self.tagged.details[kept.id]}")
        if self.found.items[index].text is not None and kept.text is None:
            warnings.append("empty transcript: kept as untranscribed")
        self.flags += [Flag(kept.id, kept.path, *warning.split(": ", 1)) for warning in warnings]


def _exclusion(item: Item, finding: Finding, limits: Limits) -> tuple[str | None, str]:
    if finding.reason:
        return finding.reason, finding.detail
    if finding.seconds < limits.min_seconds:
        return "too short", f"{finding.seconds:.3f} s; the minimum is {limits.min_seconds:g} s"
    if finding.seconds > limits.max_seconds and item.text and item.text.strip():
        return "too long for its transcript", (
            f"{finding.seconds:.1f} s with one transcript, which cannot be cut at silences; raise max_seconds, give a "
            "table with start and end of each sentence, or remove the transcript to use the audio alone"
        )
    return None, ""


def _rows(item: Item, finding: Finding) -> Iterator[Row]:
    about = AudioInfo(finding.sample_rate, finding.num_frames, finding.num_channels, finding.format)
    first = round(item.start * SAMPLE_RATE)
    last = min(about.num_samples, first + int(finding.seconds * SAMPLE_RATE + 1e-3))

    def row(name: str, start: int, stop: int) -> Row:
        known = (item.text, item.speaker, item.language, item.split)
        span = (start / SAMPLE_RATE, stop - start)
        return Row(Utterance(name, item.path, *span, *known, channel=item.channel), about, finding.level_db)

    if finding.pieces is None:
        yield row(item.id, first, last)
        return
    hop = SAMPLE_RATE // LEVELS_PER_SECOND
    borders = [(first + start * hop, min(last, first + stop * hop)) for start, stop in finding.pieces]
    for number, (start, stop) in enumerate(borders, 1):
        if stop - start >= SHORTEST_SAMPLES:
            yield row(f"{item.id}-{number:04d}", start, stop)
