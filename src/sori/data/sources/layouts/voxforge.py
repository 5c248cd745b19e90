"""Read VoxForge: a folder for each submission, with `etc/PROMPTS`, `etc/README`, and `wav/` or `flac/`.

A submission is named SPEAKER-DATE-CODE; each anonymous one counts as a speaker. Lhotse has no recipe for it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sori.core.walk import folders_below
from sori.data.sources.language_codes import iso639_3
from sori.data.sources.layouts.parts import Entry, sound_files
from sori.data.sources.recordings import Excluded, Item, read_transcript

_SUBMISSION = re.compile(r"(.+?)-(\d{8})-?(\w*)")
_LANGUAGE = re.compile(r"^Language:[ \t]*([A-Za-z_-]+)", re.MULTILINE)


def recognise(folder: Path) -> bool:
    """Return whether the folder is a submission, or contains submissions."""
    return any(True for _ in _submissions(folder))


def read(folder: Path) -> Iterator[Entry]:
    """Yield the recordings of all submissions."""
    for submission in _submissions(folder):
        yield from _read_submission(submission)


def _submissions(folder: Path) -> Iterator[Path]:
    for inner in folders_below(folder, 2):
        if any((inner / "etc" / name).is_file() for name in ("PROMPTS", "prompts-original")) and _audio(inner):
            yield inner


def _audio(submission: Path) -> Path | None:
    return next((submission / name for name in ("wav", "flac") if (submission / name).is_dir()), None)


def _read_submission(submission: Path) -> Iterator[Entry]:
    name = submission.resolve().name
    found = _SUBMISSION.fullmatch(name)
    speaker = name if found is None or found[1].lower() == "anonymous" else found[1]
    readme = read_transcript(submission / "etc" / "README")
    stated = _LANGUAGE.search(readme) if isinstance(readme, str) else None
    prompts = read_transcript(submission / "etc" / "PROMPTS")
    if prompts is None:
        prompts = read_transcript(submission / "etc" / "prompts-original")
    texts: dict[str, str] = {}
    if isinstance(prompts, str):
        lines = (line.strip().partition(" ") for line in prompts.split("\n") if line.strip())
        texts = {key.rsplit("/", 1)[-1]: text for key, _, text in lines}
    audio = _audio(submission)
    files = sound_files(audio) if audio else {}
    for key in sorted(files | texts):
        path = str(files.get(key, submission / key))
        if isinstance(prompts, Excluded):
            yield prompts._replace(id=f"{name}/{key}", path=path)
        elif key in files:
            language = iso639_3(stated[1]) if stated else None
            yield Item(f"{name}/{key}", path, text=texts.get(key), speaker=speaker, language=language)
        else:
            yield Excluded(f"{name}/{key}", path, "missing", "listed in the prompts, but there is no such sound file")
