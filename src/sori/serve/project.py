"""The folder of a project: what is transcribed, by whom it is continued, and where everything is."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import final

from pydantic import Field

from sori.core.config import Config
from sori.core.files import read_json, write_json
from sori.core.locks import LockedError, locked
from sori.data.manifest import CUTS, Utterance, read_manifest
from sori.data.preparation.prepare import prepare
from sori.inference.selection import HELD_OUT
from sori.text.vocabulary import graphemes

FORMAT_VERSION = 1
SETTINGS, PREPARED, ROUNDS, TEXTS, LOCK = "project.json", "prepared", "rounds", "texts.txt", "sori-serve.lock"


class Settings(Config):
    """Contents of `project.json`."""

    format_version: int = FORMAT_VERSION
    prepared: str = PREPARED
    """Prepared folder, relative to the project or absolute."""
    goal_minutes: float = Field(default=10.0, gt=0)
    """Minutes to transcribe before the first training."""
    characters: str = ""
    """Characters that are offered besides those of the transcripts."""
    held_out_speakers: tuple[str, ...] = ()
    """Speakers that recognisers are scored on and never trained on; chosen with the first training."""


@final
class Project:
    """An opened project.

    Args:
        folder: project folder, from `open_project`.
        settings: its settings.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.prepared = folder / settings.prepared
        self.rounds = folder / ROUNDS
        self.utterances: list[Utterance] = read_manifest(self.prepared)

    @cached_property
    def letter_counts(self) -> Counter[str]:
        """Count the characters of the transcripts that the corpus came with."""
        return Counter(letter for u in self.utterances if u.text for letter in graphemes(u.text))

    def candidates(self) -> list[Utterance]:
        """Return the utterances that can be transcribed here: without a transcript, and not of a held-out split."""
        return [u for u in self.utterances if not (u.text or "").strip() and not (u.split or "").startswith(HELD_OUT)]

    def keep(self, settings: Settings) -> None:
        """Store changed settings."""
        write_json(self.folder / SETTINGS, settings.model_dump(mode="json"))
        self.settings = settings


@contextmanager
def open_project(folder: Path, recordings: Path | None) -> Generator[Project, None, None]:
    """Open a project, or begin one, for this process alone.

    Args:
        folder: project folder.
        recordings: folder of recordings, table, or prepared folder, to begin a project with.

    Raises:
        ValueError: there is no project and nothing to begin one with, it was made by a newer version, or another
            server has it open.
    """
    settings = folder / SETTINGS
    if not settings.is_file():
        _begin(folder, recordings)
    try:
        with locked(folder / LOCK):
            found = Settings.from_data(read_json(settings), origin=str(settings))
            if found.format_version != FORMAT_VERSION:
                raise ValueError(
                    f"{folder} has project format {found.format_version}, and this version of sori supports "
                    f"{FORMAT_VERSION}; use the version that made it"
                )
            yield Project(folder, found)
    except LockedError as error:
        raise ValueError(
            f"expected the project {folder} for this server alone, but it is open in another one: {error}. Use the "
            "page of that server, also from several windows, or end it"
        ) from None


def _begin(folder: Path, recordings: Path | None) -> None:
    if (folder / PREPARED / CUTS).is_file() and recordings is None:
        write_json(folder / SETTINGS, Settings().model_dump(mode="json"))
        return
    if recordings is None:
        raise ValueError(
            f"{folder} is not a project yet, and there are no recordings to begin one with: name them, "
            f"`sori serve --project {folder} --recordings FOLDER`"
        )
    settings = Settings()
    if (recordings / CUTS).is_file():
        settings = Settings(prepared=str(recordings.absolute()))
    else:
        prepare(recordings, folder / PREPARED)
    write_json(folder / SETTINGS, settings.model_dump(mode="json"))
