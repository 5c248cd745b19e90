"""The certificate of a conversion: what became of every tensor, and how anybody can check it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from sori.core.config import Config
from sori.core.user_files import open_bytes, read_text

NAME, MODEL_CARD = "certificate.json", "README.md"


class Entry(Config):
    """What became of one tensor."""

    source: str | None
    """Its name before; None: there was none, it is new."""
    target: str | None
    """Its name now; None: it was dropped."""
    how: str
    """`as it is`, `stacked` (several follow each other along the first axis), `split`, `reshaped` (the same numbers,
    other axes), `reordered` (classes), `widened` (to 32 bit), `dropped` or `new`."""
    reason: str = ""
    """Of what was dropped or is new."""


class Certificate(Config):
    """The account of one conversion."""

    source: str
    target: str = ""
    source_format: str
    target_format: str = "sori"
    sha256: dict[str, str] = Field(default_factory=dict)
    """Of the source's files, by name."""
    tensors: tuple[Entry, ...] = ()
    """From the source to ours."""
    written: tuple[Entry, ...] = ()
    """From ours to the target, where that is of another format."""
    source_parameters: int
    """Numbers in the source's tensors."""
    target_parameters: int
    sampling_rate: int | None = 16_000
    """Hz; None: it hears nothing."""
    normalisation: str = ""
    """What is done to the waveform first, and who says so."""
    licence: str = "not stated"
    notes: tuple[str, ...] = ()
    """Whatever else a user should know."""
    outputs: dict[str, Any] = Field(default_factory=dict)
    """Of a fixed waveform: what it gives, and the greatest difference to the source where that could be run."""

    def table(self) -> str:
        """The certificate for a person: a line for each fact, a line for each kind of change to tensors."""
        rows = [
            ("from", f"{self.source} ({self.source_format})"),
            ("to", f"{self.target or 'memory'} ({self.target_format})"),
            ("read", f"{_changes(self.tensors)}"),
            *([("written", _changes(self.written))] if self.written else []),
            ("parameters", f"{self.source_parameters:,} -> {self.target_parameters:,}"),
            *([("sampling rate", f"{self.sampling_rate:,} Hz")] if self.sampling_rate else []),
            *([("normalisation", self.normalisation or "none")] if self.sampling_rate else []),
            ("licence", self.licence),
            *((("sha256", f"{digest}  {name}")) for name, digest in self.sha256.items()),
            *(("dropped", f"{e.source}: {e.reason}") for e in self.tensors if e.target is None),
            *(("new", f"{e.target}: {e.reason}") for e in self.tensors if e.source is None),
            *(("note", note) for note in self.notes),
            *(("outputs", f"{name}: {value}") for name, value in self.outputs.items()),
        ]
        return "\n".join(f"{name:14} {value}" for name, value in rows)

    def save(self, folder: Path) -> None:
        """Write it as `certificate.json`."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")


def _changes(entries: Iterable[Entry]) -> str:
    counts = Counter(entry.how for entry in entries)
    kinds = ", ".join(f"{count} {how}" for how, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{sum(counts.values())} tensors, every one accounted for: {kinds}"


def sha256(files: Iterable[Path]) -> dict[str, str]:
    """Digests of files, by their names."""
    digests = {}
    for path in files:
        with open_bytes(path) as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def licence_in(card: Path) -> str:
    """The licence that a model card (README.md with a YAML head) states, or that there is none."""
    if not card.is_file():
        return "not stated"
    for line in read_text(card, errors="replace").split("---")[1:2]:
        for field in line.splitlines():
            name, _, value = field.partition(":")
            if name.strip() == "license" and value.strip():
                return f"{value.strip()} ({card.name})"
    return "not stated"
