"""Rounds of training of a project: each with the transcripts of its moment, a run, and its error rates.

A round is a folder: `round.json`, `labelled/` (a prepared folder), `run/` (the run folder), `train.log`, `scores.json`.
Training and scoring are commands of their own (`sori train`, `sori evaluate`) in sessions of their own, which go on
without the page and without the server. The same command continues a run, so a round that was interrupted is continued
by the next server.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, final

from sori.checkpoints.store import read_settings
from sori.core.audio import AudioInfo
from sori.core.config import Config
from sori.core.files import read_json, write_json
from sori.core.locks import holder
from sori.core.run_folder import RunFolder
from sori.core.user_files import read_text
from sori.data.manifest import Utterance, read_with_headers, write_manifest
from sori.inference.selection import HELD_OUT
from sori.recipes import sizes
from sori.serve.label_store import LabelStore
from sori.serve.problems import Problem
from sori.serve.project import TEXTS, Project

HELD_OUT_FRACTION = 0.15
"""Part of the transcribed speech that recognisers are scored on."""
_LEAST_SPEAKERS = 3
_LEAST_UTTERANCES = 4
_LEAST_TEXTS = 5
"""Different texts with which all utterances of a text are on one side."""
_LOG_LINES = 12
_MUCH_MINUTES = 40.0

State = Literal["training", "scoring", "finished", "interrupted", "stopped", "failed"]
Length = Literal["full", "check"]


class About(Config):
    """Contents of `round.json`."""

    minutes: float
    """Transcribed minutes that are trained on."""
    held_out_minutes: float
    held_out: str
    """What is held out: `speakers`, `utterances`, or the name of a split."""
    recipe: str
    init: str | None
    frozen_blocks: int = 0
    """Number of lower blocks that keep their weights: half of those of a model of a published size, else none."""
    is_stopped: bool = False
    """Whether the user has stopped it, so that it is not continued by itself."""


@final
class Round:
    """One round; see the module.

    Args:
        folder: its folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, int(folder.name)
        self.run = RunFolder(folder / "run")
        self.labelled, self.scores, self.log = folder / "labelled", folder / "scores.json", folder / "train.log"
        self.about = About.from_data(read_json(folder / "round.json"), origin=str(folder / "round.json"))
        self._process: subprocess.Popen[bytes] | None = None
        self._has_failed = False

    @property
    def has_model(self) -> bool:
        """Return whether training has ended with a model."""
        return (self.run.model / "config.json").is_file()

    def state(self) -> State:
        """Return what the round is doing."""
        if self._process is not None and self._process.poll() is not None:
            self._has_failed, self._process = self._process.returncode != 0, None
        is_running = self._process is not None or holder(self.run.lock) is not None
        if self.has_model and not is_running:
            return "finished" if self.scores.is_file() or self._has_failed else "interrupted"
        if is_running:
            return "scoring" if self.has_model else "training"
        if self.about.is_stopped:
            return "stopped"
        return "failed" if self._has_failed else "interrupted"

    def advance(self) -> None:
        """Begin or continue what is to be done next."""
        if self.state() != "interrupted":
            return
        if self.has_model:
            split = self.about.held_out if self.about.held_out not in ("speakers", "utterances") else "dev"
            options = ("--data", str(self.labelled.absolute()), "--split", split, "--save", str(self.scores.absolute()))
            self._start("evaluate", str(self.run.path.absolute()), *options)
            return
        command = ["train", self.about.recipe, "--into", str(self.run.path.absolute())]
        command += ["--data", str(self.labelled.absolute())]
        command += [] if self.about.init is None else ["--init", self.about.init]
        texts = self.folder.parents[1] / TEXTS
        command += ["--labels.texts", f"[{texts.absolute()}]"] if texts.is_file() else []
        command += [] if self.about.recipe == "ctc_smoke" else ["--labels.minutes", "null"]
        frozen = self.about.frozen_blocks
        self._start(*command, *(["--system.frozen-blocks", str(frozen)] if frozen else []))

    def stop(self) -> None:
        """Stop training; what is saved stays, and it can be continued."""
        self._keep(is_stopped=True)
        running = self._process.pid if self._process is not None else holder(self.run.lock)
        if running is not None:
            os.kill(running, signal.SIGTERM)

    def resume(self) -> None:
        """Continue a round that was stopped or has failed."""
        self._has_failed = False
        self._keep(is_stopped=False)
        self.advance()

    def last_lines(self) -> list[str]:
        """Return the end of what training has written to the screen."""
        try:
            lines = read_text(self.log, errors="replace").replace("\r", "\n").splitlines()
        except (OSError, ValueError):
            return []
        return [line for line in lines if line.strip()][-_LOG_LINES:]

    def _keep(self, *, is_stopped: bool) -> None:
        self.about = self.about.model_copy(update={"is_stopped": is_stopped})
        write_json(self.folder / "round.json", self.about.model_dump(mode="json"))

    def _start(self, *arguments: str) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "sori", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def read_rounds(project: Project) -> list[Round]:
    """Return the rounds of a project, the oldest first."""
    if not project.rounds.is_dir():
        return []
    folders = [path for path in project.rounds.iterdir() if path.name.isdigit() and (path / "round.json").is_file()]
    return [Round(path) for path in sorted(folders, key=lambda path: int(path.name))]


class _Part(NamedTuple):
    rows: list[tuple[Utterance, AudioInfo]]
    held_out: str


def new_round(project: Project, store: LabelStore, *, init: str | None, length: Length) -> Round:
    """Write the transcripts so far as a prepared folder, and the description of the round.

    Args:
        project: the project.
        store: its transcripts.
        init: pre-trained model; None: from scratch.
        length: `check`: a toy model, to see whether everything runs.

    Raises:
        Problem: there are too few transcripts.
    """
    part = _labelled(project, store)
    trained, scored = (
        sum(u.duration_seconds for u, _ in part.rows if is_held_out(u) == held) / 60 for held in (False, True)
    )
    if len(part.rows) < _LEAST_UTTERANCES or not trained or not scored:
        raise Problem(
            409,
            f"expected at least {_LEAST_UTTERANCES} transcribed utterances, one of them to score on, got "
            f"{len(part.rows)}; transcribe more. Ten minutes are a good beginning",
            code="too_few",
        )
    recipe, frozen_blocks = ("ctc_smoke", 0) if length == "check" else _recipe(init, trained)
    numbers = [one.number for one in read_rounds(project)]
    folder = project.rounds / f"{max(numbers, default=0) + 1:03}"
    (folder / "labelled").mkdir(parents=True, exist_ok=True)
    write_manifest(folder / "labelled", part.rows)
    about = About(
        minutes=trained,
        held_out_minutes=scored,
        held_out=part.held_out,
        recipe=recipe,
        init=init,
        frozen_blocks=frozen_blocks,
    )
    write_json(folder / "round.json", about.model_dump(mode="json"))  # last: a folder that has one is complete
    return Round(folder)


def _recipe(init: str | None, minutes: float) -> tuple[str, int]:
    """Choose a recipe that trains on a laptop, and the number of frozen blocks.

    Raises:
        Problem: the model to start from cannot be read, or is not one of speech.
    """
    size = "1h" if minutes > _MUCH_MINUTES else "10min"
    if init is None:
        return f"ctc_{size}_scratch", 0
    try:
        encoder = read_settings(init).model.encoder_config
    except (OSError, ValueError) as error:
        raise Problem(400, f"{init}: {error}", param="init") from None
    if sizes.is_published(encoder):
        return "ctc_10min_xlsr_laptop", encoder.num_layers // 2
    return f"ctc_{size}", 0


def is_held_out(utterance: Utterance) -> bool:
    """Return whether an utterance is not trained on."""
    return (utterance.split or "").startswith(HELD_OUT)


def _labelled(project: Project, store: LabelStore) -> _Part:
    """Return what has a transcript, with the splits `train` and `dev`."""
    typed = {name: label.text for name, label in store.labels().items() if label.text is not None}
    rows = [(u._replace(text=typed.get(u.id, u.text)), file) for u, file in read_with_headers(project.prepared)]
    rows = [row for row in rows if (row[0].text or "").strip()]
    if any((u.split or "").startswith("dev") for u, _ in rows):  # the corpus has said what is held out
        kept = [(u if is_held_out(u) else u._replace(split="train"), file) for u, file in rows]
        return _Part(kept, next(u.split for u, _ in rows if (u.split or "").startswith("dev")) or "dev")
    rows = [row for row in rows if not is_held_out(row[0])]
    speakers = _held_out_speakers(project, [u for u, _ in rows])
    if speakers:
        chosen = {u.id for u, _ in rows if u.speaker in speakers}
    else:
        chosen = _held_out_utterances([u for u, _ in rows])
    marked = [(u._replace(split="dev" if u.id in chosen else "train"), file) for u, file in rows]
    return _Part(marked, "speakers" if speakers else "utterances")


def _held_out_utterances(rows: Sequence[Utterance]) -> set[str]:
    """Return the ids of utterances that are held out, with all others of the same text, which may be memorised."""
    texts = {u.id: " ".join((u.text or "").casefold().split()) for u in rows}
    if len(set(texts.values())) < _LEAST_TEXTS:
        texts = {name: name for name in texts}
    first = min(texts.values(), key=_place, default="")
    return {name for name, text in texts.items() if text == first or _place(text) < HELD_OUT_FRACTION}


def _held_out_speakers(project: Project, rows: Sequence[Utterance]) -> tuple[str, ...]:
    """Return the speakers that are held out, the same in every round; none if there are too few speakers."""
    speakers = {u.speaker for u in rows if u.speaker is not None}
    kept = tuple(speaker for speaker in project.settings.held_out_speakers if speaker in speakers)
    if kept or len(speakers) < _LEAST_SPEAKERS:
        return kept
    left, chosen = HELD_OUT_FRACTION * sum(u.duration_seconds for u in rows), list[str]()
    for speaker in sorted(speakers, key=_place):
        if left <= 0 or len(chosen) >= len(speakers) - 2:
            break
        chosen.append(speaker)
        left -= sum(u.duration_seconds for u in rows if u.speaker == speaker)
    project.keep(project.settings.model_copy(update={"held_out_speakers": tuple(chosen)}))
    return tuple(chosen)


def _place(name: str) -> float:
    """Return a number from 0 to 1 that depends on a name only."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest()) / 256**7


def encoders_of(project: Project) -> list[str]:
    """Return the pre-trained encoders in the folder `models` of a project, by name."""
    folder = project.folder / "models"
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if _is_model(path))


def _is_model(path: Path) -> bool:
    return any((place / "config.json").is_file() for place in (path, path / "model"))
