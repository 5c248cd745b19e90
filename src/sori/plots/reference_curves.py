"""Reports of healthy runs, to compare other runs of the same recipe with (`benchmarks/health.py` writes them)."""

from pathlib import Path
from typing import Any

from sori.core.files import read_json

_FILE = Path(__file__).with_name("reference_curves.json")


def reference_curves(recipe: str) -> list[list[dict[str, Any]]]:
    """Return the healthy runs of a recipe, each as rows of training reports; none for most recipes."""
    runs = [run for run in read_json(_FILE) if run["recipe"] == recipe]
    columns = [{name: values for name, values in run.items() if isinstance(values, list)} for run in runs]
    return [[dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)] for table in columns]
