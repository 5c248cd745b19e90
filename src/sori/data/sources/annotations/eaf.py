"""Read ELAN's annotation format (`.eaf`): tiers with times, and tiers that depend on them symbolically.

pympi-ling 1.71 reads the same files; it is not used because it resolves neither chains of dependent tiers nor times
that are not set, requires attributes that other programs omit, and raises bare exceptions. The tests write files with
it.

Source: ELAN Annotation Format, schema 3.0 (Max Planck Institute, 2016).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from sori.core.user_files import read_bytes
from sori.data.sources.annotations.stretches import (
    WORDS,
    Annotation,
    Stretch,
    Tier,
    choose_tiers,
    join_words,
    speaker_of,
)

_IGNORED = "%ignore%"
"""Text with which SayMore marks stretches that are not to be transcribed."""


class _Note(NamedTuple):
    """An annotation: with times, or with a reference to another one."""

    name: str
    text: str
    slots: tuple[str, str] | None
    parent: str | None
    previous: str | None


class _Tier(NamedTuple):
    about: Tier
    parent: str | None
    notes: list[_Note]


def read_eaf(path: Path, wanted: Sequence[str]) -> Annotation:
    """Read the transcript tiers of a file.

    Annotations of a dependent tier get the times of the annotation that they depend on; several of them (words of an
    utterance) are joined. Annotations with times to which nothing is attached are stretches without text.

    Args:
        path: the file.
        wanted: names, types or speakers of tiers; empty: see `choose_tiers`.

    Raises:
        NoTierError: see `choose_tiers`.
        ValueError: the file is not EAF, or damaged.
    """
    try:
        root = ET.fromstring(read_bytes(path))  # noqa: S314 - expat limits the expansion of entities
        if root.tag != "ANNOTATION_DOCUMENT":
            raise ValueError(f"expected an ANNOTATION_DOCUMENT, got {root.tag}")  # noqa: TRY301
        slots = {slot.attrib["TIME_SLOT_ID"]: slot.get("TIME_VALUE") for slot in root.iterfind("TIME_ORDER/TIME_SLOT")}
        tiers = [_tier(element) for element in root.iterfind("TIER")]
        times = _all_times(tiers, {name: int(value) / 1000 for name, value in slots.items() if value is not None})
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{path} is not a complete file of ELAN: {error}; open it in ELAN and save it again") from None
    with_notes = [tier for tier in tiers if tier.notes]
    chosen = choose_tiers([tier.about for tier in with_notes], wanted)
    by_name = {tier.about.name: tier for tier in tiers}
    stretches: list[Stretch] = []
    for about in chosen:
        tier = by_name[about.name]
        found = _stretches(tier, by_name, times, _speaker(tier, by_name, len(chosen)))
        stretches += join_words(found) if about.base in WORDS and tier.about.is_root else found
    descriptors = root.iter("MEDIA_DESCRIPTOR")
    media = [unquote(one.get(key, "")) for one in descriptors for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL")]
    names = tuple(dict.fromkeys(url.replace("\\", "/").rsplit("/", 1)[-1] for url in media if url))
    stretches = sorted(one for one in stretches if one.text != _IGNORED)
    return Annotation(stretches, tuple(tier.name for tier in chosen), names)


def _tier(element: ET.Element) -> _Tier:
    notes = []
    for one in element.iterfind("ANNOTATION/*"):
        value = one.find("ANNOTATION_VALUE")
        text = "" if value is None else " ".join("".join(value.itertext()).split())
        is_timed = one.tag == "ALIGNABLE_ANNOTATION"
        slots = (one.attrib["TIME_SLOT_REF1"], one.attrib["TIME_SLOT_REF2"]) if is_timed else None
        name, parent, previous = one.attrib["ANNOTATION_ID"], one.get("ANNOTATION_REF"), one.get("PREVIOUS_ANNOTATION")
        notes.append(_Note(name, text, slots, parent, previous))
    has_times = any(note.slots for note in notes)
    about = Tier(
        element.attrib["TIER_ID"], element.get("LINGUISTIC_TYPE_REF", ""), element.get("PARTICIPANT") or None, has_times
    )
    return _Tier(about, element.get("PARENT_REF"), notes)


def _all_times(tiers: list[_Tier], slots: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return start and end of each annotation with times, by its name.

    ELAN leaves out times inside a chain of subdivisions; these are spread evenly, as it displays them.
    """
    times: dict[str, tuple[float, float]] = {}
    for tier in tiers:
        chain: list[_Note] = []
        for note in tier.notes:
            if note.slots is None:
                continue
            chain.append(note)
            if note.slots[1] in slots:
                assert chain[0].slots is not None  # noqa: S101
                first, last = slots[chain[0].slots[0]], slots[note.slots[1]]
                for number, one in enumerate(chain):
                    width = (last - first) / len(chain)
                    times[one.name] = (first + number * width, first + (number + 1) * width)
                chain = []
        if chain:
            raise ValueError(f"annotation {chain[0].name} in tier {tier.about.name} has no end")
    return times


def _stretches(
    tier: _Tier, by_name: dict[str, _Tier], times: dict[str, tuple[float, float]], speaker: str | None
) -> list[Stretch]:
    if tier.about.is_root:
        return [Stretch(*times[note.name], note.text, speaker) for note in tier.notes if note.name in times]
    parts: dict[str, list[str]] = {}
    line, top = {note.name: note for note in tier.notes}, tier
    while not top.about.is_root and top.parent in by_name:  # the nearest tier above that has times
        top = by_name[top.parent]
        line |= {note.name: note for note in top.notes}
    for note in _in_order(tier.notes):
        above = note
        while above.slots is None and above.parent in line:
            above = line[above.parent]
        if note.text:
            parts.setdefault(above.name, []).append(note.text)
    return [
        Stretch(*times[note.name], " ".join(parts.get(note.name, [])), speaker)
        for note in top.notes
        if note.name in times
    ]


def _in_order(notes: list[_Note]) -> list[_Note]:
    """Return annotations so that each follows the one that it names as its previous one."""
    following: dict[str | None, list[_Note]] = {}
    for note in notes:
        following.setdefault(note.previous, []).append(note)
    ordered: list[_Note] = []
    waiting = following.pop(None, [])[::-1]
    while waiting:
        note = waiting.pop()
        ordered.append(note)
        waiting += following.pop(note.name, [])[::-1]
    return ordered


def _speaker(tier: _Tier, by_name: dict[str, _Tier], num_chosen: int) -> str | None:
    above = tier
    while above.about.speaker is None and above.parent in by_name and by_name[above.parent] is not tier:
        above = by_name[above.parent]
    return above.about.speaker or speaker_of(tier.about, num_chosen)
