"""What is to be checked, file by file, without an object for each request.

A list of requests as dictionaries would take a kilobyte a file; here it takes 16 bytes, beside the items themselves.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from sori.data.sources.reading import Reading
from sori.data.sources.recordings import Item

_NONE = -1


class CheckRequests:
    """Arguments of `checks.check` for each file of a list of items, in the order in which the files first occur.

    Args:
        items: what the sources list; several may be segments of the same file.
        reading: how channels and truncated files are read.
        max_seconds: longer segments are cut at silences, where that is possible.
    """

    def __init__(self, items: Sequence[Item], reading: Reading, max_seconds: float) -> None:
        self.items, self.reading, self.max_seconds = items, reading, max_seconds
        self.first = array("q")
        """First item of each file."""
        self.following = array("q", [_NONE]) * len(items)
        """For each item, the next one of the same file."""
        last: dict[str, int] = {}
        for row, item in enumerate(items):
            before = last.get(item.path)
            if before is None:
                self.first.append(row)
            else:
                self.following[before] = row
            last[item.path] = row

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> dict[str, Any]:
        items = [self.items[row] for row in self.rows(index)]
        is_cut = self.reading.channels == "separate" or any(may_be_cut(item) for item in items)
        return {
            "path": items[0].path,
            "segments": [(item.start, item.duration, item.channel) for item in items],
            "max_seconds": self.max_seconds if is_cut else math.inf,
            "channels": self.reading.channels,
            "keep_truncated": self.reading.keep_truncated,
        }

    def rows(self, index: int) -> Iterator[int]:
        """Yield the items of a file, which are the segments of its request, by number."""
        row = self.first[index]
        while row != _NONE:
            yield row
            row = self.following[row]


def may_be_cut(item: Item) -> bool:
    """Return whether an item may be cut at silences: official sets and transcribed recordings are not."""
    return not item.is_official and not (item.text or "").strip()
