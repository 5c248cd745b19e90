"""Short pre-training runs for the figures, and the sentence that they show.

`SORI_DATA` names the folder of recordings. They are prepared once, in the folder of temporary files.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import sori
from sori.core.shapes import Float, Tensor
from sori.recipes import by_name

CORPUS = "librispeech-train-clean-100-openings"
"""Folder of `SORI_DATA`: 52 minutes of English, 251 speakers."""
SENTENCE = "sense_and_sensibility_01_austen_64kb-0880"
"""Sentence of `english-tiny`, with phones; its speaker is not in that folder."""


def data_folder() -> Path:
    """Return the folder of recordings."""
    return Path(os.environ["SORI_DATA"])


def sentence() -> Float[Tensor, " sample"]:
    """Return the waveform of "He was not an ill-disposed young man", 3 s."""
    return sori.read(data_folder() / "english-tiny" / "audio" / f"{SENTENCE}.flac")


def phones() -> list[tuple[float, float, str]]:
    """Return begin and end in seconds and the label of each phone of the sentence."""
    path = data_folder() / "english-tiny" / "align" / f"{SENTENCE}.phone.json"
    words = json.loads(path.read_text(encoding="utf-8"))["w"]
    return [(one["b"], one["b"] + one["d"], one["t"]) for word in words for one in word["w"]]


def pretrain(name: str, **changes: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Pre-train on English and return the model and the reports of the run.

    Args:
        name: name of the recipe.
        changes: settings that differ from it, with two underscores for a dot, such as `train__num_steps=600`.
    """
    recipe = by_name(name).override({key.replace("__", "."): value for key, value in changes.items()})
    prepared = Path(tempfile.gettempdir()) / "sori-figures" / CORPUS
    if not (prepared / "cuts.jsonl.gz").exists():
        sori.prepare(data_folder() / CORPUS, prepared)
    with tempfile.TemporaryDirectory() as folder:
        run = sori.train(recipe, into=folder, data=prepared)
        lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        reports = [row for line in lines if (row := json.loads(line))["kind"] == "train"]
        return sori.load(run.folder).eval(), reports
