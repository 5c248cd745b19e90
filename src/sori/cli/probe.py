"""`sori probe`: probe the layers of a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from sori.cli.output import write
from sori.core.log import logger
from sori.evaluation import probing
from sori.evaluation.abx import AbxConfig
from sori.evaluation.abx import Task as AbxTask
from sori.evaluation.data_split import SplitBy
from sori.evaluation.probe_tasks import DEFAULT_TASKS, TASKS
from sori.experiments import low_resource
from sori.plots.style import save_figure

_DEFAULTS = probing.ProbingConfig()


@Parameter(name="*")
@dataclass(frozen=True)
class ProbeOptions:
    """Probe tasks, and the layers they are run on."""

    layer: int | Literal["all"] = "all"
    """Number of one layer, or all; 0 is the input of the first block."""
    tasks: str = ",".join(DEFAULT_TASKS)
    """Some of phone, speaker, abx, codes and letters, with commas between."""
    untrained: bool = False
    """Also probe the random-initialisation baseline: the same model with random weights."""
    split_by: SplitBy = _DEFAULTS.split_by
    """Whether phone probes are tested on other speakers than they were trained on, or only on other utterances."""
    abx: AbxTask = _DEFAULTS.abx.task
    """ABX task: triphones, phones within the same context, or phones in any context."""
    minutes: float | None = None
    """Maximum amount of audio, in minutes; a random sample. By default all."""
    max_phone_seconds: float = _DEFAULTS.max_phone_seconds
    """Maximum length of a phone, in seconds; longer ones are treated as silence, because they are mostly alignment
    errors."""
    silence: list[str] | None = None
    """Phone label to treat as silence, in addition to the usual ones; may be given several times."""
    seed: int = 0
    """Random seed of splits, samples and probes."""

    def config(self) -> probing.ProbingConfig:
        """Return the configuration for `probing.probe`."""
        tasks = tuple(task.strip() for task in self.tasks.split(","))
        if unknown := [task for task in tasks if task not in TASKS]:
            raise ValueError(f"there is no task {unknown[0]!r}; there are {', '.join(TASKS)}")
        data = {name: getattr(self, name) for name in ("untrained", "split_by", "minutes", "max_phone_seconds", "seed")}
        layers = None if self.layer == "all" else (self.layer,)
        more = {"tasks": tasks, "layers": layers, "abx": AbxConfig(task=self.abx), "silences": self.silence or ()}
        return probing.ProbingConfig.model_validate(data | more)


DEFAULT_OPTIONS = ProbeOptions()
"""The usual tasks on all layers."""


def probe(
    model: str,
    *,
    data: list[Path],
    alignments: Path | None = None,
    options: ProbeOptions = DEFAULT_OPTIONS,
    labels: list[Path] | None = None,
    recogniser: Path | None = None,
    save: Path | None = None,
    figure: Path | None = None,
) -> None:
    """Probe each layer of a model for phones, speakers, ABX discrimination, units and text.

    Log-mel and MFCC features are probed as baselines.

    Args:
        model: Folder, run folder or name of a model; for a recogniser, its encoder is probed.
        data: Prepared folder; may be given several times.
        alignments: Phone alignments: a .jsonl file (.gz, .xz) or a folder of TextGrids. Without alignments, only the
            speaker probe is run.
        options: Probe tasks and layers.
        labels: Prepared folder with transcripts and a split `test`; may be given several times. The model is fine-tuned
            on ten minutes of it, and the character error rate is printed below the table.
        recogniser: Run folder of that recogniser; the same command continues an interrupted run.
        save: Write all scores to this JSON file, and the table as Markdown beside it.
        figure: Plot the scores by layer (.png, .svg, .pdf).
    """
    if labels and recogniser is None:
        raise ValueError("--labels needs a run folder for the recogniser: give --recogniser DIR")
    if recogniser is not None and not labels:
        raise ValueError("--recogniser needs transcripts to train on: give --labels PREPARED")
    if labels:
        low_resource.check(labels)
    report = probing.probe(model, data, alignments, config=options.config(), progress=logger.info)
    if recogniser is not None and labels:
        if not low_resource.train(model, labels, into=recogniser, settings=low_resource.recipe(seed=options.seed)):
            return
        report = report._replace(errors=low_resource.errors(recogniser, labels))
    write(report.table())
    if save is not None:
        report.write(save)
    if figure is not None:
        figure.parent.mkdir(parents=True, exist_ok=True)
        save_figure(probing.draw(report), figure)
        write(f"drawn: {figure}")
