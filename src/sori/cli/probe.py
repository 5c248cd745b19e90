"""The verb that asks what every layer of a model knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

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
class Asked:
    """What is asked, and of which layers."""

    layer: int | Literal["all"] = "all"
    """Number of one layer, or all; 0 is the input of the first block."""
    tasks: str = ",".join(DEFAULT_TASKS)
    """Some of phone, speaker, abx, codes and letters, with commas between."""
    untrained: bool = False
    """Also ask the same model with random weights."""
    split_by: SplitBy = _DEFAULTS.split_by
    """Phones are read from other speakers than they were learnt from, or only from other utterances."""
    abx: AbxTask = _DEFAULTS.abx.task
    """Compare triphones, phones within their context, or phones in any context."""
    minutes: float | None = None
    """Use at most so much of the recordings, drawn at random."""
    max_phone_seconds: float = _DEFAULTS.max_phone_seconds
    """Longer phones count as silence."""
    silence: list[str] | None = None
    """Label that stands for silence beside the usual ones; may be given several times."""
    seed: int = 0
    """Of all draws."""

    def config(self) -> probing.ProbingConfig:
        """For `sheet.probe`."""
        tasks = tuple(word.strip() for word in self.tasks.split(","))
        if unknown := [word for word in tasks if word not in TASKS]:
            raise ValueError(f"there is no task {unknown[0]!r}; there are {', '.join(TASKS)}")
        data = {name: getattr(self, name) for name in ("untrained", "split_by", "minutes", "max_phone_seconds", "seed")}
        layers = None if self.layer == "all" else (self.layer,)
        more = {"tasks": tasks, "layers": layers, "abx": AbxConfig(task=self.abx), "silences": self.silence or ()}
        return probing.ProbingConfig.model_validate(data | more)


EVERYTHING = Asked()
"""All questions to all layers."""


def probe(
    model: str,
    *,
    data: list[Path],
    alignments: Path | None = None,
    asked: Asked = EVERYTHING,
    labels: list[Path] | None = None,
    recogniser: Path | None = None,
    save: Path | None = None,
    figure: Path | None = None,
) -> None:
    """What can be read from each layer of a model: phones, speakers, ABX, codes, text; beside spectra.

    Args:
        model: Folder, run folder or name; of a recogniser, its encoder is asked.
        data: Prepared folder; may be given several times.
        alignments: When each phone is spoken: .jsonl (.gz, .xz) or a folder of TextGrids; without, only speakers.
        asked: Questions.
        labels: Prepared folder with transcripts and a split `test`; may be given several times. A recogniser is made
            from ten minutes of it, and its character errors stand below the table.
        recogniser: Run folder for that recogniser; the same command continues it.
        save: Write all numbers as JSON, and the table as Markdown beside it.
        figure: Draw the measures by layer (.png, .svg, .pdf).
    """
    if labels and recogniser is None:
        raise ValueError("--labels needs a folder for the recogniser that is made: give --recogniser DIR")
    if recogniser is not None and not labels:
        raise ValueError("--recogniser needs transcripts to learn from: give --labels PREPARED")
    if labels:
        low_resource.check(labels)
    made = probing.probe(model, data, alignments, config=asked.config(), progress=logger.info)
    if recogniser is not None and labels:
        if not low_resource.train(model, labels, into=recogniser, settings=low_resource.recipe(seed=asked.seed)):
            return
        made = made._replace(errors=low_resource.errors(recogniser, labels))
    print(made.table())
    if save is not None:
        made.write(save)
    if figure is not None:
        figure.parent.mkdir(parents=True, exist_ok=True)
        save_figure(probing.draw(made), figure)
        print(f"drawn: {figure}")
