"""Models on disk: a folder with `config.json`, `weights.safetensors` and, where there is text, `vocabulary.json`.

Foreign checkpoints (`conversion/`) are read in their place.
"""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
import yaml
from pydantic import Field

from sori.checkpoints.formats import fairseq, hf_bert, huggingface
from sori.checkpoints.formats.certificate import NAME as CERTIFICATE
from sori.checkpoints.formats.certificate import Certificate
from sori.checkpoints.formats.imported import Model, NotOfSpeech
from sori.checkpoints.formats.origin import StoredOrigin
from sori.checkpoints.resolve import CARD, find
from sori.core.config import Config
from sori.core.files import write_tensors
from sori.core.folders import whole_folder
from sori.core.shapes import Tensor
from sori.core.user_files import read_text, require_file
from sori.data.word_counts import read_word_counts
from sori.models.bert import Bert, BertConfig
from sori.models.classifier import Classifier, ClassifierConfig
from sori.models.ctc import Ctc, CtcConfig
from sori.models.factory import AnyConfig, OfTexts, ReadConfig, System, bert_of, build, copy_weights, encoder_of
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.models.word2vec import Word2Vec, Word2VecConfig
from sori.nn.conv import ConvConfig
from sori.text.vocabulary import Vocabulary
from sori.text.wordpiece import WordPiece

WEIGHTS = "weights.safetensors"


VOCABULARY = "vocabulary.json"


CONFIDENCE = "confidence.json"
"""What `sori calibrate` adds to a recogniser."""


_OURS = {CARD, WEIGHTS, VOCABULARY, CONFIDENCE, CERTIFICATE}
"""Files that a model folder has from us alone."""


class ModelCard(Config):
    """What `config.json` holds."""

    system: AnyConfig
    """Kind and configuration of the system."""
    encoder: ReadConfig | None = None
    """Of a recogniser or a classifier: what it reads out."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the programs that wrote the weights."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Where the weights come from: recipe, data, starting point."""
    origin: StoredOrigin = None
    """Of a converted model: settings of its source that have no place here, to be written back."""


class Stored(NamedTuple):
    """A model as it lies on the disk, read but not yet built."""

    model: Model
    place: Path
    """Folder or file."""
    provenance: dict[str, Any]
    certificate: Certificate | None
    """Of a foreign model: how it was read."""


def load(model: str | Path, *, language: str | None = None) -> System:
    """A trained system, ready for use (evaluation mode, on the CPU).

    Args:
        model: a model folder, a run folder, the name of a run under `runs/`, a folder that transformers wrote, a
            fairseq checkpoint (.pt), or a name on the Hugging Face hub.
        language: of a foreign model with several languages: which one.

    Raises:
        FileNotFoundError: there is no such model; lists those that exist.
        ValueError: a file is missing or damaged, or the tensors are not exactly those of the configuration.
    """
    stored = read(model, language=language)
    return assemble(stored.model, origin=str(stored.place))


def assemble(model: Model, *, origin: str) -> System:
    """A system that holds a model's tensors themselves, not copies (evaluation mode, on the CPU).

    Raises:
        ValueError: the tensors are not exactly those of the configuration.
    """
    # Without memory for weights that would be thrown away. A spectrum computes its filters when it is made.
    config = model.encoder or model.system
    empty = isinstance(config, BertConfig) or (
        isinstance(config, Wav2Vec2Config) and isinstance(config.front, ConvConfig)
    )
    with torch.device("meta" if empty else "cpu"):
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
    copy_weights(model.weights, system, origin=origin, assign=True)
    return system.eval()


def read(model: str | Path, *, language: str | None = None) -> Stored:
    """A model of any format, as tensors and settings; arguments and errors as of `load`."""
    place = find(model)
    if place.is_file() or huggingface.is_huggingface(place):
        if place.suffix == ".npz":
            imported = hf_bert.read_original(place)
        else:
            imported = fairseq.read(place) if place.is_file() else huggingface.read(place, language=language)
        return Stored(imported.model, place, {"converted": _account(imported.certificate)}, imported.certificate)
    card = read_card(place)
    vocabulary = _read_vocabulary(place) if isinstance(card.system, CtcConfig) else None
    wordpiece = WordPiece.load(place / VOCABULARY) if isinstance(card.system, BertConfig | ClassifierConfig) else None
    weights = _read_weights(place / WEIGHTS)
    words = read_word_counts(place / VOCABULARY) if isinstance(card.system, Word2VecConfig) else None
    model_read = Model(card.system, card.encoder, vocabulary, weights, card.origin, wordpiece, words)
    return Stored(model_read, place, card.provenance, None)


def save(system: System, folder: str | Path, *, provenance: dict[str, Any] | None = None) -> None:
    """Write a model folder; it appears whole or not at all, in place of a model that was saved there.

    Args:
        system: what to save.
        folder: where to.
        provenance: anything JSON can hold about where the weights come from.

    Raises:
        ValueError: a recogniser without a vocabulary, or the folder holds something else than a model that we saved.
    """
    with whole_folder(Path(folder), may_replace=check_place) as fresh:
        write(model_of(system), fresh, provenance=provenance)


def check_place(folder: Path) -> None:
    """Make sure that saving a model in a folder takes nothing away but a model that we saved there.

    Raises:
        ValueError: the folder holds something else; names it.
    """
    if not os.path.lexists(folder):
        return
    held = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else [folder]
    strange = [path.name for path in held if path.name not in _OURS or path.is_symlink() or not path.is_file()]
    if held and (strange or not _is_card(folder / CARD)):
        raise ValueError(
            f"a model is saved in a new or empty folder, or in place of a model that sori saved; {folder} holds "
            f"{', '.join(strange[:5]) or f'no {CARD} of ours'}. Nothing of it is removed: name another folder, or move "
            "that away"
        )


def _is_card(path: Path) -> bool:
    """Whether this or another version of ours wrote it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(data["system"]["kind"], str) and isinstance(data["versions"]["sori"], str)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def model_of(system: System) -> Model:
    """A system as tensors and settings.

    Raises:
        ValueError: a recogniser without a vocabulary.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in system.state_dict().items()}
    if isinstance(system, OfTexts):
        return _of_texts(system, weights)
    if isinstance(system, Word2Vec):
        return Model(system.config, None, None, weights, None, words=system.vocabulary)
    if not isinstance(system, Ctc):
        return Model(system.config, None, None, weights, None)
    if system.vocabulary is None:
        raise ValueError("the recogniser has no vocabulary, so nobody could read what it writes; set .vocabulary")
    return Model(system.config, encoder_of(system).config, system.vocabulary, weights, None)


def _of_texts(system: OfTexts, weights: dict[str, Tensor]) -> Model:
    bert = bert_of(system)
    if bert.wordpiece is None:
        raise ValueError("the model of texts has no vocabulary, so it could read nothing; set .wordpiece")
    below = bert.config if isinstance(system, Classifier) else None
    return Model(system.config, below, None, weights, None, bert.wordpiece)


def write(model: Model, folder: Path, *, provenance: dict[str, Any] | None = None) -> None:
    """The files of a model in our format, into an empty folder."""
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
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """The card in a model folder.

    Raises:
        ValueError: it cannot be read, or holds what this version does not know.
    """
    path = folder / CARD
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from None
    return ModelCard.from_data(data, origin=str(path))


def describe(model: str | Path) -> str:
    """A model's card as text: size, vocabulary, configuration and where the weights come from, in YAML.

    Raises:
        FileNotFoundError, ValueError: as `load`.
    """
    stored = read(model)
    m = stored.model
    facts: dict[str, Any] = {
        "folder" if stored.place.is_dir() else "file": str(stored.place),
        "parameters": sum(tensor.numel() for tensor in m.weights.values()),
    }
    if m.vocabulary is not None:
        facts["vocabulary"] = " ".join(m.vocabulary.symbols)
    if m.wordpiece is not None:
        facts["vocabulary"] = f"{len(m.wordpiece):,} pieces of words"
    if m.words is not None:
        facts["words"] = len(m.words.words)
    if stored.certificate is None:
        card = read_card(stored.place)
    else:
        card = ModelCard(system=m.system, encoder=m.encoder, provenance=stored.provenance)
    about = card.model_dump(mode="json", exclude_none=True, exclude={"origin"})
    return yaml.safe_dump(facts | about, sort_keys=False, allow_unicode=True)


def versions() -> dict[str, str]:
    """Of everything that could change a number."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("sori", "torch", "numpy", "soxr")}}


def _account(certificate: Certificate) -> dict[str, Any]:
    """A certificate without its list of tensors, for the provenance."""
    return certificate.model_dump(mode="json", exclude={"tensors", "written", "target", "target_format", "outputs"})


def _read_vocabulary(folder: Path) -> Vocabulary:
    if not (folder / VOCABULARY).is_file():
        raise ValueError(f"{folder / VOCABULARY} is missing; without it nobody knows what the classes stand for")
    return Vocabulary.load(folder / VOCABULARY)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path} is missing; a model folder holds {CARD}, {WEIGHTS} and, with text, {VOCABULARY}")
    require_file(path)
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); copy the model folder again") from None
