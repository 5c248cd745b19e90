"""A model in memory, independent of formats: settings, tensors by sori's names, further settings of its source."""

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
"""Systems without frame-level speech representations."""


class Model(NamedTuple):
    """Content of a model in any format."""

    system: EncoderConfig | CtcConfig | NotOfSpeech
    encoder: EncoderConfig | BertConfig | None
    """Encoder of a recogniser or of a text classifier, else None."""
    vocabulary: Vocabulary | None
    """Vocabulary of a recogniser."""
    weights: dict[str, Tensor]
    """Tensors by sori's names."""
    origin: HuggingFaceOrigin | FairseqOrigin | None
    """Settings of the source of a converted model that sori's configuration cannot hold; used when converting back."""
    wordpiece: WordPiece | None = None
    """Vocabulary of a text model."""
    words: WordCounts | None = None
    """Vocabulary of word vectors trained on text."""

    @property
    def encoder_config(self) -> EncoderConfig:
        """Configuration of the encoder, alone or under a head.

        Raises:
            ValueError: The model has no speech encoder: it is a model of words, texts or images.
        """
        config = self.encoder or self.system
        if isinstance(config, NotOfSpeech):
            raise ValueError(  # noqa: TRY004 - the caller passes a model name, not a type
                f"expected an encoder or a recogniser, got a {config.kind}, which has no frame-level representations"
            )
        assert not isinstance(config, CtcConfig)  # noqa: S101 - a recogniser has an encoder
        return config

    @property
    def wav2vec2_config(self) -> Wav2Vec2Config:
        """Configuration of the encoder, after `own_parts` has checked that it is wav2vec 2.0."""
        config = self.encoder_config
        assert isinstance(config, Wav2Vec2Config)  # noqa: S101 - see above
        return config

    @property
    def has_objective(self) -> bool:
        """Whether the model has the quantiser and projections needed for pre-training."""
        return any(is_objective(self.encoder_config, name) for name in self.weights)


class Imported(NamedTuple):
    """A model read from a foreign format, and the certificate of its conversion."""

    model: Model
    certificate: Certificate


def own_parts(model: Model) -> list[str]:
    """List the parts of a model that transformers and fairseq cannot compute; empty for published architectures."""
    if not isinstance(model.encoder_config, Wav2Vec2Config):
        return [f"it is a {model.encoder_config.kind}; only wav2vec 2.0 is supported there"]
    c, ctc, problems = model.wav2vec2_config, model.system if isinstance(model.system, CtcConfig) else None, []
    if not isinstance(c.front, ConvConfig):
        problems.append(f"its front end is spectral ({c.front.kind}), not convolutions over samples")
    if c.targets is not None and ctc is None:
        problems.append("its quantiser takes cepstra as input (targets)")
    if c.conv_blocks is not None:
        problems.append("its blocks are convolutions, not attention (conv_blocks)")
    if c.position_norm:
        problems.append("positions are normalised before the blocks (position_norm)")
    if ctc is not None and ctc.read != "last":
        problems.append(f"its head takes a {ctc.read} of layers as input, not the last layer (read)")
    if ctc is not None and ctc.upsample != 1:
        problems.append(f"its head outputs {ctc.upsample} symbols per frame (upsample)")
    return problems


def refuse(problems: list[str], *, program: str) -> None:
    """Raise an error that lists why a model cannot be written.

    Raises:
        ValueError: There are problems.
    """
    if problems:
        raise ValueError(
            f"this model cannot be written for {program}, which would compute something else:\n  "
            + "\n  ".join(problems)
            + "\nONNX supports any wav2vec 2.0, and any recogniser on it: --format onnx"
        )
