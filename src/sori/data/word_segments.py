"""Word segments of utterances: read and write `segments.jsonl`, or make segments of fixed length.

A line of the file is one segment: `{"id": "utterance", "start": 0.31, "end": 0.62, "word": "house"}`, times in seconds
from the beginning of the utterance; `word` may be absent.
"""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sori.core.files import atomic_write
from sori.core.text_files import json_lines
from sori.data.manifest import Utterance

SEGMENTS = "segments.jsonl"
"""Name of the file in a prepared folder."""
TOLERANCE = 0.02
"""Seconds by which a segment may exceed its utterance, because alignments are rounded to frames."""


class Segment(NamedTuple):
    """A time interval of an utterance."""

    utterance: str
    """Id of the utterance."""
    start: float
    """Seconds from the beginning of the utterance."""
    end: float
    word: str | None
    """The word that is spoken; None: unknown."""


def read_segments(path: Path) -> list[Segment]:
    """Read the segments of a file, in order.

    Raises:
        FileNotFoundError: there is no such file; the message says how to make one.
        ValueError: a line is not a segment, or its times are not 0 <= start < end; the message names the line.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected the times of the words. `sori words align RECOGNISER {path.parent}` "
            "aligns transcribed recordings; without transcripts, use segments of equal length: "
            "`--segments.fixed-seconds 0.4`"
        )
    found = []
    for number, row in json_lines(path):
        try:
            found.append(_segment(row))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"{path}, line {number}: expected "
                '{"id": "utterance", "start": 0.31, "end": 0.62, "word": "house"}'
                f", got {str(row)[:120]}: {reason}"
            ) from None
    return found


def write_segments(path: Path, segments: Iterable[Segment]) -> None:
    """Write `segments.jsonl`; the file appears whole or not at all."""
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8") as file:
        for one in segments:
            row: dict[str, Any] = {"id": one.utterance, "start": one.start, "end": one.end}
            file.write(json.dumps(row if one.word is None else {**row, "word": one.word}, ensure_ascii=False) + "\n")


def fixed_segments(utterances: Iterable[Utterance], seconds: float) -> list[Segment]:
    """Divide each utterance into segments of equal length, as close to `seconds` as possible, without words."""
    found = []
    for u in utterances:
        count = max(1, round(u.duration_seconds / seconds))
        edges = [u.duration_seconds * n / count for n in range(count + 1)]
        found += [Segment(u.id, start, end, None) for start, end in itertools.pairwise(edges)]
    return found


def by_utterance(segments: Iterable[Segment], utterances: Sequence[Utterance], *, origin: str) -> list[list[Segment]]:
    """Return the segments of each utterance, sorted by time.

    Args:
        segments: in any order.
        utterances: all utterances to which segments may belong.
        origin: source of the segments, for error messages.

    Raises:
        ValueError: a segment belongs to no utterance, or exceeds it by more than `TOLERANCE`.
    """
    places = {u.id: number for number, u in enumerate(utterances)}
    found: list[list[Segment]] = [[] for _ in utterances]
    for one in segments:
        if one.utterance not in places:
            raise ValueError(
                f"{origin}: a segment belongs to the utterance {one.utterance!r}, which is not among the "
                f"{len(utterances)} prepared ones; likely the segments belong to other data, or `sori prepare` left "
                "the recording out or cut it: compare the ids with excluded.jsonl and cuts.jsonl.gz"
            )
        u = utterances[places[one.utterance]]
        if one.end > u.duration_seconds + TOLERANCE:
            raise ValueError(
                f"{origin}: {one.word or 'a segment'} ends at {one.end:g} s, but {u.id} lasts "
                f"{u.duration_seconds:g} s; times must be in seconds from the beginning of the utterance, not of its "
                "file"
            )
        found[places[one.utterance]].append(one)
    return [sorted(own, key=lambda one: (one.start, one.end)) for own in found]


def _segment(row: Any) -> Segment:
    start, end = float(row["start"]), float(row["end"])
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
        raise ValueError("times must be 0 <= start < end")
    if not isinstance(row["id"], str) or not isinstance(row.get("word"), str | None):
        raise TypeError("id and word must be text")
    return Segment(row["id"], start, end, row.get("word"))
