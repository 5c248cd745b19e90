"""Read tensors from a folder written by transformers: one file or several, safetensors or pickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch

from sori.checkpoints.formats.hf_text import read_json
from sori.checkpoints.formats.pickles import read_pickle
from sori.core.shapes import Tensor
from sori.core.user_files import require_file

CONFIG = "config.json"
WEIGHTS, PICKLED = "model.safetensors", "pytorch_model.bin"


class TensorFiles(NamedTuple):
    """Tensors by name, and the files they were read from."""

    weights: dict[str, Tensor]
    paths: list[Path]


def read_weights(folder: Path) -> TensorFiles:
    """Read all tensors of a folder.

    Raises:
        ValueError: Files are missing or damaged; the message names them.
    """
    for single, index in ((WEIGHTS, f"{WEIGHTS}.index.json"), (PICKLED, f"{PICKLED}.index.json")):
        if (folder / single).is_file():
            return TensorFiles(read_tensors(folder / single), [folder / single])
        if (listed := read_json(folder / index)) is not None:
            paths = [folder / name for name in sorted(set(listed["weight_map"].values()))]
            return TensorFiles(_joined(paths, listed["weight_map"], folder / index), paths)
    raise ValueError(
        f"{folder} has a {CONFIG} but no weights; expected {WEIGHTS} or {PICKLED} (or their parts with an index)"
    )


def _joined(paths: list[Path], weight_map: Mapping[str, str], index: Path) -> dict[str, Tensor]:
    for path in paths:
        if path.parent != index.parent or path.name in ("", "..") or not path.is_file():
            raise ValueError(f"{index} lists {path.name!r}, which does not exist; copy all parts of the model again")
    weights: dict[str, Tensor] = {}
    for path in paths:
        weights |= read_tensors(path)
    if missing := sorted(weight_map.keys() - weights.keys()):
        raise ValueError(f"{index} lists tensors that are in none of the parts: {', '.join(missing[:5])}")
    return weights


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of one file.

    Raises:
        ValueError: The file is damaged, or holds other data.
    """
    if path.suffix == ".safetensors":
        require_file(path)
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}); copy it again") from None
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: expected tensors by name, as transformers writes them, got other data")
    return content
