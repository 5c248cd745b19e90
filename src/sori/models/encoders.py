"""All speech encoders: the types of their settings, and the class of each."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeGuard, get_args

from pydantic import Field

from sori.core.shapes import Float, Tensor
from sori.models.code_bert import CodeBert, CodeBertConfig
from sori.models.cpc import Cpc, CpcConfig
from sori.models.simclr import SimClr, SimClrConfig
from sori.models.vq_wav2vec import VqWav2Vec, VqWav2VecConfig
from sori.models.wav2vec import Wav2Vec, Wav2VecConfig
from sori.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config

VqCodeBertConfig = CodeBertConfig[VqWav2VecConfig]
"""Settings of BERT over the units of a vq-wav2vec."""
EncoderConfig = Annotated[
    CpcConfig | SimClrConfig | Wav2VecConfig | VqWav2VecConfig | VqCodeBertConfig | Wav2Vec2Config,
    Field(discriminator="kind"),
]
"""Settings of any speech encoder, distinguished by `kind`."""
Encoder = Cpc | SimClr | Wav2Vec | VqWav2Vec | CodeBert | Wav2Vec2
"""Any speech encoder: waveform in, frames out (`protocols.FrameEncoder`), trained by its own objective."""
Quantizing = VqWav2Vec | CodeBert | Wav2Vec2
"""Encoders with a quantiser, unless they were loaded without it."""
_NOT_FOR_UNITS = ("predictors", "aggregator")
"""Parts of a vq-wav2vec that its units do not depend on."""


def build(config: EncoderConfig, *, objective: bool = True) -> Encoder:
    """Build a randomly initialised encoder.

    Args:
        config: settings of the encoder.
        objective: whether to include the parts used in pre-training only (quantiser, predictors, projections).
    """
    encoder: Encoder
    if isinstance(config, CodeBertConfig):
        units = VqWav2Vec(config.units)
        for part in _NOT_FOR_UNITS:
            delattr(units, part)
        encoder = CodeBert(config, units)
    else:
        made: Callable[[Any], Encoder] = class_of(config)
        encoder = made(config)
    if not objective:
        for part in encoder.OBJECTIVE:
            delattr(encoder, part)
    return encoder


def settings_of(config: EncoderConfig, changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split changes into those for an encoder, and names of settings that only other kinds of encoders have.

    A name that no encoder has is among the former, so that it is reported as an error later.
    """
    others = {name for kind in get_args(get_args(EncoderConfig)[0]) for name in kind.model_fields}
    foreign = [name for name in changes if name in others - set(type(config).model_fields)]
    return {name: value for name, value in changes.items() if name not in foreign}, foreign


def has_units(encoder: Encoder) -> TypeGuard[Quantizing]:
    """Return whether an encoder has its quantiser, and thus `units`, which returns the units of every frame."""
    return isinstance(encoder, CodeBert) or (isinstance(encoder, Quantizing) and hasattr(encoder, "quantizer"))


def codebook_of(encoder: Quantizing) -> Float[Tensor, "group entry dim"]:
    """Return the codebook of an encoder; a single group if all groups share their entries."""
    owner = encoder.front if isinstance(encoder, CodeBert) else encoder
    assert isinstance(owner, VqWav2Vec | Wav2Vec2)  # noqa: S101 - BERT has the units of a vq-wav2vec, see `build`
    return owner.quantizer.codebook.detach()


def take_units(system: CodeBert, weights: Mapping[str, Tensor], config: EncoderConfig) -> None:
    """Copy into BERT the units of a vq-wav2vec, or those of another BERT with its vocabulary.

    Args:
        system: BERT to change in place.
        weights: tensors of the model with the units.
        config: settings of that model.

    Raises:
        ValueError: if that model is of another kind, or its units have other settings than the system expects.
    """
    own = system.config.units
    match config:
        case VqWav2VecConfig() if config == own:
            parts = {name: t for name, t in weights.items() if name.split(".")[0] not in _NOT_FOR_UNITS}
            system.front.load_state_dict(parts)  # type: ignore[attr-defined]
        case CodeBertConfig() if config.units == own and config.num_tokens == system.config.num_tokens:
            system.front.load_state_dict(  # type: ignore[attr-defined]
                {name.removeprefix("front."): t for name, t in weights.items() if name.startswith("front.")}
            )
            system.token_of.copy_(weights["token_of"])
        case _:
            raise ValueError(
                f"expected a vq_wav2vec whose settings are those of `system.units`, got a {config.kind}; start BERT "
                "over units from the vq-wav2vec that produces the units: `--init VQ_WAV2VEC`"
            )


def random_initialisation(encoder: Encoder) -> Encoder:
    """Build a randomly initialised encoder of the same settings; BERT over units keeps its units and vocabulary."""
    fresh = build(encoder.config, objective=False)
    if isinstance(fresh, CodeBert):
        take_units(fresh, encoder.state_dict(), encoder.config)
    return fresh


def train_front(encoder: Encoder, *, trained: bool) -> None:
    """Set whether a recogniser trains its encoder's front end; units are never trained."""
    encoder.front.requires_grad_(trained and not isinstance(encoder, CodeBert))  # type: ignore[union-attr]


def without_objective(config: EncoderConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an encoder without those used in pre-training only, to start a recogniser from."""
    return {name: tensor for name, tensor in weights.items() if not is_objective(config, name)}


def is_objective(config: EncoderConfig, name: str) -> bool:
    """Return whether a tensor of an encoder belongs to a part used in pre-training only."""
    return name.split(".", maxsplit=1)[0] in class_of(config).OBJECTIVE


def class_of(config: EncoderConfig) -> type[Encoder]:
    """Return the class of an encoder, by the kind of its settings."""
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
        case CodeBertConfig():
            return CodeBert
