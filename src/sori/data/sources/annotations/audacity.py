"""Read label tracks of Audacity: a line for each label, START TAB END TAB TEXT, in seconds."""

import re
from pathlib import Path

from sori.core.user_files import read_text
from sori.data.sources.annotations.stretches import Annotation, Stretch

_LABEL = re.compile(r"(\d+(?:[.,]\d+)?)\t(\d+(?:[.,]\d+)?)(?:\t(.*))?")
_FREQUENCIES = "\\"
"""Begins a second line of labels that were made in a spectrogram."""


def is_label_track(text: str) -> bool:
    """Return whether every line of a text is a label."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith(_FREQUENCIES)]
    return bool(lines) and all(_LABEL.fullmatch(line.rstrip("\r")) for line in lines)


def read_labels(path: Path) -> Annotation:
    """Read a label track.

    Raises:
        ValueError: the file is not UTF-8, or a line is not a label.
    """
    stretches = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip() or line.startswith(_FREQUENCIES):
            continue
        found = _LABEL.fullmatch(line)
        if found is None:
            raise ValueError(
                f"{path}, line {number}: expected START, END and TEXT with tabs between, got {line[:60]!r}"
            )
        start, end = (float(found[group].replace(",", ".")) for group in (1, 2))
        stretches.append(Stretch(start, end, " ".join((found[3] or "").split())))
    return Annotation(stretches)
