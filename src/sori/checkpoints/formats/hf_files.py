"""Read tensors from a folder written by transformers: one file or several, safetensors or pickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch

from sori.checkpoints.formats.foreign_json import checked, read_if_there
from sori.checkpoints.formats.hf_schemas import Index
from sori.checkpoints.formats.pickles import read_pickle
from sori.core.foreign_values import shortened, shown
from sori.core.shapes import Tensor
from sori.core.user_files import require_file

CONFIG = "config.json"
WEIGHTS, PICKLED = "model.safetensors", "pytorch_model.bin"


class TensorFiles(NamedTuple):
    """Tensors by name, and the files they were read from."""

    weights: dict[str, Tensor]
    paths: list[Path]


def read_weights(folder: Path, *, values: bool = True) -> TensorFiles:
    """Read all tensors of a folder.

    Args:
        folder: Folder written by transformers.
        values: Whether to read the values of the tensors; see `read_tensors`.

    Raises:
        ValueError: Files are missing or damaged; the message names them.
    """
    for single, index in ((WEIGHTS, f"{WEIGHTS}.index.json"), (PICKLED, f"{PICKLED}.index.json")):
        if (folder / single).is_file():
            return TensorFiles(read_tensors(folder / single, values=values), [folder / single])
        if (listed := read_if_there(folder / index)) is not None:
            weight_map = checked(Index, listed, folder / index).weight_map
            paths = [folder / name for name in sorted(set(weight_map.values()))]
            return TensorFiles(_joined(paths, weight_map, folder / index, values=values), paths)
    raise ValueError(
        f"{folder} has a {CONFIG} but no weights; expected {WEIGHTS} or {PICKLED} (or their parts with an index)"
    )


def _joined(paths: list[Path], weight_map: Mapping[str, str], index: Path, *, values: bool) -> dict[str, Tensor]:
    for path in paths:
        if path.parent != index.parent or path.name in ("", "..") or not path.is_file():
            raise ValueError(
                f"{index} lists {shown(path.name)}, which does not exist; copy all parts of the model again"
            )
    weights: dict[str, Tensor] = {}
    for path in paths:
        weights |= read_tensors(path, values=values)
    if missing := sorted(weight_map.keys() - weights.keys()):
        raise ValueError(f"{index} lists tensors that are in none of the parts: {', '.join(missing[:5])}")
    return weights


def read_tensors(path: Path, *, values: bool = True) -> dict[str, Tensor]:
    """Read the tensors of one file.

    Args:
        path: safetensors file, or a file of `torch.save`.
        values: Whether to read the values of the tensors. If not, they have their shapes and types, and are on the
            device `meta`.

    Raises:
        ValueError: The file is damaged, or holds other data.
    """
    if path.suffix == ".safetensors":
        require_file(path)
        try:
            content = safetensors.torch.load_file(path)  # maps the file, and reads values when they are used
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is damaged ({shortened(error)}); copy it again") from None
    else:
        content = read_pickle(path)
        if not is_tensors(content):
            raise ValueError(f"{path}: expected tensors by name, as transformers writes them, got other data")
    return content if values else without_values(content)


def is_tensors(content: object) -> bool:
    """Return whether the content of a file is tensors by name."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def without_values(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of the same shapes and types that take no memory."""
    return {name: tensor.to("meta") for name, tensor in tensors.items()}
