"""What checking has shown about each item of the sources; findings are read from the journal when they are needed."""

from array import array
from collections.abc import Sequence

from sori.data.preparation.check_journal import Journal, Recorded
from sori.data.preparation.check_requests import CheckRequests, may_be_cut
from sori.data.preparation.checks import Finding
from sori.data.sources.recordings import Item

_UNUSED_TEXT = (
    "transcript not used: it belongs to all channels; give a table with a row for each channel (channel_index)"
)
_ALL = -1


class CheckedItems:
    """Items with their findings, of which only the places in the journal are kept: ten bytes an item.

    Args:
        requests: what is checked.
        journal: where the findings are.
    """

    def __init__(self, requests: CheckRequests, journal: Journal) -> None:
        self.requests, self.journal = requests, journal
        self.items: Sequence[Item] = requests.items
        self.divides = requests.reading.channels == "separate"
        self.place = array("q", [0]) * len(self.items)
        self.count = array("B", [0]) * len(self.items)
        """Number of findings of an item, which follow each other in the journal."""
        self.channel = array("b", [_ALL]) * len(self.items)
        """Channel that was examined first."""
        self.without_text: set[int] = set()
        self._is_cut = array("B")

    def __len__(self) -> int:
        return len(self.items)

    def add(self, recorded: Recorded) -> None:
        """Remember where the findings of a file are."""
        rows = list(self.requests.rows(recorded.number))
        for finding, place in zip(recorded.findings, recorded.places, strict=True):
            row = rows[finding.segment]
            if not self.count[row]:
                self.place[row] = place
                self.channel[row] = _ALL if finding.channel is None else finding.channel
            self.count[row] += 1

    def divide(self) -> list[Item]:
        """Return the items, and an item for each channel instead of those whose channels were checked separately.

        From now on, these are the items whose findings are returned.
        """
        items, place, cut = list[Item](), array("q"), array("B")
        for row, item in enumerate(self.items):
            is_whole = not self.divides or item.channel is not None
            if self.count[row] == 1:
                channel = None if self.channel[row] == _ALL else self.channel[row]
                items.append(item if item.channel == channel else item._replace(channel=channel))
                place.append(self.place[row])
                cut.append(may_be_cut(item) or (not is_whole and channel is not None))
                continue
            for finding, position in self.journal.located(self.place[row], self.count[row]):
                if item.text:
                    self.without_text.add(len(items))
                items.append(_of_channel(item, finding.channel))
                place.append(position)
                cut.append(may_be_cut(item) or (not is_whole and finding.channel is not None))
        self.items, self.place, self._is_cut = items, place, cut
        return items

    def finding(self, index: int) -> Finding:
        """Return what was found out about an item."""
        finding = self.journal.read(self.place[index])
        if not self._is_cut[index]:
            finding = finding._replace(pieces=None)
        if index in self.without_text:
            finding = finding._replace(warnings=(*finding.warnings, _UNUSED_TEXT))
        return finding


def _of_channel(item: Item, channel: int | None) -> Item:
    """Return an item of one channel, without the transcript, which is that of all."""
    speaker = item.speaker and f"{item.speaker}-ch{channel}"
    return item._replace(id=f"{item.id}-ch{channel}", speaker=speaker, text=None, channel=channel)
