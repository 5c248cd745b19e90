"""Convert config.json and preprocessor_config.json of Hugging Face to sori's settings and back."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from sori.checkpoints.formats.foreign_json import checked, read_if_there
from sori.checkpoints.formats.hf_schemas import Kind, Preprocessor, Processor, Wav2Vec2Fields
from sori.checkpoints.formats.imported import Model, own_parts, refuse
from sori.checkpoints.formats.origin import HuggingFaceOrigin
from sori.core.audio import SAMPLE_RATE
from sori.core.foreign_values import shown
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.mask import MaskConfig

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
Architecture = Literal["Wav2Vec2ForPreTraining", "Wav2Vec2Model", "Wav2Vec2ForCTC"]
ARCHITECTURES: tuple[Architecture, ...] = ("Wav2Vec2ForPreTraining", "Wav2Vec2Model", "Wav2Vec2ForCTC")

_SAME = {
    "dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "ffn_dim": "intermediate_size",
    "pre_norm": "do_stable_layer_norm",
    "position_kernel": "num_conv_pos_embeddings",
    "position_groups": "num_conv_pos_embedding_groups",
    "dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "input_dropout": "feat_proj_dropout",
    "target_dropout": "feat_quantizer_dropout",
    "layerdrop": "layerdrop",
    "num_groups": "num_codevector_groups",
    "num_codes": "num_codevectors_per_group",
    "code_dim": "codevector_dim",
    "final_dim": "proj_codevector_dim",
    "num_negatives": "num_negatives",
    "temperature": "contrastive_logits_temperature",
    "diversity_weight": "diversity_loss_weight",
}
"""Fields of equal meaning: sori's name, transformers' name."""
_FIXED = {"hidden_act": "gelu", "feat_extract_activation": "gelu", "layer_norm_eps": 1e-5, "add_adapter": False}
"""Fields of which sori supports only one value."""
_OF_THE_SOURCE = {"pad_token_id", "bos_token_id", "eos_token_id", "ctc_zero_infinity", "final_dropout"}
"""Fields that keep the source's value."""
_NORMALIZE_FLOOR = 1e-7
"""Added to the variance by its feature extractor; fairseq adds 1e-5."""


class Settings(NamedTuple):
    """Settings of both files, converted to sori's configuration."""

    architecture: Architecture
    encoder: Wav2Vec2Config
    ctc: CtcConfig | None
    num_classes: int
    blank: int | None
    """Class of the blank; None: that of the tokenizer's pad token."""
    normalisation: str
    """Description for the certificate."""


def read_settings(c: Wav2Vec2Fields, preprocessor: Preprocessor | None, *, origin: str) -> Settings:
    """Convert the settings of a model.

    Args:
        c: Content of config.json.
        preprocessor: Settings of the feature extractor, if a file has them.
        origin: Folder name for messages.

    Raises:
        ValueError: The model has an unsupported part; the message names it.
    """
    _refuse_foreign_parts(c, origin)
    front, normalisation = _front(c, preprocessor, origin)
    masks = c.apply_spec_augment
    mask = MaskConfig(
        time_prob=c.mask_time_prob if masks else 0.0,
        time_length=c.mask_time_length,
        channel_prob=c.mask_feature_prob if masks else 0.0,
        channel_length=c.mask_feature_length,
    )
    architecture = architecture_of(c, origin=origin)
    is_ctc = architecture == "Wav2Vec2ForCTC"
    fields = {ours: getattr(c, theirs) for ours, theirs in _SAME.items()}
    fields |= {"front": front, "adapter_dim": c.adapter_attn_dim or 0, "mask": MaskConfig() if is_ctc else mask}
    encoder = Wav2Vec2Config.from_data(fields, origin=origin)
    ctc = CtcConfig(mask=mask) if is_ctc else None
    return Settings(architecture, encoder, ctc, c.vocab_size, c.pad_token_id, normalisation)


def architecture_of(config: Kind, *, origin: str) -> Architecture:
    """Return the architecture of a model.

    Raises:
        ValueError: It is of another kind; the message names it.
    """
    named = (config.architectures or ["Wav2Vec2Model"])[0]
    for architecture in ARCHITECTURES:
        if config.model_type == "wav2vec2" and named == architecture:
            return architecture
    raise ValueError(
        f"{origin}: expected a wav2vec 2.0 model ({', '.join(ARCHITECTURES)}), got model_type "
        f"{shown(config.model_type)}, architecture {shown(named)}; other architectures cannot be read"
    )


def _refuse_foreign_parts(c: Wav2Vec2Fields, origin: str) -> None:
    problems = [
        f"{name} is {shown(getattr(c, name))}, sori supports only {value!r}"
        for name, value in _FIXED.items()
        if getattr(c, name) != value
    ]
    if len(set(c.conv_dim)) != 1:
        problems.append(f"conv_dim is {c.conv_dim}, sori supports only the same number of channels in each layer")
    if c.adapter_attn_dim and not c.do_stable_layer_norm:
        problems.append("adapter_attn_dim without do_stable_layer_norm: transformers ignores these adapters")
    if problems:
        raise ValueError(f"{origin} cannot be read, as sori would compute something else:\n  " + "\n  ".join(problems))


def _front(c: Wav2Vec2Fields, preprocessor: Preprocessor | None, origin: str) -> tuple[ConvConfig, str]:
    if preprocessor is None:
        normalize = c.feat_extract_norm == "layer"
        source = f"as the published models of this kind; no {PREPROCESSOR}"
    else:
        if preprocessor.sampling_rate != SAMPLE_RATE:
            raise ValueError(
                f"{origin} expects audio at {preprocessor.sampling_rate} Hz, but sori processes all audio at "
                f"{SAMPLE_RATE} Hz: its output would be wrong"
            )
        normalize, source = preprocessor.do_normalize, "its feature extractor"
    front = ConvConfig(
        norm=c.feat_extract_norm,
        bias=c.conv_bias,
        dim=c.conv_dim[0],
        kernels=tuple(c.conv_kernel),
        strides=tuple(c.conv_stride),
        normalize=normalize,
        normalize_floor=_NORMALIZE_FLOOR if normalize else ConvConfig().normalize_floor,
    )
    return front, f"{'mean 0, variance 1' if normalize else 'none'} ({source})"


def read_preprocessor(folder: Path) -> tuple[Any, Preprocessor | None]:
    """Read the settings of the feature extractor, as data and validated; None if no file has them.

    transformers 5 stores them in processor_config.json, and reads that file first.

    Raises:
        ValueError: A file is damaged, or a field is of another type.
    """
    whole = read_if_there(folder / PROCESSOR)
    if whole is not None:
        nested = checked(Processor, whole, folder / PROCESSOR).feature_extractor
        if nested is not None:
            return whole["feature_extractor"], nested
    alone = read_if_there(folder / PREPROCESSOR)
    return alone, None if alone is None else checked(Preprocessor, alone, folder / PREPROCESSOR)


def write_settings(model: Model, architecture: Architecture) -> dict[str, Any]:
    """Return config.json for a model; fields that sori's configuration cannot hold keep the source's values.

    Raises:
        ValueError: The model has parts that transformers does not support; the message names them.
    """
    refuse(own_parts(model), program="transformers")
    c = model.wav2vec2_config
    front, ctc = c.front, model.system if isinstance(model.system, CtcConfig) else None
    if c.adapter_dim and not c.pre_norm:
        refuse(["it has adapters in post-norm blocks"], program="transformers")
    assert isinstance(front, ConvConfig)  # noqa: S101 - checked above
    mask = ctc.mask if ctc else c.mask
    fields: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": "wav2vec2",
        **{theirs: getattr(c, ours) for ours, theirs in _SAME.items()},
        **_FIXED,
        "feat_extract_norm": front.norm,
        "conv_dim": [front.dim] * len(front.kernels),
        "conv_kernel": list(front.kernels),
        "conv_stride": list(front.strides),
        "conv_bias": front.bias,
    }
    if c.adapter_dim:
        fields["adapter_attn_dim"] = c.adapter_dim
    if model.vocabulary is not None:
        fields |= {"vocab_size": len(model.vocabulary), "ctc_zero_infinity": True, "final_dropout": 0.0}
        fields |= {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    source = _source_fields(model)
    if not source or source.get("apply_spec_augment", True):
        fields |= {"mask_time_prob": mask.time_prob, "mask_time_length": mask.time_length}
        fields |= {"mask_feature_prob": mask.channel_prob, "mask_feature_length": mask.channel_length}
    if not source:
        return fields | {"num_feat_extract_layers": len(front.kernels)}
    # Do not write fields that the source leaves out and that have their default.
    implied = {name for name, value in fields.items() if name not in source and _defaults().get(name, ...) == value}
    return {**source, **{name: value for name, value in fields.items() if name not in implied | _OF_THE_SOURCE}}


def write_preprocessor(model: Model) -> dict[str, Any]:
    """Return preprocessor_config.json for a model."""
    front = model.wav2vec2_config.front
    assert isinstance(front, ConvConfig)  # noqa: S101 - `write_settings` refuses others
    before = (model.origin.preprocessor or {}) if isinstance(model.origin, HuggingFaceOrigin) else {}
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": front.norm == "layer",
        **before,
        "sampling_rate": SAMPLE_RATE,
        "do_normalize": front.normalize,
    }


def _defaults() -> dict[str, Any]:
    return {name: field.get_default(call_default_factory=True) for name, field in Wav2Vec2Fields.model_fields.items()}


def _source_fields(model: Model) -> dict[str, Any]:
    return dict(model.origin.config) if isinstance(model.origin, HuggingFaceOrigin) else {}
