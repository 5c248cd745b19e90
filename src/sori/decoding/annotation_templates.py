"""Annotation files with empty segments, to be filled with transcripts in ELAN or Praat.

`sori prepare` reads the filled files: the tiers are named as it expects them (`transcription`), and after their
speakers if those are known. Sources: see `transcript_formats.py`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args
from xml.etree import ElementTree as ET

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


class _Span(NamedTuple):
    start: int
    """Milliseconds."""
    end: int
    text: str


_Tiers = list[tuple[str | None, list[_Span]]]


def _apart(segments: Sequence[Segment]) -> list[_Span]:
    """Return segments in milliseconds; one that begins before the end of another by rounding begins at it."""
    spans, free = list[_Span](), 0
    for one in segments:
        start = max(free, round(one.start * 1000))
        free = max(start + 1, round(one.end * 1000))
        spans.append(_Span(start, free, legal_text(one.text)))
    return spans


def _eaf(recording: Path, tiers: _Tiers) -> str:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    root = ET.Element("ANNOTATION_DOCUMENT", AUTHOR="sori", DATE=date, FORMAT="3.0", VERSION="3.0")
    root.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
    root.set("xsi:noNamespaceSchemaLocation", "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    mime = "audio/x-wav" if recording.suffix.lower() == ".wav" else "audio/*"
    media = {"MEDIA_URL": recording.absolute().as_uri(), "MIME_TYPE": mime}
    ET.SubElement(header, "MEDIA_DESCRIPTOR", media | {"RELATIVE_MEDIA_URL": f"./{recording.name}"})
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(sum(len(spans) for _, spans in tiers))
    order = ET.SubElement(root, "TIME_ORDER")
    slots: list[tuple[int, str]] = []
    for speaker, spans in tiers:
        name = TIER if speaker is None else f"{TIER}@{legal_text(speaker)}"
        about = {"LINGUISTIC_TYPE_REF": TIER, "TIER_ID": name}
        tier = ET.SubElement(root, "TIER", about if speaker is None else about | {"PARTICIPANT": legal_text(speaker)})
        for span in spans:
            number = len(slots) // 2 + 1
            pair = {"TIME_SLOT_REF1": f"ts{2 * number - 1}", "TIME_SLOT_REF2": f"ts{2 * number}"}
            slots += [(span.start, pair["TIME_SLOT_REF1"]), (span.end, pair["TIME_SLOT_REF2"])]
            annotation = ET.SubElement(tier, "ANNOTATION")
            annotation = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}", **pair})
            ET.SubElement(annotation, "ANNOTATION_VALUE").text = span.text
    for time, slot in sorted(slots):
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": TIER, "TIME_ALIGNABLE": "true"}
    ET.SubElement(root, "LINGUISTIC_TYPE", kind)
    ET.indent(root, "    ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _textgrid(duration: float, tiers: _Tiers) -> str:
    last = max([round(duration * 1000), *(spans[-1].end for _, spans in tiers)])
    rows = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {last / 1000:.3f} "]
    rows += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (speaker, spans) in enumerate(tiers, 1):
        name = TIER if speaker is None else f"{legal_text(speaker)} - {TIER}"
        intervals, free = list[_Span](), 0
        for span in spans:
            intervals += [_Span(free, span.start, "")] if span.start > free else []
            intervals.append(span)
            free = span.end
        intervals += [_Span(free, last, "")] if free < last else []
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
