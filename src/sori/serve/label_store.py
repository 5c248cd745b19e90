"""The transcripts that people type: on the disk before they are confirmed, and never lost to another window.

`transcripts.tsv` in the project folder is a table that `sori prepare` reads; `skipped.tsv` lists what was skipped and
why. Both are replaced as a whole with every change, and read again when another program has changed them. Each
utterance has a version, which counts its changes: a change names the version that it was made from, and is refused if
there is a newer one.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

from sori.core.audio import SAMPLE_RATE
from sori.core.files import write_text
from sori.core.log import one_line, printable
from sori.data.manifest import Utterance
from sori.data.sources.delimited import delimited_rows
from sori.serve.problems import Problem

TRANSCRIPTS, SKIPPED = "transcripts.tsv", "skipped.tsv"
COLUMNS = ("id", "audio", "start", "end", "speaker", "language", "text", "version")
_SKIPPED_COLUMNS = ("id", "reason", "version")
MOST_CHARACTERS = 2_000
"""Longest text of an utterance."""
REASONS = ("no speech", "unintelligible", "several speakers", "cut off", "another language", "private", "other")
"""Reasons to skip an utterance."""

Rows = dict[str, dict[str, str]]


class Label(NamedTuple):
    """What people have decided about an utterance."""

    text: str | None
    """Transcript; None: none."""
    skipped: str | None
    """Why it was skipped; None: it was not."""
    version: int
    """Number of changes."""


@final
class LabelStore:
    """Transcripts of a project; can be used from several threads.

    Args:
        folder: project folder.
        utterances: all utterances that can be transcribed.
    """

    def __init__(self, folder: Path, utterances: Sequence[Utterance]) -> None:
        self._transcripts, self._skipped = folder / TRANSCRIPTS, folder / SKIPPED
        self.utterances = {u.id: u for u in utterances}
        self._labels: dict[str, Label] = {}
        self._rows: Rows = {}
        self._seen: dict[Path, tuple[int, int, int] | None] = {}
        self._lock = threading.Lock()
        with self._lock:
            self._refresh()

    def label(self, name: str) -> Label:
        """Return what has been decided about an utterance."""
        with self._lock:
            self._refresh()
            return self._labels.get(name, Label(None, None, 0))

    def labels(self) -> dict[str, Label]:
        """Return everything that has been decided, in the order of the last change."""
        with self._lock:
            self._refresh()
            return dict(self._labels)

    def change(self, name: str, *, text: str | None, skipped: str | None, version: int) -> Label:
        """Write a transcript, or the reason why there is none; returns when it is on the disk.

        Args:
            name: id of the utterance.
            text: transcript; None: none.
            skipped: why the utterance is skipped; with neither, it is open again.
            version: version of the label that the change was made from.

        Raises:
            Problem: the text cannot be stored, or there is a newer version, which the details of the answer give.
        """
        if name not in self.utterances:
            raise Problem(404, f"expected an utterance of this project, got {printable(name)[:100]!r}", param="id")
        text = None if text is None else checked_text(text)
        if skipped is not None and skipped not in REASONS:
            raise Problem(400, f"expected a reason of {', '.join(REASONS)}, got {printable(skipped)[:50]!r}")
        if text is not None and skipped is not None:
            raise Problem(400, "expected a transcript or a reason to skip, got both")
        with self._lock:
            self._refresh()
            now = self._labels.get(name, Label(None, None, 0))
            if now.version != version:
                raise Problem(
                    409,
                    "another window has changed this utterance meanwhile; nothing was overwritten: compare the texts",
                    code="conflict",
                    details=now._asdict(),
                )
            changed = Label(text, skipped, version + 1)
            self._write(name, now, changed)
            self._labels.pop(name, None)
            self._labels[name] = changed
            return changed

    def seconds_done(self) -> float:
        """Return the length of everything that has a transcript."""
        done = (name for name, label in self.labels().items() if label.text is not None)
        return sum((self.utterances[name].duration_seconds for name in done), 0.0)

    def _write(self, name: str, now: Label, changed: Label) -> None:
        rows, skips = dict(self._rows), dict(self._skips())
        skips.pop(name, None)
        if changed.skipped is not None:
            skips[name] = {"id": name, "reason": changed.skipped, "version": str(changed.version)}
        if changed.text is None:
            rows.pop(name, None)
        else:
            before = rows.pop(name, {})
            rows[name] = before | self._row(name, changed)
        if changed.text is not None or now.text is not None:
            columns = list(dict.fromkeys([*COLUMNS, *(column for row in rows.values() for column in row)]))
            _write_table(self._transcripts, columns, rows)
        if changed.skipped is not None or now.skipped is not None:
            _write_table(self._skipped, _SKIPPED_COLUMNS, skips)
        self._rows = rows
        self._note()

    def _row(self, name: str, label: Label) -> dict[str, str]:
        u = self.utterances[name]
        times = (f"{u.start:.4f}", f"{u.start + u.num_samples / SAMPLE_RATE:.4f}")
        values = (name, u.path, *times, u.speaker or "", u.language or "", label.text or "", str(label.version))
        channel = {} if u.channel is None else {"channel_index": str(u.channel)}
        return dict(zip(COLUMNS, values, strict=True)) | channel

    def _skips(self) -> Rows:
        return {
            name: {"id": name, "reason": label.skipped, "version": str(label.version)}
            for name, label in self._labels.items()
            if label.skipped is not None
        }

    def _refresh(self) -> None:
        """Read the tables again if another program has changed them."""
        if self._seen and all(_signature(path) == seen for path, seen in self._seen.items()):
            return
        try:
            self._rows = _read_table(self._transcripts, COLUMNS)
            skips = _read_table(self._skipped, _SKIPPED_COLUMNS)
        except (OSError, ValueError) as error:
            raise Problem(409, f"the transcripts cannot be read, and nothing is written: {error}") from None
        before, self._labels = self._labels, {}
        for name, row in skips.items():
            self._keep(name, Label(None, row.get("reason") or REASONS[-1], _number(row)), before)
        for name, row in self._rows.items():
            if row.get("text"):
                self._keep(name, Label(row["text"], None, _number(row)), before)
        for name, label in before.items():  # opened again: the version still counts
            if name not in self._labels:
                open_again = label.text is None and label.skipped is None
                self._labels[name] = Label(None, None, label.version + (not open_again))
        self._note()

    def _keep(self, name: str, label: Label, before: dict[str, Label]) -> None:
        if name not in self.utterances:
            return
        known = before.get(name)
        if known is not None and known._replace(version=label.version) != label:
            label = label._replace(version=max(known.version + 1, label.version))  # changed by another program
        self._labels[name] = label

    def _note(self) -> None:
        self._seen = {path: _signature(path) for path in (self._transcripts, self._skipped)}


def checked_text(text: str) -> str:
    """Return a transcript as one line.

    Raises:
        Problem: it is empty, too long, or has characters that are no text.
    """
    line = " ".join(text.split())
    if not line:
        raise Problem(400, "expected a transcript, got an empty text; skip the utterance if nothing was said")
    if len(line) > MOST_CHARACTERS:
        raise Problem(400, f"expected at most {MOST_CHARACTERS:,} characters, got {len(line):,}")
    if printable(line) != line:
        raise Problem(400, f"expected text, got characters that cannot be printed: {printable(line)[:100]}")
    return line


def _number(row: dict[str, str]) -> int:
    found = row.get("version", "")
    return int(found) if found.isascii() and found.isdigit() else 1


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read_table(path: Path, names: Sequence[str]) -> Rows:
    if not path.is_file():
        return {}
    rows = [row for _, row in delimited_rows(path, names)]
    if rows and "id" not in rows[0]:
        raise ValueError(f"{path}: expected the column id, got {', '.join(rows[0])}; likely it was edited: restore it")
    return {row["id"]: row for row in rows}


def _write_table(path: Path, columns: Sequence[str], rows: Rows) -> None:
    lines = ["\t".join(columns)]
    lines += ["\t".join(one_line(row.get(column, "")) for column in columns) for row in rows.values()]
    write_text(path, "\n".join(lines) + "\n")
