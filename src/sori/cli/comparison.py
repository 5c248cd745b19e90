"""`sori lab`: train all systems on the same amount of audio and compare them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import Parameter

from sori.cli.output import write
from sori.evaluation.data_split import SplitBy
from sori.experiments.comparison import study
from sori.experiments.comparison.budget import SYSTEMS, LabConfig, Size

_DEFAULTS = LabConfig()


@Parameter(name="*")
@dataclass(frozen=True)
class Settings:
    """Systems, training budget and probe tasks of the comparison."""

    size: Size = _DEFAULTS.size
    """`full` uses the recipes NAME_tiny; `smoke` uses toy recipes that test in minutes whether everything runs."""
    systems: str = ",".join(SYSTEMS)
    """Systems to compare, separated by commas. Systems named in a later call with the same folder are added."""
    hours_heard: float | None = None
    """Hours of audio processed in training each system, counting repetitions. By default, that of the recipe with the
    most."""
    updates: int | None = None
    """Number of updates of each system, instead of hours; the audio per update differs between systems."""
    tasks: str = ",".join(_DEFAULTS.tasks)
    """Probe tasks, separated by commas: phone, speaker, abx. See `sori probe`."""
    split_by: SplitBy = _DEFAULTS.split_by
    """Whether phone probes are tested on other speakers than they were trained on, or only on other utterances."""
    minutes: float | None = None
    """Maximum amount of probe data, in minutes. By default all of it; 10 with `--size smoke`."""
    seed: int = 0
    """Random seed of training and probing."""

    def config(self) -> LabConfig:
        """Return the configuration for `study.lab`."""
        lists = {name: _split(getattr(self, name)) for name in ("systems", "tasks")}
        return LabConfig.from_data(self.__dict__ | lists, origin="this choice")


DEFAULT_SETTINGS = Settings()


def lab(
    *,
    data: list[Path],
    into: Path = Path("runs/lab"),
    alignments: Path | None = None,
    probe_data: list[Path] | None = None,
    labels: list[Path] | None = None,
    settings: Settings = DEFAULT_SETTINGS,
) -> None:
    """Train all systems on the same amount of audio and compare them with the same probes.

    The same command continues an interrupted comparison.

    Args:
        data: Prepared folder to train on; may be given several times.
        into: Output folder: lab.md, lab.json, lab.png and a folder for each system.
        alignments: Phone alignments of the probe data: a .jsonl file (.gz, .xz) or a folder of TextGrids. Without
            alignments, only the speaker probe is run.
        probe_data: Prepared folder to probe on; may be given several times. By default, the training data.
        labels: Prepared folder with transcripts and a split `test`; may be given several times. Fine-tunes each system
            on ten minutes of it and reports the character error rate.
        settings: Systems, budget and probe tasks.
    """
    results = study.lab(
        data, into=into, alignments=alignments, probe_data=probe_data, labels=labels, config=settings.config()
    )
    if results is not None:
        write(results.table())
        write(f"\nin {into}: lab.md, lab.json, lab.png")


def _split(text: str) -> list[Any]:
    return [part.strip() for part in text.split(",")]
