"""Write annotation files of ELAN.

Source: Max Planck Institute, "ELAN Annotation Format", schema 3.0 (2016).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from xml.etree import ElementTree as ET

_WITHIN = "Time alignable annotations within the parent annotation's time interval, gaps are allowed"


class Annotation(NamedTuple):
    """A part of a recording with a text."""

    start: int
    """Milliseconds."""
    end: int
    """Milliseconds."""
    text: str


class Tier(NamedTuple):
    """Annotations in order, under a name."""

    name: str
    kind: str
    """Name of its linguistic type; tiers of one kind have the same."""
    annotations: Sequence[Annotation]
    parent: str | None = None
    """Name of the tier whose annotations contain these."""
    speaker: str | None = None


def eaf(tiers: Sequence[Tier], media: Mapping[str, str] | None) -> str:
    """Return an annotation file.

    Args:
        tiers: tiers, in the order in which ELAN shows them.
        media: `MEDIA_URL` and `RELATIVE_MEDIA_URL` of the recording; None: it has no name.
    """
    date = datetime.now(UTC).isoformat(timespec="seconds")
    root = ET.Element("ANNOTATION_DOCUMENT", AUTHOR="sori", DATE=date, FORMAT="3.0", VERSION="3.0")
    root.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
    root.set("xsi:noNamespaceSchemaLocation", "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if media is not None:
        mime = "audio/x-wav" if media["MEDIA_URL"].lower().endswith(".wav") else "audio/*"
        ET.SubElement(header, "MEDIA_DESCRIPTOR", {**media, "MIME_TYPE": mime})
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(
        sum(len(one.annotations) for one in tiers)
    )
    order = ET.SubElement(root, "TIME_ORDER")
    slots: list[tuple[int, str]] = []
    for tier in tiers:
        slots += _add_tier(root, tier, first=len(slots) // 2 + 1)
    for time, slot in sorted(slots, key=lambda pair: pair[0]):
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    parents = {tier.kind: tier.parent for tier in tiers}
    for kind, parent in parents.items():
        constraint = {} if parent is None else {"CONSTRAINTS": "Included_In"}
        about = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": kind, "TIME_ALIGNABLE": "true"}
        ET.SubElement(root, "LINGUISTIC_TYPE", {**constraint, **about})
    if any(parents.values()):
        ET.SubElement(root, "CONSTRAINT", DESCRIPTION=_WITHIN, STEREOTYPE="Included_In")
    ET.indent(root, "    ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add_tier(root: ET.Element, tier: Tier, *, first: int) -> list[tuple[int, str]]:
    """Add a tier whose annotations are numbered from `first`, and return its times with their names."""
    about = {"LINGUISTIC_TYPE_REF": tier.kind, "TIER_ID": tier.name}
    about |= {} if tier.parent is None else {"PARENT_REF": tier.parent}
    about |= {} if tier.speaker is None else {"PARTICIPANT": tier.speaker}
    element = ET.SubElement(root, "TIER", about)
    slots = []
    for number, one in enumerate(tier.annotations, first):
        pair = {"TIME_SLOT_REF1": f"ts{2 * number - 1}", "TIME_SLOT_REF2": f"ts{2 * number}"}
        slots += [(one.start, pair["TIME_SLOT_REF1"]), (one.end, pair["TIME_SLOT_REF2"])]
        annotation = ET.SubElement(element, "ANNOTATION")
        annotation = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}", **pair})
        ET.SubElement(annotation, "ANNOTATION_VALUE").text = one.text
    return slots
