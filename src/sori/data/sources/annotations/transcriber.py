"""Read Transcriber's format (`.trs`): turns of speakers, divided by synchronisation points.

Turns of several speakers at once have no order of words; they are stretches without text. Events (noise, laughter) are
kept as `[description]`, so that the transcript rules decide about them.
"""

from pathlib import Path
from xml.etree import ElementTree as ET

from sori.core.user_files import read_bytes
from sori.data.sources.annotations.stretches import Annotation, Stretch


def read_transcriber(path: Path) -> Annotation:
    """Read the turns of a file; sections marked as not transcribed are left out.

    Raises:
        ValueError: the file is not in Transcriber's format, or damaged.
    """
    try:
        root = ET.fromstring(read_bytes(path))  # noqa: S314 - expat limits the expansion of entities
        names = {one.attrib["id"]: one.get("name") or one.attrib["id"] for one in root.iter("Speaker")}
        sections = [section for section in root.iter("Section") if section.get("type") != "nontrans"]
        stretches = [one for section in sections for turn in section.iter("Turn") for one in _turn(turn, names)]
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{path} is not a complete file of Transcriber ({error}); save it again") from None
    if root.tag != "Trans":
        raise ValueError(f"{path}: expected a file of Transcriber with the element Trans, got {root.tag}")
    media = root.get("audio_filename")
    return Annotation(stretches, media=(media,) if media else ())


def _turn(turn: ET.Element, names: dict[str, str]) -> list[Stretch]:
    speakers = turn.get("speaker", "").split()
    speaker = names.get(speakers[0], speakers[0]) if len(speakers) == 1 else None
    points = [(float(turn.attrib["startTime"]), [turn.text or ""])]
    for one in turn:
        if one.tag == "Sync":
            points.append((float(one.attrib["time"]), []))
        if one.tag == "Event" and one.get("type", "noise") in ("noise", "lexical", "pronounce"):
            points[-1][1].append(f" [{one.get('desc', 'noise')}] ")
        points[-1][1].append(one.tail or "")
    ends = [start for start, _ in points[1:]] + [float(turn.attrib["endTime"])]
    rows = [(start, end, " ".join("".join(texts).split())) for (start, texts), end in zip(points, ends, strict=True)]
    return [
        Stretch(start, end, text if len(speakers) < 2 else "", speaker)
        for start, end, text in rows
        if end > start and (speakers or text)  # without a speaker and text it is a pause
    ]
