"""Results of recorded runs that are similar to a planned one (`recorded_runs.json`)."""

import math
from pathlib import Path
from typing import Any

from sori.core.files import read_json

_FILE = Path(__file__).with_name("recorded_runs.json")
_MOST = 3


def similar_runs(recipe: str, labels_minutes: float | None) -> list[str]:
    """Return descriptions of the recorded runs of a recipe, those with a similar amount of labels first.

    Args:
        recipe: recipe of the pre-training.
        labels_minutes: minutes of transcribed speech; None: any.
    """
    rows = [row for row in recorded()["pre_training"] if row["recipe"] == recipe]
    if labels_minutes is not None:
        rows.sort(key=lambda row: abs(math.log(row["labels_minutes"] / labels_minutes)))
    return [
        f"{row['data_hours']:g} h of audio, {row['hours_processed']:,g} h processed, {row['labels_minutes']:g} min of "
        f"labels: {row['result']}" + (f" (`{row['command']}`)" if row["command"] else "")
        for row in rows[:_MOST]
    ]


def speed_of_gpu(device: str, recipe: str) -> dict[str, Any] | None:
    """Return what was recorded of pre-training a recipe on a GPU: `hours_per_hour`, `gib`; None: nothing."""
    found: dict[str, Any] | None = recorded()["gpus"].get(device, {}).get(recipe)
    return found


def recorded() -> dict[str, Any]:
    """Return the recorded figures."""
    found: dict[str, Any] = read_json(_FILE)
    return found
