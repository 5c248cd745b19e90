"""The order in which utterances are offered for transcription: that of `sori select`, run in a process of its own."""

import contextlib
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from typing import final

from sori.core.files import remove_partial
from sori.core.user_files import read_text
from sori.inference.selection import read_ids
from sori.serve.label_store import SKIPPED, TRANSCRIPTS, LabelStore
from sori.serve.leases import Leases
from sori.serve.project import Project

FOLDER = "queue"
RESERVE_MINUTES = 10.0
"""How much more is chosen than is needed for the next goal, because some will be skipped."""
_FEW_SECONDS = 120.0
_MOST_REASON = 500


@final
class LabelQueue:
    """Utterances in the order of their value; the rest of the project follows where nothing was chosen yet.

    Args:
        project: the project.
        store: its transcripts.
        model: recogniser or encoder that helps to choose; None: they are chosen by chance.
    """

    def __init__(self, project: Project, store: LabelStore, *, model: Path | None) -> None:
        self.leases = Leases()
        self.problem: str | None = None
        """Why the last choice failed."""
        self._project, self._store, self._model = project, store, model
        self._folder = project.folder / FOLDER
        self._order = self._folder / "order.tsv"
        self._fresh: Path
        """Table of the choice that is being made; a new name each time, because one of a killed server may go on."""
        self._names: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._is_outdated = False
        self._lock = threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_partial(self._folder)
        for old in self._folder.glob("fresh-*.tsv"):
            old.unlink(missing_ok=True)
        if self._order.is_file():
            with contextlib.suppress(OSError, ValueError):  # damaged: chosen again
                self._names = read_ids(self._order, "id")

    def choose_with(self, model: Path) -> None:
        """Use another model, and choose again if the last choice was made before there was this model."""
        made = (model / "model" / "config.json").stat().st_mtime
        with self._lock:
            self._model, self.problem = model, None
            self._is_outdated = not self._order.is_file() or self._order.stat().st_mtime < made

    def next_name(self, client: str) -> str | None:
        """Lease the next open utterance to a window; None: none is left, or they are being chosen."""
        with self._lock:
            self._poll()
            every = [*self._names, *self._rest()] if self._names or self.problem else []
            for name in dict.fromkeys(every):
                if self._is_open(name) and self.leases.take(name, client):
                    return name
            return None

    @property
    def is_choosing(self) -> bool:
        """Return whether utterances are being chosen."""
        with self._lock:
            self._poll()
            return self._process is not None

    def close(self) -> None:
        """End a choice that is being made; it is made again by the next server."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _is_open(self, name: str) -> bool:
        label = self._store.label(name)
        return name in self._store.utterances and label.text is None and label.skipped is None

    def _rest(self) -> list[str]:
        """Return the utterances that were not chosen, if all the chosen ones are done and no others can be."""
        return [] if self.problem is None else list(self._store.utterances)

    def _poll(self) -> None:
        """Use a finished choice, and begin one if few utterances are left."""
        if self._process is not None and self._process.poll() is not None:
            is_done, self._process = self._process.returncode == 0 and self._fresh.is_file(), None
            if is_done:
                self._names = read_ids(self._fresh, "id")
                self._fresh.replace(self._order)
                is_new = any(map(self._is_open, self._names))
                self.problem = None if is_new else "all others are short, long, or like one of the chosen"
            else:
                self.problem = _last_line(self._folder / "select.log") or "choosing utterances failed"
        if self._process is None and (self._is_outdated or (self.problem is None and self._are_few())):
            self._begin()

    def _are_few(self) -> bool:
        waiting = [self._store.utterances[name].duration_seconds for name in self._names if self._is_open(name)]
        left = sum(map(self._is_open, self._store.utterances))
        return sum(waiting) < _FEW_SECONDS and len(waiting) < left

    def _begin(self) -> None:
        self._is_outdated = False
        self._fresh = self._folder / f"fresh-{secrets.token_hex(4)}.tsv"
        goal = self._project.settings.goal_minutes
        minutes = goal - self._store.seconds_done() / 60 % goal + RESERVE_MINUTES
        command = [sys.executable, "-m", "sori", "select", str(self._project.prepared.absolute())]
        command += ["--minutes", f"{minutes:.2f}", "--into", str(self._fresh.absolute())]
        tables = (("--transcribed", TRANSCRIPTS), ("--left-out", SKIPPED))
        for option, name in tables:
            if (self._project.folder / name).is_file():
                command += [option, str((self._project.folder / name).absolute())]
        command += [] if self._model is None else ["--model", str(self._model.absolute())]
        with (self._folder / "select.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def _last_line(log: Path) -> str:
    try:
        lines = read_text(log, errors="replace").strip().splitlines()
    except (OSError, ValueError):
        return ""
    return lines[-1].removeprefix("sori: ")[:_MOST_REASON] if lines else ""
