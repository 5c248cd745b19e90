"""Download models from the Hugging Face hub: `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION`.

Only these files at the top level of a repository are downloaded, and no code: weights, JSON and text files, and the
model card. Weights in safetensors are preferred; pickled ones, which `formats/pickles.py` reads without executing them,
are for repositories without others.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sori.core.files import read_json
from sori.core.log import logger

_PREFIX = "hf:"
_NAME = r"(?!.*(?:\.\.|--))\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?"
_ADDRESS = re.compile(rf"hf:/{{0,2}}({_NAME})(?:@(\w(?:[\w./-]*\w)?))?", re.ASCII)
"""Names allowed on the hub; others are not passed to the hub library, which makes paths of them. `Path` turns the two
slashes into one."""

_FILE = re.compile(r"\w[\w.-]*", re.ASCII)
_ABOUT = (".json", ".txt")
_CARD = "README.md"
_TOKENIZER = "tokenizer_config.json"
_ADAPTER = re.compile(r"adapter\.([\w-]+)\.(?:safetensors|bin)", re.ASCII)
_PICKLED = re.compile(r"pytorch_model(?:-[\w-]+)?\.bin|adapter\.[\w-]+\.bin", re.ASCII)
_NUM_SHOWN = 20


class Address(NamedTuple):
    """A model on the hub."""

    name: str
    revision: str | None
    """Branch, tag or commit; None: the default branch."""


def is_address(model: str | Path) -> bool:
    """Return whether a model is named as one on the hub."""
    return str(model).startswith(_PREFIX)


def looks_like_name(model: str | Path) -> bool:
    """Return whether a model's name could be one on the hub without the prefix."""
    return re.fullmatch(_NAME, str(model), re.ASCII) is not None


def parse(model: str | Path) -> Address:
    """Parse the address of a model.

    Raises:
        ValueError: the address is malformed.
    """
    match = _ADDRESS.fullmatch(str(model))
    if match is None or ".." in (match[2] or ""):
        raise ValueError(
            f"expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, got {str(model)!r}; likely a misspelt name: copy "
            "it from the model's page, such as hf://facebook/wav2vec2-base"
        )
    return Address(match[1], match[2])


@functools.cache
def download(address: Address, *, language: str | None = None) -> Path:
    """Download the files of a model that are not yet in the cache of the hub library, and return their folder.

    The hub is queried once in a process for each model.

    Args:
        address: model and revision.
        language: language adapter to download, for a model with several; None: its default language.

    Raises:
        FileNotFoundError: the hub library is not installed.
        OSError: the hub cannot be reached or has no such model.
        ValueError: the model has no files that sori can use, or no adapter for the language.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise FileNotFoundError(
            f"hf://{address.name} is a model on the Hugging Face hub; downloading it needs `pip install 'sori[hub]'`"
        ) from None
    try:
        found = huggingface_hub.HfApi().model_info(address.name, revision=address.revision, files_metadata=True)
    except Exception as error:  # noqa: BLE001 - the library raises what its HTTP client raises
        return _downloaded_before(address, error)
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    names = _selected(Address(address.name, found.sha), _choose(sizes), language)
    logger.info(
        f"from the Hugging Face hub: {address.name}, revision {found.sha}, {_megabytes(names, sizes)}: "
        f"{', '.join(names)}; files that were downloaded before are not downloaded again"
    )
    try:
        return Path(huggingface_hub.snapshot_download(address.name, revision=found.sha, allow_patterns=names))
    except Exception as error:  # noqa: BLE001 - as above
        raise _failed(address, error) from None


def _choose(names: Mapping[str, int]) -> list[str]:
    """Return the files to download: weights in one format, settings, texts, and the model card."""
    plain = [name for name in sorted(names) if _FILE.fullmatch(name)]
    safe = [name for name in plain if name.endswith(".safetensors")]
    whole = [name for name in safe if not _ADAPTER.fullmatch(name)]
    weights = whole or [name for name in plain if _PICKLED.fullmatch(name) and not _ADAPTER.fullmatch(name)]
    adapters = [name for name in safe if _ADAPTER.fullmatch(name)] or [
        name for name in plain if _ADAPTER.fullmatch(name)
    ]
    return [*(name for name in plain if name.endswith(_ABOUT) or name == _CARD), *weights, *adapters]


def _selected(address: Address, names: list[str], language: str | None) -> list[str]:
    """Return the files to download without the adapters of other languages."""
    if adapters := [name for name in names if _ADAPTER.fullmatch(name)]:
        wanted = language or _default_language(address, names)
        names = [name for name in names if name not in adapters or _language_of(name) == wanted]
        if not any(name in adapters for name in names):
            known = ", ".join(sorted(filter(None, map(_language_of, adapters)))[:_NUM_SHOWN])
            raise ValueError(
                f"hf://{address.name} has no adapter for {wanted!r}; select one with `--language`: {known}"
            )
    if all(name.endswith(_ABOUT) or name == _CARD for name in names):
        raise ValueError(
            f"hf://{address.name} has no weights that sori can read; expected model.safetensors, weights.safetensors "
            "or pytorch_model.bin at its top level"
        )
    return names


def _language_of(adapter: str) -> str | None:
    match = _ADAPTER.fullmatch(adapter)
    return None if match is None else match[1]


def _default_language(address: Address, names: list[str]) -> str | None:
    import huggingface_hub

    if _TOKENIZER not in names:
        return None
    try:
        place = huggingface_hub.hf_hub_download(address.name, _TOKENIZER, revision=address.revision)
    except Exception as error:  # noqa: BLE001 - as above
        raise _failed(address, error) from None
    settings = read_json(Path(place))
    return settings.get("target_lang") if isinstance(settings, dict) else None


def _downloaded_before(address: Address, error: Exception) -> Path:
    """Return the folder of an earlier download where the hub cannot be reached; it may be used without a network."""
    import huggingface_hub

    try:
        place = huggingface_hub.snapshot_download(address.name, revision=address.revision, local_files_only=True)
    except Exception:  # noqa: BLE001 - the first error says why
        raise _failed(address, error) from None
    logger.warning(f"the Hugging Face hub did not answer ({_reason(error)}); using the earlier download {place}")
    return Path(place)


def _failed(address: Address, error: Exception) -> OSError:
    revision = "" if address.revision is None else f" at revision {address.revision}"
    return OSError(
        f"the Hugging Face hub did not return a model called {address.name}{revision}: {_reason(error)}. Check the "
        "name, the network connection, and your access to the model"
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _megabytes(names: list[str], sizes: Mapping[str, int]) -> str:
    total = sum(sizes[name] for name in names)
    return f"{len(names)} files of {total / 1e6:,.1f} MB in all"
