"""Find a model by folder, run, file, or address on the Hugging Face hub."""

from pathlib import Path

from sori.checkpoints import hub
from sori.core.folders import former, is_unfinished
from sori.core.run_folder import RunFolder
from sori.core.user_files import require_file

CARD = "config.json"


RUNS = Path("runs")
"""Folder in which models are looked up by name."""


_LEFT_OVER = (".partial", ".old")
"""Suffixes of folders left by earlier versions that were stopped while saving a model."""


def find(model: str | Path, *, language: str | None = None) -> Path:
    """Return the path of a model given by folder, file, run folder, name under `runs/` or address on the hub.

    Args:
        model: Path, name, or `hf://OWNER/NAME`, optionally with `@REVISION`; only an address leads to a download.
        language: Language to download of a model on the hub with several.

    Raises:
        FileNotFoundError: There is no such model; the message lists existing ones.
        OSError: The download fails.
        ValueError: The address on the hub is malformed.
    """
    if hub.is_address(model):
        return hub.download(hub.parse(model), language=language)
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
    if Path(model).exists():
        require_file(model)
    known = list_models()
    listed = (
        f"models here: {', '.join(known)}" if known else f"there are none under {RUNS}/ yet; `sori train` trains one"
    )
    if hub.looks_like_name(model):
        listed += f"; for the model of that name on the Hugging Face hub, write hf://{model}"
    raise FileNotFoundError(f"no model called {str(model)!r}: no such file or folder here or under {RUNS}/; {listed}")


def list_models(runs: str | Path = RUNS) -> list[str]:
    """Return the names of the models in a folder of runs, for use with `load`."""
    models = (card.parent.relative_to(runs) for card in Path(runs).rglob(CARD))
    finished = (model for model in models if not any(is_unfinished(part) for part in model.parts))
    folders = {model.parent if model == RunFolder(model.parent).model else model for model in finished}
    return sorted(folder.as_posix() for folder in folders if folder.suffix not in _LEFT_OVER)
