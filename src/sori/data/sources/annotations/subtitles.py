"""Read subtitles: SubRip (`.srt`) and WebVTT (`.vtt`).

Sources: WebVTT, W3C candidate recommendation 2019; SubRip has no specification.
"""

import html
import re
from pathlib import Path

from sori.core.user_files import read_text
from sori.data.sources.annotations.stretches import Annotation, Stretch

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_SPEAKER = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]+)>")
_MARKUP = re.compile(r"</?(?:[ibuscv]|font|ruby|rt|lang)(?:[.\s][^>]*)?>|<\d[\d:.]*>|\{\\[^}]*\}", re.IGNORECASE)


def read_subtitles(path: Path) -> Annotation:
    """Read the captions of a file; markup is removed, and `<v NAME>` is the speaker.

    Raises:
        ValueError: the file is not UTF-8, or has no captions.
    """
    is_vtt = path.suffix.lower() == ".vtt"
    stretches: list[Stretch] = []
    for block in re.split(r"\n[ \t]*\n", read_text(path) + "\n"):
        lines = block.strip("\n").split("\n")
        first = next((number for number, line in enumerate(lines) if _TIMES.fullmatch(line)), None)
        if first is None or lines[0].startswith(("NOTE", "STYLE", "REGION")):
            continue
        found = _TIMES.fullmatch(lines[first])
        assert found is not None  # noqa: S101
        text = " ".join(lines[first + 1 :])
        speaker = _SPEAKER.search(text) if is_vtt else None
        text = _MARKUP.sub("", text)
        text = " ".join((html.unescape(text) if is_vtt else text).split())
        start, end = _seconds(found.groups()[:4]), _seconds(found.groups()[4:])
        stretches.append(Stretch(start, end, text, speaker[1].strip() if speaker else None))
    if not stretches:
        raise ValueError(f"{path} has no captions; expected times such as 00:00:01,000 --> 00:00:02,500")
    return Annotation(stretches)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + int((fraction or "0").ljust(3, "0")) / 1000
