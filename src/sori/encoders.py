"""The encoders there are: which settings there can be, and which class each kind of them stands for."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeGuard, get_args

from pydantic import Field

from sori.shapes import Tensor
from sori.systems.cpc import Cpc, CpcConfig
from sori.systems.simclr import SimClr, SimClrConfig
from sori.systems.vq_wav2vec import VqWav2Vec, VqWav2VecConfig
from sori.systems.wav2vec import Wav2Vec, Wav2VecConfig
from sori.systems.wav2vec2 import Wav2Vec2, Wav2Vec2Config

EncoderConfig = Annotated[
    CpcConfig | SimClrConfig | Wav2VecConfig | VqWav2VecConfig | Wav2Vec2Config, Field(discriminator="kind")
]
"""Settings of any encoder of speech, told apart by `kind`."""
Encoder = Cpc | SimClr | Wav2Vec | VqWav2Vec | Wav2Vec2
"""Any encoder of speech: waveform in, frames out (`contracts.FrameEncoder`), trained by its own objective."""
Quantizing = VqWav2Vec | Wav2Vec2
"""Encoders with a quantiser, unless they were read without it."""


def build(config: EncoderConfig, *, objective: bool = True) -> Encoder:
    """An encoder with random weights.

    Args:
        config: its settings.
        objective: with what only pre-training needs (quantiser, predictors, projections), or without.
    """
    made: Callable[[Any], Encoder] = class_of(config)
    encoder = made(config)
    if not objective:
        for part in encoder.OBJECTIVE:
            delattr(encoder, part)
    return encoder


def settings_of(config: EncoderConfig, changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Changes that concern an encoder, and the names of settings that only other kinds of encoders have.

    A name that no encoder knows stays among the former, to be refused.
    """
    others = {name for kind in get_args(get_args(EncoderConfig)[0]) for name in kind.model_fields}
    foreign = [name for name in changes if name in others - set(type(config).model_fields)]
    return {name: value for name, value in changes.items() if name not in foreign}, foreign


def has_codes(encoder: Encoder) -> TypeGuard[Quantizing]:
    """Whether an encoder still has a quantiser: it then has `codes`, which gives the units of every frame."""
    return isinstance(encoder, Quantizing) and hasattr(encoder, "quantizer")


def without_objective(config: EncoderConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an encoder but for those that only pre-training needs: what a recogniser starts from."""
    return {name: tensor for name, tensor in weights.items() if not is_objective(config, name)}


def is_objective(config: EncoderConfig, name: str) -> bool:
    """Whether a tensor of an encoder belongs to what only pre-training needs."""
    return name.split(".", maxsplit=1)[0] in class_of(config).OBJECTIVE


def class_of(config: EncoderConfig) -> type[Encoder]:
    """The one place where the kind of an encoder's settings decides on a class."""
    match config:
        case Wav2Vec2Config():
            return Wav2Vec2
        case CpcConfig():
            return Cpc
        case SimClrConfig():
            return SimClr
        case Wav2VecConfig():
            return Wav2Vec
        case VqWav2VecConfig():
            return VqWav2Vec
