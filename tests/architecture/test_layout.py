"""Where files are: folders at the top level, names that mean one thing, few layers without exceptions."""

import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sori"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
MAX_LAYERS = 12

PAPERS = {path.stem for path in (PACKAGE / "models").glob("*.py")} - {"encoders", "factory", "protocols", "skeleton"}
SAME_MEANING = {
    **dict.fromkeys(PAPERS, "the model of a paper in models/, its settings in recipes/"),
    "transcribe": "the commands in cli/, their functions in inference/",
    "serve": "the command in cli/, its application in serve/",
    "masked_lm": "the commands in cli/, their functions in inference/",
    "comparison": "the command `sori lab` in cli/, its functions in experiments/comparison/",
    "models": "commands that take a model in cli/models.py; the folder models/",
    "word_segments": "the list of segments in data/, training on it in runs/tasks/",
}
"""Names of several files or folders that mean the same thing, and what."""


def test_the_top_level_holds_folders_and_nothing_else():
    allowed = {"__init__.py", "__main__.py", "py.typed"}
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == allowed, f"move {sorted(files - allowed)} into a folder"
    bare = [
        path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").is_file()
    ]
    assert not bare, f"{bare} have no __init__.py"


def test_no_name_is_used_for_two_things():
    places = defaultdict(list)
    for path in PACKAGE.rglob("*"):
        if (path.suffix == ".py" and not path.stem.startswith("__")) or (path.is_dir() and path.name != "__pycache__"):
            places[path.stem].append(path.relative_to(PACKAGE).as_posix())
    repeated = {name: sorted(found) for name, found in places.items() if len(found) > 1}
    assert repeated.keys() <= SAME_MEANING.keys(), "rename one, or add the name to SAME_MEANING with the reason"
    assert not SAME_MEANING.keys() - PAPERS - repeated.keys(), "these allowances are not needed"
    assert all(set(map(_top, repeated[name])) == {"models", "recipes"} for name in PAPERS & repeated.keys())


def _top(path: str) -> str:
    return path.split("/", 1)[0]


def test_few_layers_and_no_exceptions():
    layered = next(contract for contract in CONTRACTS if contract["type"] == "layers")
    assert len(layered["layers"]) <= MAX_LAYERS
    assert layered["exhaustive"]
    for contract in CONTRACTS:
        assert not {key for key in contract if key.startswith(("ignore_imports", "unmatched_ignore"))}, contract["name"]


def test_the_layers_are_the_folders():
    layered = next(contract for contract in CONTRACTS if contract["type"] == "layers")
    named = {name.strip() for layer in layered["layers"] for name in layer.split("|")}
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert named == folders | {"__main__"}
