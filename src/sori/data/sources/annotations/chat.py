"""Read CHAT (`.cha`), the format of CLAN and TalkBank: utterances with times between NAK characters.

Codes that belong to the format are resolved: `<...>` groups words for a code, `(be)cause` completes a shortened word,
`(.)` is a pause, `word@s:fra` has a suffix. Codes that describe what was said (`[//]`, `&=laughs`, `xxx`) are left to
the transcript rules.

Source: MacWhinney, The CHILDES Project, "Tools for Analyzing Talk, part 1: The CHAT Transcription Format".
"""

import re
from pathlib import Path

from sori.core.user_files import read_text
from sori.data.sources.annotations.stretches import Annotation, Stretch

_BULLET = re.compile(r"\x15(?:%\w+:\"[^\"]*\"_)?(\d+)_(\d+)\x15")
_LINE = re.compile(r"\*([^:\s]+):\s*(.*)", re.DOTALL)
_RESOLVED = (
    (re.compile(r"[<>‹›]"), " "),  # noqa: RUF001 - groups
    (re.compile(r"\(\.+\)|\(\d*:?\d+\.?\d*\)"), " "),  # pauses
    (re.compile(r"(?<=\w)\((\w+)\)|\((\w+)\)(?=\w)"), r"\1\2"),  # shortened words
    (re.compile(r"(?<=\w)@[\w:$&+]+"), ""),  # suffixes
    (re.compile(r"(?<!\S)\+[^\w\s]+"), " "),  # linkers and terminators: +... +/. +"
    (re.compile(r"(?<!\S)[„‡](?!\S)"), " "),
)


def read_chat(path: Path) -> Annotation:
    """Read the utterances of the main tier; those without times are counted.

    Raises:
        ValueError: the file is not UTF-8, is not in CHAT, or none of its utterances has times.
    """
    text = read_text(path)
    if not re.search(r"^@(Begin|UTF8|Participants)", text, re.MULTILINE):
        raise ValueError(f"{path} is not in the format CHAT: expected @Begin; likely another kind of file")
    stretches, num_ignored = [], 0
    for line in re.sub(r"\n[ \t]+", " ", text).split("\n"):  # a line that begins with white space continues
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        times = [int(value) for pair in _BULLET.findall(found[2]) for value in pair]
        if times:
            stretches.append(Stretch(min(times) / 1000, max(times) / 1000, _spoken(found[2]), found[1]))
        else:
            num_ignored += 1
    if not stretches:
        raise ValueError(
            f"{path}: none of {num_ignored} utterances has times; link them to the recording in CLAN first"
        )
    media = re.search(r"^@Media:\s*([^,\n]+)", text, re.MULTILINE)
    return Annotation(stretches, media=(media[1].strip(),) if media else (), num_ignored=num_ignored)


def _spoken(text: str) -> str:
    text = _BULLET.sub(" ", text)
    for pattern, replacement in _RESOLVED:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())
