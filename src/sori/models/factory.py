"""Which class a configuration stands for, and what kind of model one has."""

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


def bert_of(system: OfTexts) -> Bert:
    """The BERT in a system: a classifier's, or the pre-trained system itself."""
    if not isinstance(system, Classifier):
        return system
    assert isinstance(system.encoder, Bert)  # noqa: S101 - the only kind that `build` puts there
    return system.encoder


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


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
