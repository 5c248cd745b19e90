"""Write the transcript of a recording in formats of other programs: captions, Praat, ELAN, scoring.

All formats use the same times: whole milliseconds from 0 to the duration. Every word lasts at least 1 ms, starts no
earlier than the previous word ends, and ends within the recording, so rounding never causes negative times, empty words
or overlaps. The output ends with a line break and is to be encoded as UTF-8.

Sources: WebVTT, W3C candidate recommendation 2019; TextGrid, the Praat manual, "TextGrid file formats"; EAF, see
`elan.py`; CTM, NIST SCTK, doc/infmts.htm. SubRip has no specification.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, get_args
from unicodedata import east_asian_width

from sori.decoding.elan import Annotation, Tier, eaf
from sori.decoding.greedy import Character, Word
from sori.text.vocabulary import graphemes

Format = Literal["txt", "json", "srt", "vtt", "TextGrid", "eaf", "audacity", "ctm"]
FORMATS: tuple[str, ...] = get_args(Format)
"""Names of the formats, which are also their usual file name extensions, except for Audacity's label tracks."""

PAUSE_SECONDS = 0.8
"""Shortest silence that ends a caption or utterance; CTC ends words early, so shorter gaps are unreliable."""
_SLACK_SECONDS = 0.1  # the last frame may start beyond the last sample; times are then clipped to the duration
_LINE_WIDTH, _CAPTION_MS, _SHOWN_MS = 42, 7000, 1000
_BLANKS = re.compile(r"[^\S\u00a0\u2007\u202f]+")  # white space except non-breaking spaces
# not allowed in XML or UTF-8
_FORBIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def extension(to: Format) -> str:
    """Return the file name extension of a format, without the dot."""
    return "txt" if to == "audacity" else to


class Alternatives(NamedTuple):
    """The n-best texts of one chunk of audio."""

    start: float
    """Seconds from the start of the recording."""
    end: float
    texts: Sequence[tuple[str, float]]
    """Texts with their scores in nats, best first."""


class Transcribed(NamedTuple):
    """Transcript of one recording."""

    text: str
    words: Sequence[Word]
    """Words in order of time; they may touch, overlap by rounding, or have zero length."""
    duration: float
    """Duration of the recording in seconds."""
    source: str
    """Path or name of the recording; only the name is written."""
    confidence: Sequence[float] | None = None
    """Confidence of each word, from 0 to 1; None: unknown."""
    characters: Sequence[Sequence[Character]] | None = None
    """Characters of each word with their times; None: unknown. Only written to json."""
    alternatives: Sequence[Alternatives] | None = None
    """N-best texts of each chunk; None: not requested. Only written to json."""


class _Timed(NamedTuple):
    """A word with times in milliseconds."""

    text: str
    start: int
    end: int
    confidence: float | None
    characters: tuple[Character, ...] | None = None
    """Characters with times in seconds, not adjusted."""


def render(transcribed: Transcribed, to: str) -> str:
    """Return a transcript in one of `FORMATS`.

    Args:
        transcribed: Text and words of one recording.
        to: `txt`: the text; `json`: everything; `srt` or `vtt`: captions of at most two lines; `TextGrid`: words and
            silences, for Praat; `eaf`: words within utterances, for ELAN; `audacity`: a label track of utterances;
            `ctm`: one line per word, for scoring.

    Raises:
        ValueError: The format is unknown, the duration is less than 1 ms, times are not finite, not in order or beyond
            the end of the recording, there are more words than milliseconds, or confidences do not match the words.
    """
    timed = _in_milliseconds(transcribed)
    name = legal_text(PurePath(transcribed.source).name)
    match to:
        case "txt":
            rendered = legal_text(transcribed.text) + "\n"
        case "json":
            rendered = _json(transcribed, timed, name)
        case "srt":
            rendered = _srt(_captions(timed, _milliseconds(transcribed.duration)))
        case "vtt":
            rendered = _vtt(_captions(timed, _milliseconds(transcribed.duration)))
        case "TextGrid":
            rendered = _textgrid(timed, transcribed.duration)
        case "eaf":
            rendered = _eaf(timed, name)
        case "audacity":
            rendered = _labels(timed)
        case "ctm":
            rendered = _ctm(timed, name)
        case _:
            raise ValueError(f"expected a format of {', '.join(FORMATS)}, got {to!r}")
    return rendered


def _in_milliseconds(transcribed: Transcribed) -> list[_Timed]:
    """Return words in whole milliseconds, each at least 1 ms long, without overlap, within the recording."""
    _check(transcribed)
    confidence: Sequence[float | None] = transcribed.confidence or [None] * len(transcribed.words)
    letters: Sequence[Sequence[Character] | None] = transcribed.characters or [None] * len(transcribed.words)
    spoken = [row for row in zip(transcribed.words, confidence, letters, strict=True) if legal_text(row[0].text)]
    starts, ends, free = [], [], 0
    for word, _, _ in spoken:
        starts.append(max(_milliseconds(word.start), free))
        ends.append(max(_milliseconds(word.end), starts[-1] + 1))
        free = ends[-1]
    free = _milliseconds(transcribed.duration)
    if len(spoken) > free:
        raise ValueError(
            f"expected at most one word per millisecond, got {len(spoken)} words in {transcribed.duration} s. Probably "
            "the duration is that of another recording; give the duration of the transcribed one."
        )
    for number in reversed(range(len(spoken))):
        ends[number] = min(ends[number], free)
        starts[number] = free = min(starts[number], ends[number] - 1)
    return [
        _Timed(legal_text(word.text), start, end, score, None if inside is None else tuple(inside))
        for (word, score, inside), start, end in zip(spoken, starts, ends, strict=True)
    ]


def _check(transcribed: Transcribed) -> None:
    words, duration = transcribed.words, transcribed.duration
    if not (math.isfinite(duration) and _milliseconds(duration)):
        raise ValueError(f"expected the duration in seconds, at least a millisecond, got {duration}")
    if transcribed.confidence is not None and len(transcribed.confidence) != len(words):
        raise ValueError(
            f"expected a confidence for each of {len(words)} words, got {len(transcribed.confidence)}; give all or None"
        )
    if transcribed.characters is not None and len(transcribed.characters) != len(words):
        raise ValueError(
            f"expected the characters of each of {len(words)} words, got those of {len(transcribed.characters)}; give "
            "all or None"
        )
    before = 0.0
    for word in words:
        if not (math.isfinite(word.start) and math.isfinite(word.end) and before <= word.start <= word.end):
            raise ValueError(
                f"expected words in order of time, from 0 on, each starting before it ends, got {word} after a word "
                f"starting at {before} s. Probably they come from several recordings, or are not sorted by time."
            )
        before = word.start
    if words and words[-1].start > duration + _SLACK_SECONDS:
        raise ValueError(
            f"expected words within the recording, got {words[-1]} in {duration} s. Probably the duration is that of "
            "another recording, or not in seconds."
        )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def legal_text(text: str) -> str:
    """Return the text as one line without forbidden characters; letters of every script are kept."""
    return _BLANKS.sub(" ", _FORBIDDEN.sub("", text)).strip()


def _json(transcribed: Transcribed, timed: list[_Timed], name: str) -> str:
    words = []
    for word in timed:
        row: dict[str, Any] = {"text": word.text, "start": word.start / 1000, "end": word.end / 1000}
        if word.confidence is not None:
            row["confidence"] = round(word.confidence, 4)
        if word.characters is not None:
            row["characters"] = _characters(word, word.characters)
        words.append(row)
    data = {"source": name, "duration": transcribed.duration, "text": legal_text(transcribed.text), "words": words}
    if transcribed.alternatives is not None:
        data["alternatives"] = [
            {
                "start": round(one.start, 3),
                "end": round(one.end, 3),
                "texts": [{"text": legal_text(text), "score": round(score, 3)} for text, score in one.texts],
            }
            for one in transcribed.alternatives
        ]
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _characters(word: _Timed, characters: Sequence[Character]) -> list[dict[str, Any]]:
    """Return the characters within the adjusted times of their word; rounding may give some zero length."""
    rows, free = [], word.start
    for number, one in enumerate(characters, 1):
        start = free if number == 1 else min(max(_milliseconds(one.start), free), word.end)
        free = word.end if number == len(characters) else min(max(_milliseconds(one.end), start), word.end)
        rows.append({"text": legal_text(one.text), "start": start / 1000, "end": free / 1000})
    return rows


class _Caption(NamedTuple):
    lines: list[str]
    start: int
    end: int


def _captions(timed: list[_Timed], duration: int) -> list[_Caption]:
    """Group words into captions of at most two lines and seven seconds, split at pauses.

    A caption is shown for at least one second unless the next one starts earlier. A single word longer than seven
    seconds keeps its times.
    """
    groups: list[list[_Timed]] = []
    for word in itertools.chain.from_iterable(map(_cut, timed)):
        group = groups[-1] if groups else []
        fits = group and len(_lines([w.text for w in (*group, word)])) <= 2
        if fits and not _paused(group[-1], word) and word.end - group[0].start <= _CAPTION_MS:
            group.append(word)
        else:
            groups.append([word])
    captions = []
    for number, group in enumerate(groups):
        limit = groups[number + 1][0].start if number + 1 < len(groups) else duration
        end = max(group[-1].end, min(group[0].start + _SHOWN_MS, limit))
        captions.append(_Caption(_lines([word.text for word in group]), group[0].start, end))
    return captions


def _paused(before: _Timed, after: _Timed) -> bool:
    return after.start - before.end >= _milliseconds(PAUSE_SECONDS)


def _cut(word: _Timed) -> Iterator[_Timed]:
    """Split a word wider than a line (as in scripts without spaces) into pieces, with proportional times."""
    if _width(word.text) <= _LINE_WIDTH:
        yield word
        return
    pieces = [""]
    for letter in graphemes(word.text):
        if _width(pieces[-1] + letter) > _LINE_WIDTH:
            pieces.append("")
        pieces[-1] += letter
    pieces = [piece for piece in map(str.strip, pieces) if piece]
    if word.end - word.start < len(pieces):  # too short to split
        yield word
        return
    edges = [word.start + (word.end - word.start) * number // len(pieces) for number in range(len(pieces) + 1)]
    for piece, (start, end) in zip(pieces, itertools.pairwise(edges), strict=True):
        yield _Timed(piece, start, end, word.confidence)


def _lines(words: list[str]) -> list[str]:
    """Break words into as few lines as possible; two lines are balanced."""
    lines = [words[0]]
    for word in words[1:]:
        if _width(f"{lines[-1]} {word}") <= _LINE_WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) != 2:
        return lines
    splits = [[" ".join(words[:n]), " ".join(words[n:])] for n in range(1, len(words))]
    return min(splits, key=lambda split: max(map(_width, split)))


def _width(text: str) -> int:
    """Return the width in columns: East Asian characters take two, combining marks none."""
    return sum(2 if east_asian_width(letter[0]) in "WF" else 1 for letter in graphemes(text))


def _srt(captions: list[_Caption]) -> str:
    blocks = []
    for number, (lines, start, end) in enumerate(captions, 1):
        times = f"{_time(start)} --> {_time(end)}".replace(".", ",")
        blocks.append("\n".join([str(number), times, *lines]) + "\n")
    return "\n".join(blocks)


def _vtt(captions: list[_Caption]) -> str:
    blocks = ["WEBVTT\n"]
    for lines, start, end in captions:
        text = "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_time(start)} --> {_time(end)}\n{text}\n")
    return "\n".join(blocks)


def _time(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"


def _textgrid(timed: list[_Timed], duration: float) -> str:
    last = _milliseconds(duration)
    end = f"{duration:.7f}".rstrip("0").removesuffix(".")  # 7 places: exact for a number of 16 kHz samples
    intervals: list[tuple[int, int, str]] = []
    free = 0
    for word in timed:
        if word.start > free:
            intervals.append((free, word.start, ""))
        intervals.append((word.start, word.end, word.text))
        free = word.end
    if free < last:
        intervals.append((free, last, ""))
    rows = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    rows += ["xmin = 0 ", f"xmax = {end} ", "tiers? <exists> ", "size = 1 ", "item []: ", "    item [1]:"]
    rows += [f"        {row} " for row in ('class = "IntervalTier"', 'name = "words"', "xmin = 0", f"xmax = {end}")]
    rows.append(f"        intervals: size = {len(intervals)} ")
    for number, (start, stop, text) in enumerate(intervals, 1):
        doubled = text.replace('"', '""')
        rows += [
            f"        intervals [{number}]:",
            f"            xmin = {start / 1000:.3f} ",
            f"            xmax = {end if stop == last else format(stop / 1000, '.3f')} ",
            f'            text = "{doubled}" ',
        ]
    return "\n".join(rows) + "\n"


def _utterances(timed: list[_Timed]) -> list[_Timed]:
    """Join words that no pause separates."""
    groups: list[list[_Timed]] = []
    for word in timed:
        if groups and not _paused(groups[-1][-1], word):
            groups[-1].append(word)
        else:
            groups.append([word])
    return [_Timed(" ".join(w.text for w in group), group[0].start, group[-1].end, None) for group in groups]


def _labels(timed: list[_Timed]) -> str:
    rows = (f"{one.start / 1000:.6f}\t{one.end / 1000:.6f}\t{one.text}\n" for one in _utterances(timed))
    return "".join(rows)


def _eaf(timed: list[_Timed], name: str) -> str:
    spans, words = ([Annotation(row.start, row.end, row.text) for row in rows] for rows in (_utterances(timed), timed))
    tiers = [Tier("utterances", "utterances", spans), Tier("words", "words", words, parent="utterances")]
    return eaf(tiers, {"MEDIA_URL": f"file:./{name}", "RELATIVE_MEDIA_URL": f"./{name}"} if name else None)


def _ctm(timed: list[_Timed], name: str) -> str:
    # fields are separated by spaces, so replace those within a field
    file = "_".join(PurePath(name).stem.split()) or "recording"
    lines = []
    for word in timed:
        score = "" if word.confidence is None else f" {word.confidence:.3f}"
        start, length = word.start / 1000, (word.end - word.start) / 1000
        lines.append(f"{file} 1 {start:.3f} {length:.3f} {'_'.join(word.text.split())}{score}\n")
    return "".join(lines)
