"""Certificate of a conversion: what happened to every tensor, and data to verify it."""

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
    """Change of one tensor."""

    source: str | None
    """Name in the source; None: the tensor is new."""
    target: str | None
    """Name in the target; None: the tensor was dropped."""
    how: str
    """`as it is`, `stacked` (concatenated along the first axis), `split`, `reshaped` (the same numbers, other axes),
    `reordered` (classes), `widened` (to 32 bit), `dropped` or `new`."""
    reason: str = ""
    """Reason why a tensor was dropped or is new."""


class Certificate(Config):
    """Record of one conversion."""

    source: str
    target: str = ""
    source_format: str
    target_format: str = "sori"
    sha256: dict[str, str] = Field(default_factory=dict)
    """Digests of the source's files, by name."""
    tensors: tuple[Entry, ...] = ()
    """Changes from the source to sori."""
    written: tuple[Entry, ...] = ()
    """Changes from sori to the target, if that is in another format."""
    source_parameters: int
    """Number of elements in the source's tensors."""
    target_parameters: int
    sampling_rate: int | None = 16_000
    """Sampling rate in Hz; None: the model does not take audio."""
    normalisation: str = ""
    """Normalisation of the waveform, and the file or field that specifies it."""
    licence: str = "not stated"
    notes: tuple[str, ...] = ()
    """Further remarks for the user."""
    outputs: dict[str, Any] = Field(default_factory=dict)
    """Output for a fixed input, and the greatest difference to the source's output if that could be run."""

    def table(self) -> str:
        """Return the certificate as a table, one fact per line, changes of tensors summarised by kind."""
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
        """Write `certificate.json` into a folder."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")


def _changes(entries: Iterable[Entry]) -> str:
    counts = Counter(entry.how for entry in entries)
    kinds = ", ".join(f"{count} {how}" for how, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{sum(counts.values())} tensors, every one accounted for: {kinds}"


def sha256(files: Iterable[Path]) -> dict[str, str]:
    """Return the digests of files, by their names."""
    digests = {}
    for path in files:
        with open_bytes(path) as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def licence_in(card: Path) -> str:
    """Return the licence stated in a model card (README.md with a YAML header), or "not stated"."""
    if not card.is_file():
        return "not stated"
    for line in read_text(card, errors="replace").split("---")[1:2]:
        for field in line.splitlines():
            name, _, value = field.partition(":")
            if name.strip() == "license" and value.strip():
                return f"{value.strip()} ({card.name})"
    return "not stated"
