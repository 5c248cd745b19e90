"""Annotation files with empty segments, to be filled with transcripts in ELAN or Praat.

`sori prepare` reads the filled files: the tiers are named as it expects them (`transcription`), and after their
speakers if those are known. Sources: see `transcript_formats.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from sori.decoding.elan import Annotation, Tier, eaf
from sori.decoding.transcript_formats import legal_text

TemplateFormat = Literal["eaf", "TextGrid"]
TEMPLATE_FORMATS: tuple[str, ...] = get_args(TemplateFormat)
TIER = "transcription"
"""Name of the tier; with a speaker, `transcription@Ana` in ELAN and `Ana - transcription` in Praat."""


class Segment(NamedTuple):
    """A part of a recording that is to be transcribed."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    speaker: str | None
    text: str = ""
    """Text to correct; empty: nothing yet."""


def template(recording: Path, duration: float, segments: Sequence[Segment], to: TemplateFormat) -> str:
    """Return an annotation file of a recording, with a tier for each speaker.

    Args:
        recording: the sound file, which ELAN opens with the annotations.
        duration: length of the recording in seconds.
        segments: parts that do not overlap for the same speaker.
        to: format.
    """
    rows = sorted(segments)
    speakers = sorted({one.speaker for one in rows}, key=lambda name: (name is not None, name))
    tiers = [(speaker, _apart([one for one in rows if one.speaker == speaker])) for speaker in speakers]
    return _eaf(recording, tiers) if to == "eaf" else _textgrid(duration, tiers)


_Tiers = list[tuple[str | None, list[Annotation]]]


def _apart(segments: Sequence[Segment]) -> list[Annotation]:
    """Return segments in milliseconds; one that begins before the end of another by rounding begins at it."""
    spans, free = list[Annotation](), 0
    for one in segments:
        start = max(free, round(one.start * 1000))
        free = max(start + 1, round(one.end * 1000))
        spans.append(Annotation(start, free, legal_text(one.text)))
    return spans


def _eaf(recording: Path, tiers: _Tiers) -> str:
    named = [
        Tier(TIER, TIER, spans)
        if speaker is None
        else Tier(f"{TIER}@{legal_text(speaker)}", TIER, spans, speaker=legal_text(speaker))
        for speaker, spans in tiers
    ]
    media = {"MEDIA_URL": recording.absolute().as_uri(), "RELATIVE_MEDIA_URL": f"./{recording.name}"}
    return eaf(named, media)


def _textgrid(duration: float, tiers: _Tiers) -> str:
    last = max([round(duration * 1000), *(spans[-1].end for _, spans in tiers)])
    rows = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {last / 1000:.3f} "]
    rows += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (speaker, spans) in enumerate(tiers, 1):
        name = TIER if speaker is None else f"{legal_text(speaker)} - {TIER}"
        intervals, free = list[Annotation](), 0
        for span in spans:
            intervals += [Annotation(free, span.start, "")] if span.start > free else []
            intervals.append(span)
            free = span.end
        intervals += [Annotation(free, last, "")] if free < last else []
        rows += [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{_doubled(name)}" ']
        rows += ["        xmin = 0 ", f"        xmax = {last / 1000:.3f} "]
        rows.append(f"        intervals: size = {len(intervals)} ")
        for place, one in enumerate(intervals, 1):
            rows += [
                f"        intervals [{place}]:",
                f"            xmin = {one.start / 1000:.3f} ",
                f"            xmax = {one.end / 1000:.3f} ",
                f'            text = "{_doubled(one.text)}" ',
            ]
    return "\n".join(rows) + "\n"


def _doubled(text: str) -> str:
    return text.replace('"', '""')
