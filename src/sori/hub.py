"""Models on disk: a folder with `config.json`, `weights.safetensors` and, where there is text, `vocabulary.json`."""

import json
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import yaml
from pydantic import Field
from torch import nn

from sori.config import Config
from sori.shapes import Tensor
from sori.systems.ctc import Ctc, CtcConfig
from sori.systems.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from sori.text import Vocabulary

CARD, WEIGHTS, VOCABULARY = "config.json", "weights.safetensors", "vocabulary.json"
MODEL = "model"
"""Where a run folder keeps its finished model."""
RUNS = Path("runs")
"""Where models are looked up by name."""

_UNFINISHED = (".partial", ".old")
"""Of folders that exist only while a model is being saved."""
_OBJECTIVE = ("quantizer", "project_codes", "project_context")
"""Parts of an encoder that only pre-training needs: neither stored nor counted in a recogniser."""

SystemConfig = Annotated[Wav2Vec2Config | CtcConfig, Field(discriminator="kind")]
EncoderConfig = Wav2Vec2Config
System = Wav2Vec2 | Ctc


class ModelCard(Config):
    """What `config.json` holds."""

    system: SystemConfig
    """Kind and configuration of the system."""
    encoder: EncoderConfig | None = None
    """Of a recogniser: what it reads out."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the programs that wrote the weights."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Where the weights come from: recipe, data, starting point."""


def load(model: str | Path) -> System:
    """A trained system, ready for use (evaluation mode, on the CPU).

    Args:
        model: a model folder, a run folder, or the name of a run under `runs/`.

    Raises:
        FileNotFoundError: there is no such model; lists those that exist.
        ValueError: a file is missing or damaged, or the tensors are not exactly those of the configuration.
    """
    folder = find(model)
    card = read_card(folder)
    vocabulary = _read_vocabulary(folder) if isinstance(card.system, CtcConfig) else None
    system = build(card.system, encoder=card.encoder, vocabulary=vocabulary)
    copy_weights(_read_weights(folder / WEIGHTS), system, origin=str(folder / WEIGHTS))
    return system.eval()


def build(
    config: SystemConfig, *, encoder: EncoderConfig | None = None, vocabulary: Vocabulary | None = None
) -> System:
    """A system with random weights: the one place where the kind of a configuration decides on a class.

    Args:
        config: of the system.
        encoder: of the encoder below a recogniser.
        vocabulary: of a recogniser.
    """
    match config:
        case Wav2Vec2Config():
            return Wav2Vec2(config)
        case CtcConfig():
            if encoder is None or vocabulary is None:
                raise ValueError("a recogniser needs an encoder's configuration and a vocabulary; one is missing")
            inner = Wav2Vec2(encoder)
            for part in _OBJECTIVE:
                delattr(inner, part)
            # What gets no gradient says so, or weight decay and several processes would stumble over it.
            inner.front.requires_grad_(config.feature_gradient != 0)
            system = Ctc(config, inner, num_classes=len(vocabulary))
            system.vocabulary = vocabulary
            return system


def encoder_of(system: System) -> Wav2Vec2:
    """The encoder in a system: a recogniser's, or the pre-trained system itself."""
    if isinstance(system, Wav2Vec2):
        return system
    assert isinstance(system.encoder, Wav2Vec2)  # noqa: S101 - the only kind that `build` puts there
    return system.encoder


def encoder_weights(system: System) -> dict[str, Tensor]:
    """The tensors of the encoder without what only pre-training needs: what a recogniser starts from."""
    weights = encoder_of(system).state_dict()
    return {name: tensor for name, tensor in weights.items() if name.split(".")[0] not in _OBJECTIVE}


def save(system: System, folder: str | Path, *, provenance: dict[str, Any] | None = None) -> None:
    """Write a model folder; it appears whole or not at all, in place of one that was there.

    Args:
        system: what to save.
        folder: where to.
        provenance: anything JSON can hold about where the weights come from.

    Raises:
        ValueError: a recogniser without a vocabulary.
    """
    folder = Path(folder)
    encoder = encoder_of(system).config if isinstance(system, Ctc) else None
    card = ModelCard(system=system.config, encoder=encoder, versions=versions(), provenance=provenance or {})
    partial, old = (folder.with_name(folder.name + suffix) for suffix in _UNFINISHED)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if isinstance(system, Ctc):
        if system.vocabulary is None:
            raise ValueError("the recogniser has no vocabulary, so nobody could read what it writes; set .vocabulary")
        system.vocabulary.save(partial / VOCABULARY)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in system.state_dict().items()}
    safetensors.torch.save_file(weights, partial / WEIGHTS)
    (partial / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def copy_weights(weights: Mapping[str, Tensor], system: nn.Module, *, origin: str) -> None:
    """Fill a system with tensors; exactly its own, never a part of them.

    Args:
        weights: by name.
        system: filled in place.
        origin: where the tensors come from, for the error message.

    Raises:
        ValueError: names all tensors that are missing, unknown, or of another shape or type.
    """
    wanted = system.state_dict()
    problems = [f"missing: {name}" for name in wanted.keys() - weights.keys()]
    problems += [f"unknown: {name}" for name in weights.keys() - wanted.keys()]
    problems += [
        f"{name}: expected {_describe(wanted[name])}, got {_describe(weights[name])}"
        for name in wanted.keys() & weights.keys()
        if _describe(wanted[name]) != _describe(weights[name])
    ]
    if problems:
        raise ValueError(
            f"{origin} does not hold the tensors that the configuration asks for; likely those of another model:\n  "
            + "\n  ".join(sorted(problems))
        )
    system.load_state_dict(weights)


def find(model: str | Path) -> Path:
    """The folder of a model given by folder, run folder or name under `runs/`.

    Raises:
        FileNotFoundError: lists the models that exist.
    """
    for folder in (Path(model), RUNS / model):
        for place in (folder, folder / MODEL):
            if (place / CARD).is_file():
                return place
    if Path(model).is_dir() or (RUNS / model).is_dir():
        raise FileNotFoundError(
            f"{model} holds no finished model (no {CARD}); if it is a run, repeat its command to finish it"
        )
    known = list_models()
    listed = (
        f"models here: {', '.join(known)}" if known else f"there are none under {RUNS}/ yet; `sori train` makes one"
    )
    raise FileNotFoundError(f"no model called {str(model)!r}; {listed}")


def list_models(runs: str | Path = RUNS) -> list[str]:
    """Names of the models in a folder of runs; `load` takes them."""
    models = (card.parent for card in Path(runs).rglob(CARD))
    folders = {model.parent if model.name == MODEL else model for model in models}
    return sorted(folder.relative_to(runs).as_posix() for folder in folders if folder.suffix not in _UNFINISHED)


def read_card(folder: Path) -> ModelCard:
    """The card in a model folder.

    Raises:
        ValueError: it cannot be read, or holds what this version does not know.
    """
    path = folder / CARD
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from None
    return ModelCard.from_data(data, origin=str(path))


def describe(model: str | Path) -> str:
    """A model's card as text: size, vocabulary, configuration and where the weights come from, in YAML.

    Raises:
        FileNotFoundError, ValueError: as `load`.
    """
    folder = find(model)
    card = read_card(folder)
    facts: dict[str, Any] = {
        "folder": str(folder),
        "parameters": sum(tensor.numel() for tensor in _read_weights(folder / WEIGHTS).values()),
    }
    if isinstance(card.system, CtcConfig):
        facts["vocabulary"] = " ".join(_read_vocabulary(folder).symbols)
    return yaml.safe_dump(facts | card.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def versions() -> dict[str, str]:
    """Of everything that could change a number."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("sori", "torch", "numpy", "soxr")}}


def _read_vocabulary(folder: Path) -> Vocabulary:
    if not (folder / VOCABULARY).is_file():
        raise ValueError(f"{folder / VOCABULARY} is missing; without it nobody knows what the classes stand for")
    return Vocabulary.load(folder / VOCABULARY)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path} is missing; a model folder holds {CARD}, {WEIGHTS} and, with text, {VOCABULARY}")
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); copy the model folder again") from None


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
