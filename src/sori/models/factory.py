"""Building of models from configurations, and type checks of models."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import nn

from sori.core.shapes import Tensor
from sori.data.word_counts import WordCounts
from sori.models.bert import Bert, BertConfig
from sori.models.classifier import Classifier, ClassifierConfig
from sori.models.ctc import Ctc, CtcConfig
from sori.models.encoders import Encoder, EncoderConfig, train_front, without_objective
from sori.models.encoders import build as build_encoder
from sori.models.simclr import SimClrImages, SimClrImagesConfig
from sori.models.speech2vec import Speech2Vec, Speech2VecConfig
from sori.models.word2vec import Word2Vec, Word2VecConfig
from sori.text.vocabulary import Vocabulary
from sori.text.wordpiece import WordPiece

SystemConfig = Annotated[
    EncoderConfig | CtcConfig | Speech2VecConfig | SimClrImagesConfig | BertConfig | ClassifierConfig,
    Field(discriminator="kind"),
]
"""Settings of models that the loop trains."""


AnyConfig = Annotated[SystemConfig | Word2VecConfig, Field(discriminator="kind")]


ReadConfig = Annotated[EncoderConfig | BertConfig, Field(discriminator="kind")]
"""Settings of the encoder of a recogniser or a classifier."""


OfFrames = Encoder | Ctc
"""Models that produce a vector for each frame of speech."""


OfTexts = Bert | Classifier
"""Text models."""


Looped = OfFrames | Speech2Vec | SimClrImages | OfTexts
"""Models that the loop trains."""


System = Looped | Word2Vec


_MAX_PROBLEMS = 1000
"""Number of tensors named in a message."""


def build(
    config: AnyConfig,
    *,
    encoder: ReadConfig | None = None,
    vocabulary: Vocabulary | None = None,
    wordpiece: WordPiece | None = None,
    objective: bool = True,
    words: WordCounts | None = None,
) -> System:
    """Build a randomly initialised system.

    Args:
        config: settings of the system.
        encoder: settings of the encoder of a recogniser or a classifier.
        vocabulary: vocabulary of a recogniser.
        wordpiece: vocabulary of a text model.
        objective: whether an encoder has the parts used in pre-training only (quantiser and projections).
        words: words and counts of Word2Vec.
    """
    match config:
        case CtcConfig():
            if encoder is None or isinstance(encoder, BertConfig) or vocabulary is None:
                raise ValueError("a recogniser requires an encoder configuration and a vocabulary; one is missing")
            inner = build_encoder(encoder, objective=False)
            # Parameters without gradient are marked, because weight decay and multi-process training depend on it.
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
                raise ValueError("Word2Vec requires the words of its vectors; they are missing")
            return Word2Vec(config, words)
        case _:
            return build_encoder(config, objective=objective)


def _reading(bert: Bert, wordpiece: WordPiece | None) -> Bert:
    if wordpiece is not None and len(wordpiece) != bert.config.num_tokens:
        raise ValueError(
            f"expected a vocabulary of {bert.config.num_tokens} tokens like the model, got {len(wordpiece)}; likely "
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
        raise ValueError("a text classifier requires the configuration of its BERT encoder")  # noqa: TRY004
    below = _reading(Bert(encoder), known)
    below.drop_absent({"pooler"} if config.read == "text" else set())
    return Classifier(config, below)


def encoder_of(system: System) -> Encoder:
    """Return the encoder of a system: a recogniser's, or the pre-trained system itself.

    Raises:
        ValueError: if the system produces vectors of words or images, not of frames.
    """
    system = of_frames(system)
    if not isinstance(system, Ctc):
        return system
    assert isinstance(system.encoder, Encoder)  # noqa: S101 - the only kinds that `build` puts there
    return system.encoder


def of_frames(system: System) -> OfFrames:
    """Return the system if it produces vectors of frames.

    Raises:
        ValueError: if it produces vectors of words or images.
    """
    if isinstance(system, OfTexts):
        raise ValueError(  # noqa: TRY004 - likewise
            f"expected a model of speech, got a text model ({system.config.kind}), which does not process audio; use "
            "it with `sori fill` or `sori classify`"
        )
    if isinstance(system, SimClrImages):
        raise ValueError(  # noqa: TRY004 - likewise
            "expected a model of speech, got an image model (simclr_images), which does not process audio"
        )
    if isinstance(system, Word2Vec):
        raise ValueError(  # noqa: TRY004 - likewise
            "expected a model of speech, got word vectors of text (word2vec), which do not process audio"
        )
    if isinstance(system, Speech2Vec):
        raise ValueError(  # noqa: TRY004 - the caller passes a model by name, not by type
            "expected an encoder or a recogniser, got a speech2vec, which produces vectors of words: use `sori words`"
        )
    return system


def encoder_weights(system: System) -> dict[str, Tensor]:
    """Return the tensors of the encoder without those used in pre-training only, to start a recogniser from."""
    encoder = encoder_of(system)
    return without_objective(encoder.config, encoder.state_dict())


def bert_of(system: OfTexts) -> Bert:
    """Return the BERT of a system: a classifier's, or the pre-trained system itself."""
    if not isinstance(system, Classifier):
        return system
    assert isinstance(system.encoder, Bert)  # noqa: S101 - the only kind that `build` puts there
    return system.encoder


def copy_weights(weights: Mapping[str, Tensor], system: nn.Module, *, origin: str, assign: bool = False) -> None:
    """Load tensors into a system, which must have exactly these tensors.

    Args:
        weights: tensors by name.
        system: system to change in place.
        origin: source of the tensors, for the error message.
        assign: whether to put the tensors themselves into the system instead of copying their values.

    Raises:
        ValueError: if tensors are missing, unknown, or of another shape or type; names all of them.
    """
    require_equal(weights, system.state_dict(), origin=origin)
    system.load_state_dict(weights, assign=assign)


def require_equal(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, origin: str) -> None:
    """Check that tensors have the names, shapes and types of those of a system.

    Args:
        weights: tensors by name.
        wanted: tensors of the system, by name.
        origin: source of the tensors, for the error message.

    Raises:
        ValueError: if tensors are missing, unknown, or of another shape or type; names all of them, up to 1,000.
    """
    problems = [f"missing: {name}" for name in wanted.keys() - weights.keys()]
    problems += [f"unknown: {name}" for name in weights.keys() - wanted.keys()]
    problems += [
        f"{name}: expected {_describe(wanted[name])}, got {_describe(weights[name])}"
        for name in wanted.keys() & weights.keys()
        if _describe(wanted[name]) != _describe(weights[name])
    ]
    if problems:
        raise ValueError(
            f"{origin} does not have the tensors of the configuration; likely those of another model:\n  "
            + "\n  ".join(sorted(problems)[:_MAX_PROBLEMS])
        )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
