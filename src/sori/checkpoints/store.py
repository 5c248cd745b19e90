"""Save and load models: a folder with `config.json`, `weights.safetensors` and, for text, `vocabulary.json`.

A recogniser may have a language model in two further files (`stored_lm.py`), which stay with it when it is saved again.
Checkpoints in foreign formats (`formats/`) are read directly.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from pydantic import Field

from sori.checkpoints import stored_lm
from sori.checkpoints.formats import fairseq, hf_bert, huggingface
from sori.checkpoints.formats.certificate import NAME as CERTIFICATE
from sori.checkpoints.formats.certificate import Certificate
from sori.checkpoints.formats.hf_files import read_tensors
from sori.checkpoints.formats.imported import Model, NotOfSpeech
from sori.checkpoints.formats.origin import StoredOrigin
from sori.checkpoints.resolve import CARD, find
from sori.checkpoints.stored_lm import StoredLm
from sori.core.config import Config
from sori.core.files import read_json, write_tensors
from sori.core.folders import whole_folder
from sori.core.json_values import parsed_json
from sori.core.shapes import Tensor
from sori.core.user_files import read_text
from sori.data.word_counts import read_word_counts
from sori.models.bert import Bert, BertConfig
from sori.models.classifier import Classifier, ClassifierConfig
from sori.models.ctc import Ctc, CtcConfig
from sori.models.factory import AnyConfig, OfTexts, ReadConfig, System, bert_of, build, copy_weights, encoder_of
from sori.models.skeleton import WithoutDraws, require_tensors_of
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.models.word2vec import Word2Vec, Word2VecConfig
from sori.nn.conv import ConvConfig
from sori.text.vocabulary import Vocabulary
from sori.text.wordpiece import WordPiece

WEIGHTS = "weights.safetensors"


VOCABULARY = "vocabulary.json"


CONFIDENCE = "confidence.json"
"""Word confidence of a recogniser, written by `sori calibrate`."""


INT8 = "int8.json"
"""Test of a recogniser in 8-bit integers, written by `sori evaluate --precision int8`."""


_OURS = {CARD, WEIGHTS, VOCABULARY, CONFIDENCE, INT8, CERTIFICATE, stored_lm.ARPA, stored_lm.SETTINGS}
"""Files of a model folder that are written by sori."""


class ModelCard(Config):
    """Content of `config.json`."""

    system: AnyConfig
    """Kind and configuration of the system."""
    encoder: ReadConfig | None = None
    """Configuration of the encoder of a recogniser or classifier."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the programs that wrote the weights."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Origin of the weights: recipe, data, initial model."""
    origin: StoredOrigin = None
    """Settings of the source of a converted model that `system` cannot hold; used when converting back."""


class Stored(NamedTuple):
    """A model read from disk but not yet built."""

    model: Model
    place: Path
    """Folder or file."""
    provenance: dict[str, Any]
    certificate: Certificate | None
    """Certificate of the conversion from a foreign format, else None."""
    language_model: StoredLm | None = None
    """Language model of a recogniser, if it has one."""


def load(model: str | Path, *, language: str | None = None) -> System:
    """Load a trained system, in evaluation mode, on the CPU.

    Args:
        model: Model folder, run folder, name of a run under `runs/`, folder written by transformers, fairseq checkpoint
            (.pt), or `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION` on the Hugging Face hub.
        language: Language to select from a foreign model with several.

    Raises:
        FileNotFoundError: There is no such model; the message lists existing ones.
        ValueError: A file is missing or damaged, or the tensors are not exactly those of the configuration.
    """
    stored = read(model, language=language)
    system = assemble(stored.model, origin=str(stored.place))
    if stored.language_model is not None:
        stored_lm.attach(system, stored.language_model)
    return system


def assemble(model: Model, *, origin: str) -> System:
    """Build a system that shares the model's tensors, in evaluation mode, on the CPU.

    Raises:
        ValueError: The tensors are not exactly those of the configuration.
    """
    # Avoid allocating weights that would be replaced. Spectral front ends compute their filters when built.
    config = model.encoder or model.system
    empty = isinstance(config, BertConfig) or (
        isinstance(config, Wav2Vec2Config) and isinstance(config.front, ConvConfig)
    )
    with torch.device("meta" if empty else "cpu"), WithoutDraws():
        system = _build(model)
    copy_weights(model.weights, system, origin=origin, assign=True)
    return system.eval()


def _build(model: Model) -> System:
    """Build the system of a model, with the parts that the model has tensors of."""
    system = build(
        model.system,
        encoder=model.encoder,
        vocabulary=model.vocabulary,
        wordpiece=model.wordpiece,
        words=model.words,
        objective=not isinstance(model.system, CtcConfig | NotOfSpeech) and model.has_objective,
    )
    if isinstance(system, Bert):
        system.drop_absent(model.weights)
    return system


def read(model: str | Path, *, language: str | None = None) -> Stored:
    """Read a model of any format as tensors and settings; arguments and errors as in `load`."""
    return _read(model, language, values=True)


def read_settings(model: str | Path, *, language: str | None = None) -> Stored:
    """Read a model without the values of its tensors; arguments and errors as in `load`.

    The tensors have their shapes and types, and are on the device `meta`; the certificate has no digests of files.
    """
    return _read(model, language, values=False)


def _read(model: str | Path, language: str | None, *, values: bool) -> Stored:
    place = find(model, language=language)
    if place.is_file() or huggingface.is_huggingface(place):
        if place.suffix == ".npz":
            imported = hf_bert.read_original(place)
        elif place.is_file():
            imported = fairseq.read(place, values=values)
        else:
            imported = huggingface.read(place, language=language, values=values)
        provenance = {"converted": _without_tensors(imported.certificate)}
        stored = Stored(imported.model, place, provenance, imported.certificate)
    else:
        stored = _read_ours(place, values=values)
    # Before a model of these settings is built.
    require_tensors_of(lambda: _build(stored.model), stored.model.weights, origin=str(place))
    return stored


def _read_ours(place: Path, *, values: bool) -> Stored:
    card = read_card(place)
    vocabulary = _read_vocabulary(place) if isinstance(card.system, CtcConfig) else None
    wordpiece = WordPiece.load(place / VOCABULARY) if isinstance(card.system, BertConfig | ClassifierConfig) else None
    weights = _read_weights(place / WEIGHTS, values=values)
    words = read_word_counts(place / VOCABULARY) if isinstance(card.system, Word2VecConfig) else None
    model = Model(card.system, card.encoder, vocabulary, weights, card.origin, wordpiece, words)
    language_model = stored_lm.read(place) if isinstance(card.system, CtcConfig) else None
    return Stored(model, place, card.provenance, None, language_model)


def save(
    system: System,
    folder: str | Path,
    *,
    provenance: dict[str, Any] | None = None,
    language_model: StoredLm | None = None,
) -> None:
    """Save a model folder atomically, replacing a model saved there before.

    Args:
        system: System to save.
        folder: Target folder.
        provenance: JSON-serialisable description of the origin of the weights.
        language_model: Language model of a recogniser; None: that with which it was loaded, if any.

    Raises:
        ValueError: A recogniser has no vocabulary, or the folder holds anything but a model saved by sori.
    """
    with whole_folder(Path(folder), may_replace=check_place) as fresh:
        kept = language_model or stored_lm.attached(system)
        write(model_of(system), fresh, provenance=provenance, language_model=kept)


def own_folder(model: str | Path) -> Path | None:
    """Return the folder of a model that sori writes into; None for those in another program's format."""
    place = find(model)
    return None if place.is_file() or huggingface.is_huggingface(place) else place


def check_place(folder: Path) -> None:
    """Check that saving a model in a folder replaces only a model saved by sori.

    Raises:
        ValueError: The folder holds other files; the message names them.
    """
    if not os.path.lexists(folder):
        return
    held = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else [folder]
    foreign = [path.name for path in held if path.name not in _OURS or path.is_symlink() or not path.is_file()]
    if held and (foreign or not _is_card(folder / CARD)):
        raise ValueError(
            f"expected a new or empty folder, or a model saved by sori to replace; {folder} holds "
            f"{', '.join(foreign[:5]) or f'no {CARD} written by sori'}. Nothing was removed: give another folder, or "
            "move these files away"
        )


def _is_card(path: Path) -> bool:
    """Return whether this or another version of sori wrote the file."""
    try:
        data = parsed_json(read_text(path))
        return isinstance(data["system"]["kind"], str) and isinstance(data["versions"]["sori"], str)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def model_of(system: System) -> Model:
    """Return a system as tensors and settings.

    Raises:
        ValueError: A recogniser has no vocabulary, or its weights were rounded to transcribe.
    """
    if isinstance(system, Ctc) and system.precision != "float32":
        raise ValueError(
            f"expected a recogniser as it was loaded, got one whose weights were rounded to {system.precision} to "
            "transcribe faster; load it again and save that"
        )
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in system.state_dict().items()}
    if isinstance(system, OfTexts):
        return _of_texts(system, weights)
    if isinstance(system, Word2Vec):
        return Model(system.config, None, None, weights, None, words=system.vocabulary)
    if not isinstance(system, Ctc):
        return Model(system.config, None, None, weights, None)
    if system.vocabulary is None:
        raise ValueError("the recogniser has no vocabulary, so that its output cannot be decoded; set .vocabulary")
    return Model(system.config, encoder_of(system).config, system.vocabulary, weights, None)


def _of_texts(system: OfTexts, weights: dict[str, Tensor]) -> Model:
    bert = bert_of(system)
    if bert.wordpiece is None:
        raise ValueError("the text model has no vocabulary, so that it cannot encode text; set .wordpiece")
    below = bert.config if isinstance(system, Classifier) else None
    return Model(system.config, below, None, weights, None, bert.wordpiece)


def write(
    model: Model,
    folder: Path,
    *,
    provenance: dict[str, Any] | None = None,
    language_model: StoredLm | None = None,
) -> None:
    """Write the files of a model into an empty folder."""
    card = ModelCard(
        system=model.system,
        encoder=model.encoder,
        versions=versions(),
        provenance=provenance or {},
        origin=model.origin,
    )
    if model.vocabulary is not None:
        model.vocabulary.save(folder / VOCABULARY)
    if model.wordpiece is not None:
        model.wordpiece.save(folder / VOCABULARY)
    if model.words is not None:
        (folder / VOCABULARY).write_text(model.words.to_json(), encoding="utf-8")
    write_tensors(model.weights, folder / WEIGHTS)
    if language_model is not None:
        stored_lm.write(language_model, folder)
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """Read the `config.json` of a model folder.

    Raises:
        ValueError: It cannot be read, or holds fields unknown to this version.
    """
    path = folder / CARD
    return ModelCard.from_data(read_json(path), origin=str(path))


def describe(model: str | Path) -> str:
    """Describe a model in YAML: size, vocabulary, configuration and origin of the weights.

    Raises:
        FileNotFoundError, ValueError: As in `load`.
    """
    stored = read_settings(model)
    m = stored.model
    facts: dict[str, Any] = {
        "folder" if stored.place.is_dir() else "file": str(stored.place),
        "parameters": sum(tensor.numel() for tensor in m.weights.values()),
    }
    if m.vocabulary is not None:
        facts["vocabulary"] = " ".join(m.vocabulary.symbols)
    if m.wordpiece is not None:
        facts["vocabulary"] = f"{len(m.wordpiece):,} word pieces"
    if m.words is not None:
        facts["words"] = len(m.words.words)
    if stored.certificate is None:
        card = read_card(stored.place)
    else:
        card = ModelCard(system=m.system, encoder=m.encoder, provenance=stored.provenance)
    if stored.language_model is not None:
        facts["language model"] = stored.language_model.settings.model_dump(mode="json", exclude={"format_version"})
    about = card.model_dump(mode="json", exclude_none=True, exclude={"origin"})
    return yaml.safe_dump(facts | about, sort_keys=False, allow_unicode=True)


def versions() -> dict[str, str]:
    """Return the versions of everything that can affect numerical results."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("sori", "torch", "numpy", "soxr")}}


def _without_tensors(certificate: Certificate) -> dict[str, Any]:
    """Return a certificate without its list of tensors, for the provenance."""
    omitted = {"tensors", "written", "target", "target_format", "outputs"} | (
        set() if certificate.sha256 else {"sha256"}
    )
    return certificate.model_dump(mode="json", exclude=omitted)


def _read_vocabulary(folder: Path) -> Vocabulary:
    if not (folder / VOCABULARY).is_file():
        raise ValueError(f"{folder / VOCABULARY} is missing, which defines the classes; copy the model folder again")
    return Vocabulary.load(folder / VOCABULARY)


def _read_weights(path: Path, *, values: bool) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path} is missing; a model folder holds {CARD}, {WEIGHTS} and, with text, {VOCABULARY}")
    return read_tensors(path, values=values)
