"""Models on disk: a folder with `config.json`, `weights.safetensors` and, where there is text, `vocabulary.json`.

Foreign checkpoints (`conversion/`) are read in their place.
"""

import json
import platform
import re
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import safetensors
import safetensors.torch
import torch
import yaml
from pydantic import Field
from torch import nn

from sori.config import Config
from sori.conversion import fairseq, hf_bert, huggingface
from sori.conversion.certificate import Certificate
from sori.conversion.model import Model, NotOfSpeech
from sori.conversion.origin import StoredOrigin
from sori.data.word_counts import WordCounts, read_word_counts
from sori.encoders import Encoder, EncoderConfig, train_front, without_objective
from sori.encoders import build as build_encoder
from sori.files import write_tensors
from sori.nn.conv import ConvConfig
from sori.shapes import Tensor
from sori.systems.bert import Bert, BertConfig
from sori.systems.classifier import Classifier, ClassifierConfig
from sori.systems.ctc import Ctc, CtcConfig
from sori.systems.simclr import SimClrImages, SimClrImagesConfig
from sori.systems.speech2vec import Speech2Vec, Speech2VecConfig
from sori.systems.wav2vec2 import Wav2Vec2Config
from sori.systems.word2vec import Word2Vec, Word2VecConfig
from sori.text import Vocabulary
from sori.wordpiece import WordPiece

CARD, WEIGHTS, VOCABULARY = "config.json", "weights.safetensors", "vocabulary.json"
MODEL = "model"
"""Where a run folder keeps its finished model."""
RUNS = Path("runs")
"""Where models are looked up by name."""

_UNFINISHED = (".partial", ".old")
"""Of folders that exist only while a model is being saved."""
_HUB_NAME = re.compile(r"(?!.*(?:\.\.|--))\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
"""What the hub allows; nothing else reaches a library that makes paths of it."""
_HUB_FILES = ["*.json", "*.safetensors", "pytorch_model*.bin", "adapter.*.bin", "README.md"]

SystemConfig = Annotated[
    EncoderConfig | CtcConfig | Speech2VecConfig | SimClrImagesConfig | BertConfig | ClassifierConfig,
    Field(discriminator="kind"),
]
"""Of what the loop trains."""
AnyConfig = Annotated[SystemConfig | Word2VecConfig, Field(discriminator="kind")]
ReadConfig = Annotated[EncoderConfig | BertConfig, Field(discriminator="kind")]
"""Settings of what a recogniser or a classifier reads out."""
OfFrames = Encoder | Ctc
"""What gives a vector for each frame of speech."""
OfTexts = Bert | Classifier
"""What reads pieces of words."""
Looped = OfFrames | Speech2Vec | SimClrImages | OfTexts
"""What the loop trains."""
System = Looped | Word2Vec


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


def build(
    config: AnyConfig,
    *,
    encoder: ReadConfig | None = None,
    vocabulary: Vocabulary | None = None,
    wordpiece: WordPiece | None = None,
    objective: bool = True,
    words: WordCounts | None = None,
) -> System:
    """A system with random weights.

    Args:
        config: of the system.
        encoder: of the encoder below a recogniser or a classifier.
        vocabulary: of a recogniser.
        wordpiece: of a model of texts.
        objective: of an encoder: with what pre-training needs (quantiser and projections), or without.
        words: of word vectors learnt from text.
    """
    match config:
        case CtcConfig():
            if encoder is None or isinstance(encoder, BertConfig) or vocabulary is None:
                raise ValueError("a recogniser needs an encoder's configuration and a vocabulary; one is missing")
            inner = build_encoder(encoder, objective=False)
            # What gets no gradient says so, or weight decay and several processes would stumble over it.
            train_front(inner, trained=config.feature_gradient != 0)
            system = Ctc(config, inner, num_classes=len(vocabulary))
            system.vocabulary = vocabulary
            return system
        case Speech2VecConfig():
            return Speech2Vec(config)
        case SimClrImagesConfig():
            return SimClrImages(config)
        case BertConfig() | ClassifierConfig():
            return _build_of_texts(config, encoder, wordpiece)
        case Word2VecConfig():
            if words is None:
                raise ValueError("word vectors need the words they belong to; they are missing")
            return Word2Vec(config, words)
        case _:
            return build_encoder(config, objective=objective)


def _reading(bert: Bert, wordpiece: WordPiece | None) -> Bert:
    if wordpiece is not None and len(wordpiece) != bert.config.num_tokens:
        raise ValueError(
            f"expected a vocabulary of {bert.config.num_tokens} tokens, as the model has, got {len(wordpiece)}; likely "
            "that of another model"
        )
    bert.wordpiece = wordpiece
    return bert


def _build_of_texts(
    config: BertConfig | ClassifierConfig, encoder: ReadConfig | None, known: WordPiece | None
) -> OfTexts:
    if isinstance(config, BertConfig):
        return _reading(Bert(config), known)
    if not isinstance(encoder, BertConfig):
        raise ValueError("a classifier of texts needs the configuration of a BERT below it")  # noqa: TRY004
    below = _reading(Bert(encoder), known)
    below.drop_absent({"pooler"} if config.read == "text" else set())
    return Classifier(config, below)


def encoder_of(system: System) -> Encoder:
    """The encoder in a system: a recogniser's, or the pre-trained system itself.

    Raises:
        ValueError: it makes vectors of words, or of images, not of frames.
    """
    system = of_frames(system)
    if not isinstance(system, Ctc):
        return system
    assert isinstance(system.encoder, Encoder)  # noqa: S101 - the only kinds that `build` puts there
    return system.encoder


def of_frames(system: System) -> OfFrames:
    """The same system, as what it must be.

    Raises:
        ValueError: it makes vectors of words, or of images, not of frames.
    """
    if isinstance(system, OfTexts):
        raise ValueError(  # noqa: TRY004 - likewise
            f"expected a model of speech, got one of texts ({system.config.kind}), which hears nothing; it is for "
            "`sori fill` and `sori classify`"
        )
    if isinstance(system, SimClrImages):
        raise ValueError(  # noqa: TRY004 - likewise
            "expected a model of speech, got one of images (simclr_images), which hears nothing"
        )
    if isinstance(system, Word2Vec):
        raise ValueError(  # noqa: TRY004 - likewise
            "expected a model of speech, got one of written words (word2vec), which hears nothing"
        )
    if isinstance(system, Speech2Vec):
        raise ValueError(  # noqa: TRY004 - whoever calls names a model, not a type
            "expected an encoder or a recogniser, got a speech2vec, which makes vectors of whole words: `sori words`"
        )
    return system


def encoder_weights(system: System) -> dict[str, Tensor]:
    """The tensors of the encoder without what only pre-training needs: what a recogniser starts from."""
    encoder = encoder_of(system)
    return without_objective(encoder.config, encoder.state_dict())


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
    partial, old = (folder.with_name(folder.name + suffix) for suffix in _UNFINISHED)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(model_of(system), partial, provenance=provenance)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


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


def bert_of(system: OfTexts) -> Bert:
    """The BERT in a system: a classifier's, or the pre-trained system itself."""
    if not isinstance(system, Classifier):
        return system
    assert isinstance(system.encoder, Bert)  # noqa: S101 - the only kind that `build` puts there
    return system.encoder


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


def copy_weights(weights: Mapping[str, Tensor], system: nn.Module, *, origin: str, assign: bool = False) -> None:
    """Fill a system with tensors; exactly its own, never a part of them.

    Args:
        weights: by name.
        system: filled in place.
        origin: where the tensors come from, for the error message.
        assign: put the tensors themselves into the system instead of copying their numbers.

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
    system.load_state_dict(weights, assign=assign)


def find(model: str | Path) -> Path:
    """Where a model given by folder, file, run folder, name under `runs/` or name on the Hugging Face hub lies.

    Raises:
        FileNotFoundError: lists the models that exist.
        OSError: it is to be downloaded, and that fails.
    """
    if Path(model).is_file():
        return Path(model)
    for folder in (Path(model), RUNS / model):
        for place in (folder, folder / MODEL):
            if (place / CARD).is_file():
                return place
    if Path(model).is_dir() or (RUNS / model).is_dir():
        raise FileNotFoundError(
            f"{model} holds no finished model (no {CARD}); if it is a run, repeat its command to finish it"
        )
    if _HUB_NAME.fullmatch(str(model)) and not Path(model).parent.is_dir():
        return _download(str(model))
    known = list_models()
    listed = (
        f"models here: {', '.join(known)}" if known else f"there are none under {RUNS}/ yet; `sori train` makes one"
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
            f"there is no folder {name}, and the Hugging Face hub did not give a model of that name: {reason}. "
            "Is the name right, is there a network, and is the model open to you?"
        ) from None


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
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); copy the model folder again") from None


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
