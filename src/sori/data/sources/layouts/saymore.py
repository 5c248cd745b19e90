"""Read projects of SayMore: `Sessions/NAME/`, with ELAN files named after the recordings.

A session with one participant names the speaker, the project file the language. Recordings of people (consents) and
oral annotations (careful respeaking, oral translation) are not used. Lhotse has no recipe for it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from sori.core.user_files import read_bytes
from sori.data.sources.language_codes import iso639_3
from sori.data.sources.layouts.parts import Entry, Note
from sori.data.sources.recordings import read_folder

_ORAL = "_Annotations"


def recognise(folder: Path) -> bool:
    """Return whether the folder has a project file and sessions."""
    return (folder / "Sessions").is_dir() and any(folder.glob("*.sprj"))


def read(folder: Path, tiers: Sequence[str]) -> Iterator[Entry]:
    """Yield the utterances of all sessions.

    Args:
        folder: the project.
        tiers: as for `read_folder`.
    """
    sessions = folder / "Sessions"
    found = read_folder(sessions, tiers)
    texts = [_text(path, "VernacularISO3CodeAndName") for path in folder.glob("*.sprj")]
    language = iso639_3(next((text for text in texts if text), "").split(":")[0])
    speakers: dict[str, str | None] = {}
    num_oral = 0
    for item in found.items:
        place = Path(item.path)
        session, *inner = place.relative_to(sessions).parts
        if any(name.endswith(_ORAL) for name in inner[:-1]) or ".oralAnnotations." in place.name:
            num_oral += 1
            continue
        if session not in speakers:
            speakers[session] = _only_participant(sessions / session)
        is_stated = item.speaker not in (None, place.parent.name)
        yield item._replace(speaker=item.speaker if is_stated else speakers[session], language=language)
    yield from found.excluded
    yield from (Note(note) for note in found.notes)
    if num_oral:
        yield Note(f"SayMore: {num_oral} oral annotations were not used")


def _only_participant(session: Path) -> str | None:
    for path in session.glob("*.session"):
        names = [name.strip() for name in _text(path, "participants").split(";") if name.strip()]
        names = names or [name for name in _texts(path, "contributor/name") if name]
        if len(set(names)) == 1:
            return names[0].split(" (")[0]
    return None


def _text(path: Path, element: str) -> str:
    return next(iter(_texts(path, element)), "")


def _texts(path: Path, element: str) -> list[str]:
    try:
        root = ET.fromstring(read_bytes(path))  # noqa: S314 - expat limits the expansion of entities
    except ET.ParseError:
        return []
    return [(one.text or "").strip() for one in root.iterfind(f".//{element}")]
