"""Find a model by folder, run, file, or name on the Hugging Face hub."""

import re
from pathlib import Path

from sori.core.folders import former, is_unfinished
from sori.core.run_folder import RunFolder
from sori.core.user_files import require_file

CARD = "config.json"


RUNS = Path("runs")
"""Folder in which models are looked up by name."""


_LEFT_OVER = (".partial", ".old")
"""Suffixes of folders left by earlier versions that were stopped while saving a model."""


_HUB_NAME = re.compile(r"(?!.*(?:\.\.|--))\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
"""Names allowed on the hub; others are not passed to the hub library, which makes paths of them."""


_HUB_FILES = ["*.json", "*.safetensors", "pytorch_model*.bin", "adapter.*.bin", "README.md"]


def find(model: str | Path) -> Path:
    """Return the path of a model given by folder, file, run folder, name under `runs/` or name on the Hugging Face hub.

    Raises:
        FileNotFoundError: There is no such model; the message lists existing ones.
        OSError: The download fails.
    """
    if Path(model).is_file():
        return Path(model)
    for folder in (Path(model), RUNS / model):
        for place in (folder, RunFolder(folder).model):
            for found in (place, former(place)):
                if found is not None and (found / CARD).is_file():
                    return found
    if Path(model).is_dir() or (RUNS / model).is_dir():
        raise FileNotFoundError(
            f"{model} holds no finished model (no {CARD}); if it is a run, repeat its command to finish it"
        )
    if _HUB_NAME.fullmatch(str(model)) and not Path(model).parent.is_dir():
        return _download(str(model))
    if Path(model).exists():
        require_file(model)
    known = list_models()
    listed = (
        f"models here: {', '.join(known)}" if known else f"there are none under {RUNS}/ yet; `sori train` trains one"
    )
    raise FileNotFoundError(f"no model called {str(model)!r}; {listed}")


def _download(name: str) -> Path:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise FileNotFoundError(
            f"there is no folder {name}; if it is a name on the Hugging Face hub, downloading it needs "
            "`pip install 'sori[hub]'`"
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:  # noqa: BLE001 - the library raises what its HTTP client raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"there is no folder {name}, and the Hugging Face hub did not return a model of that name: {reason}. "
            "Check the name, the network connection, and your access to the model"
        ) from None


def list_models(runs: str | Path = RUNS) -> list[str]:
    """Return the names of the models in a folder of runs, for use with `load`."""
    models = (card.parent.relative_to(runs) for card in Path(runs).rglob(CARD))
    finished = (model for model in models if not any(is_unfinished(part) for part in model.parts))
    folders = {model.parent if model == RunFolder(model.parent).model else model for model in finished}
    return sorted(folder.as_posix() for folder in folders if folder.suffix not in _LEFT_OVER)
