"""The verb that trains every system on the same hours and compares them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import Parameter

from sori.evaluation.data_split import SplitBy
from sori.experiments.comparison import study
from sori.experiments.comparison.budget import SYSTEMS, LabConfig, Size

_DEFAULTS = LabConfig()


@Parameter(name="*")
@dataclass(frozen=True)
class Settings:
    """Who takes part, what each may hear, and what is asked."""

    size: Size = _DEFAULTS.size
    """Recipes called tiny, or toys that show in minutes whether everything runs."""
    systems: str = ",".join(SYSTEMS)
    """Some of them, with commas between; more of them later with the same folder are added."""
    hours_heard: float | None = None
    """Audio each hears, repetitions counted; by default as much as the recipe that asks for most."""
    updates: int | None = None
    """In place of hours: so many updates each, whose batches differ in length."""
    tasks: str = ",".join(_DEFAULTS.tasks)
    """Some of phone, speaker and abx, with commas between; see `sori probe`."""
    split_by: SplitBy = _DEFAULTS.split_by
    """Phones are read from other speakers than they were learnt from, or only from other utterances."""
    minutes: float | None = None
    """Measure on at most so much of the recordings; at size smoke ten by default."""
    seed: int = 0
    """Of training and of measuring."""

    def config(self) -> LabConfig:
        """For `study.lab`."""
        lists = {name: _words(getattr(self, name)) for name in ("systems", "tasks")}
        return LabConfig.from_data(self.__dict__ | lists, origin="this choice")


EVERYTHING = Settings()


def lab(
    *,
    data: list[Path],
    into: Path = Path("runs/lab"),
    alignments: Path | None = None,
    probe_data: list[Path] | None = None,
    labels: list[Path] | None = None,
    settings: Settings = EVERYTHING,
) -> None:
    """Train every system on the same hours, measure each alike, compare; repeated, it continues.

    Args:
        data: Prepared folder to train on; may be given several times.
        into: Folder for everything that is made: lab.md, lab.json, lab.png and a folder for each system.
        alignments: When each phone of the probe data is spoken: .jsonl (.gz, .xz) or a folder of TextGrids; without,
            only speakers are asked for.
        probe_data: Prepared folder to measure on, in place of data; may be given several times.
        labels: Prepared folder with transcripts and a split `test`: also make recognisers from ten minutes of it and
            count their errors; may be given several times.
        settings: Who takes part, and the budget.
    """
    found = study.lab(
        data, into=into, alignments=alignments, probe_data=probe_data, labels=labels, config=settings.config()
    )
    if found is not None:
        print(found.table())
        print(f"\nin {into}: lab.md, lab.json, lab.png")


def _words(text: str) -> list[Any]:
    return [word.strip() for word in text.split(",")]
