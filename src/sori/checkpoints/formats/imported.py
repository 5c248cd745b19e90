"""A model between formats: settings, tensors by our names, and what its source said beside them."""

from typing import NamedTuple

from sori.checkpoints.formats.certificate import Certificate
from sori.checkpoints.formats.origin import FairseqOrigin, HuggingFaceOrigin
from sori.core.shapes import Tensor
from sori.data.word_counts import WordCounts
from sori.models.bert import BertConfig
from sori.models.classifier import ClassifierConfig
from sori.models.ctc import CtcConfig
from sori.models.encoders import EncoderConfig, is_objective
from sori.models.simclr import SimClrImagesConfig
from sori.models.speech2vec import Speech2VecConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.models.word2vec import Word2VecConfig
from sori.nn.conv import ConvConfig
from sori.text.vocabulary import Vocabulary
from sori.text.wordpiece import WordPiece

NotOfSpeech = Speech2VecConfig | SimClrImagesConfig | BertConfig | ClassifierConfig | Word2VecConfig
"""What gives no vectors of frames of speech."""


class Model(NamedTuple):
    """What any of the formats holds."""

    system: EncoderConfig | CtcConfig | NotOfSpeech
    encoder: EncoderConfig | BertConfig | None
    """Of a recogniser, or of a classifier of texts: what it reads out."""
    vocabulary: Vocabulary | None
    """Of a recogniser."""
    weights: dict[str, Tensor]
    """By our names."""
    origin: HuggingFaceOrigin | FairseqOrigin | None
    """Of a converted model: settings of the source that have no place in ours, to be written back."""
    wordpiece: WordPiece | None = None
    """Of a model of texts."""
    words: WordCounts | None = None
    """Of word vectors learnt from text."""

    @property
    def encoder_config(self) -> EncoderConfig:
        """Of the encoder, alone or under a head.

        Raises:
            ValueError: the model has none: it makes vectors of words, reads texts, or looks at images.
        """
        config = self.encoder or self.system
        if isinstance(config, NotOfSpeech):
            raise ValueError(  # noqa: TRY004 - whoever calls names a model, not a type
                f"expected an encoder or a recogniser, got a {config.kind}, which has no vectors of frames of speech"
            )
        assert not isinstance(config, CtcConfig)  # noqa: S101 - a recogniser has an encoder
        return config

    @property
    def wav2vec2_config(self) -> Wav2Vec2Config:
        """The same, where `own_parts` has made sure of its kind."""
        config = self.encoder_config
        assert isinstance(config, Wav2Vec2Config)  # noqa: S101 - see above
        return config

    @property
    def has_objective(self) -> bool:
        """Whether quantiser and projections are there, which pre-training needs."""
        return any(is_objective(self.encoder_config, name) for name in self.weights)


class Imported(NamedTuple):
    """A foreign model, and the account of how it was read."""

    model: Model
    certificate: Certificate


def own_parts(model: Model) -> list[str]:
    """What a model has that neither transformers nor fairseq could compute, in words; nothing for published layouts."""
    if not isinstance(model.encoder_config, Wav2Vec2Config):
        return [f"it is a {model.encoder_config.kind}; only wav2vec 2.0 is known there"]
    c, ctc, problems = model.wav2vec2_config, model.system if isinstance(model.system, CtcConfig) else None, []
    if not isinstance(c.front, ConvConfig):
        problems.append(f"its front end is a spectrum ({c.front.kind}); only convolutions are known there")
    if c.targets is not None and ctc is None:
        problems.append("its quantiser sees cepstra (targets)")
    if c.position_norm:
        problems.append("positions are normalised before the blocks (position_norm)")
    if ctc is not None and ctc.read != "last":
        problems.append(f"its head reads a {ctc.read} of layers, not the last one (read)")
    if ctc is not None and ctc.upsample != 1:
        problems.append(f"its head writes {ctc.upsample} letters a frame (upsample)")
    return problems


def refuse(problems: list[str], *, program: str) -> None:
    """Say why a model cannot be written.

    Raises:
        ValueError: there are problems; lists them.
    """
    if problems:
        raise ValueError(
            f"this model cannot be written for {program}, which would compute something else:\n  "
            + "\n  ".join(problems)
            + "\nONNX holds any wav2vec 2.0, and any recogniser over one: --format onnx"
        )
