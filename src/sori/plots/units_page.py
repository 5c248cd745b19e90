"""Build the unit explorer: every discrete unit of a model, its contexts, phones and audio, in one HTML file."""

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.plots import html_page as blocks
from sori.plots.projection import neighbours

MEGABYTES = 12.0
"""Maximum size of a page."""
_COMPRESSION = 0.9
"""Compression of MP3 with variable bit rate, from 0 (large) to 1: about 5 kB per second of speech (docs/units.md)."""
_LISTED_PHONES, _LISTED_SPEAKERS, _LISTED_LANGUAGES, _LISTED_NEIGHBOURS = 8, 5, 12, 8
_DIGITS = 20
"""Bytes kept for the number of examples, which is known only after they were put on the page."""
_BESIDE_SOUND = 1
"""Bytes between two clips in the data of the page."""
_TYPICAL_BYTES = 3_500
"""Size of an example with its audio."""

Counts = NDArray[np.int64]


class UnitView(NamedTuple):
    """One way to number the units of a model: combinations of entries, or the entries of one codebook group."""

    name: str
    note: str
    """What a unit is in this view."""
    labels: list[str]
    """Label of each unit that occurs."""
    num_frames: Counts
    num_stretches: Counts
    before: list[list[tuple[int, int]]]
    """For each unit, the rows of the units before it (-1: start of the utterance), and how often."""
    after: list[list[tuple[int, int]]]
    phones: Counts
    """`unit phone`; without columns if there are no alignments."""
    speakers: Counts
    """`unit speaker`."""
    languages: Counts
    """`unit language`."""
    vectors: NDArray[np.float32]
    """`unit dim`: codebook entries of each unit that occurs, concatenated."""
    num_possible: int
    unused: list[str]
    """Labels of the units that do not occur, or none if there are too many to list."""


class Example(NamedTuple):
    """A place where a unit occurs."""

    utterance: str
    speaker: str
    language: str
    rows: tuple[int, ...]
    """Row of the unit in each view of which this is an example; -1: of none."""
    start: float
    """Seconds from the beginning of the clip to the unit."""
    end: float
    at: float
    """Seconds from the beginning of the utterance to the clip."""
    phones: list[tuple[str, bool]]
    """Phones in the clip, and whether each overlaps the unit."""


class Explored(NamedTuple):
    """What the page shows."""

    title: str
    notes: list[str]
    """Sentences about the units, the recordings and their licence."""
    facts: list[tuple[str, str]]
    """Figures, and what they are."""
    frame_seconds: float
    views: list[UnitView]
    """The first one is shown first."""
    phones: list[str]
    speakers: list[str]
    languages: list[str]
    num_examples: int
    """Maximum number of examples that are shown of a unit."""
    examples: list[Example]
    """In the order in which they are put on the page."""
    sound: Callable[[int], Float[Tensor, " sample"]]
    """Returns the clip of an example, 16 kHz, scaled."""


def page(explored: Explored, *, megabytes: float = MEGABYTES) -> str:
    """Return the page as self-contained HTML.

    Args:
        explored: what to show.
        megabytes: maximum size of the page; examples are put on it in order until it is reached.

    Raises:
        ValueError: the page is larger without any example.
    """
    room = int(megabytes * 1e6)
    bare = _size(_rendered(explored, [])) + _DIGITS
    if bare > room:
        raise ValueError(
            f"expected a page of up to {megabytes:g} MB, got {bare / 1e6:.1f} MB without any audio for "
            f"{max(len(one.labels) for one in explored.views):,} units; allow more megabytes, or give fewer recordings"
        )
    return _rendered(explored, list(_within(explored, room - bare)))


def _within(explored: Explored, room: int) -> Iterator[dict[str, Any]]:
    """Yield examples with their audio in order, until the room in bytes is used up.

    Clips are read by utterance, as many at a time as are likely to fit.
    """
    first = 0
    while first < len(explored.examples):
        some = range(first, min(len(explored.examples), first + 1 + room // _TYPICAL_BYTES))
        read = sorted(some, key=lambda number: (explored.examples[number].utterance, explored.examples[number].at))
        sounds = {number: compressed(explored.sound(number)) for number in read}
        for number in some:
            made = {**explored.examples[number]._asdict(), "sound": base64.b64encode(sounds[number]).decode()}
            made["start"], made["end"], made["at"] = (round(made[name], 3) for name in ("start", "end", "at"))
            room -= _size(blocks.embedded_json(made)) + _BESIDE_SOUND
            if room < 0:
                return
            yield made
        first = some.stop


def compressed(waveform: Float[Tensor, " sample"]) -> bytes:
    """Encode a short clip as MP3 with variable bit rate, which every browser decodes without a shift in time.

    Args:
        waveform: 16 kHz.
    """
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        waveform.numpy(),
        SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=_COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return buffer.getvalue()


def _rendered(explored: Explored, examples: Sequence[dict[str, Any]]) -> str:
    data = {
        "step": explored.frame_seconds,
        "views": [_view(one) for one in explored.views],
        "phones": explored.phones,
        "speakers": explored.speakers,
        "languages": explored.languages,
        "languageFrames": explored.views[0].languages.sum(0).tolist(),
        "each": explored.num_examples,
        "examples": examples,
    }
    here = files("sori.plots")
    names = ("units_page.html", "units_page.css", "units_page.js")
    body, style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in names)
    blocks_of_page = [
        blocks.heading(explored.title, level=1),
        *(blocks.paragraph(one) for one in explored.notes),
        blocks.tiles(explored.facts),
        body,
        blocks.paragraph(_about_sound(explored, len(examples)), soft=True),
        f'<script type="application/json" id=data>{blocks.embedded_json(data)}</script>',
    ]
    return blocks.page(explored.title, blocks_of_page, style=style, script=script)


def _size(text: str) -> int:
    """Return the bytes of text in a file of `core.files.write_text`."""
    return len(text.encode("utf-8", errors="backslashreplace"))


def _about_sound(explored: Explored, num_examples: int) -> str:
    total = len(explored.examples)
    rest = "" if num_examples == total else f" The other {total - num_examples:,} chosen examples did not fit."
    return (
        f"{num_examples:,} examples have audio, MP3 inside this page, levelled to the loudest sound near them.{rest} "
        "This page loads nothing from the network."
    )


def _view(view: UnitView) -> dict[str, Any]:
    made = view._asdict()
    vectors = view.vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    near = neighbours((vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32), number=_LISTED_NEIGHBOURS)
    cosines = np.rint(1000 * near.cosines.astype(np.float64)).astype(np.int64)
    del made["vectors"]
    return {
        **made,
        "num_frames": view.num_frames.tolist(),
        "num_stretches": view.num_stretches.tolist(),
        "near": [list(zip(*one, strict=True)) for one in zip(near.rows.tolist(), cosines.tolist(), strict=True)],
        "labelled": view.phones.sum(1).tolist(),
        "phones": _largest(view.phones, _LISTED_PHONES),
        "speakers": _largest(view.speakers, _LISTED_SPEAKERS),
        "num_speakers": (view.speakers > 0).sum(1).tolist(),
        # By the fraction of the frames of the language, so that a large corpus does not come first everywhere.
        "languages": _largest(view.languages, _LISTED_LANGUAGES, by=view.languages / view.languages.sum(0).clip(min=1)),
    }


def _largest(table: Counts, most: int, *, by: NDArray[np.float64] | None = None) -> list[list[tuple[int, int]]]:
    """Return, for each row, the columns with the largest numbers and their counts, without zeros."""
    key = table if by is None else by
    order = np.argsort(-key, axis=1, kind="stable")[:, :most]
    found = np.take_along_axis(table, order, 1)
    return [
        [(column, count) for column, count in zip(columns, counts, strict=True) if count]
        for columns, counts in zip(order.tolist(), found.tolist(), strict=True)
    ]
