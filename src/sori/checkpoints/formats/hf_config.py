"""Convert config.json and preprocessor_config.json of Hugging Face to sori's settings and back."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sori.checkpoints.formats.imported import Model, own_parts, refuse
from sori.checkpoints.formats.origin import HuggingFaceOrigin
from sori.core.audio import SAMPLE_RATE
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.mask import MaskConfig

Architecture = Literal["Wav2Vec2ForPreTraining", "Wav2Vec2Model", "Wav2Vec2ForCTC"]
ARCHITECTURES: tuple[Architecture, ...] = ("Wav2Vec2ForPreTraining", "Wav2Vec2Model", "Wav2Vec2ForCTC")

_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "feat_extract_norm": "group",
    "conv_dim": [512] * 7,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
    "adapter_attn_dim": None,
    "add_adapter": False,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "feat_proj_dropout": 0.0,
    "feat_quantizer_dropout": 0.0,
    "layerdrop": 0.1,
    "apply_spec_augment": True,
    "mask_time_prob": 0.05,
    "mask_time_length": 10,
    "mask_feature_prob": 0.0,
    "mask_feature_length": 10,
    "num_codevector_groups": 2,
    "num_codevectors_per_group": 320,
    "codevector_dim": 256,
    "proj_codevector_dim": 256,
    "num_negatives": 100,
    "contrastive_logits_temperature": 0.1,
    "diversity_loss_weight": 0.1,
    "vocab_size": 32,
    "pad_token_id": 0,
}
"""Defaults of missing fields (transformers 5)."""
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
    blank: int
    normalisation: str
    """Description for the certificate."""


def read_settings(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None, *, origin: str) -> Settings:
    """Convert the settings of a model.

    Args:
        config: Content of config.json.
        preprocessor: Content of preprocessor_config.json, if there is one.
        origin: Folder name for messages.

    Raises:
        ValueError: The model is of another kind, or has an unsupported part; the message names it.
    """
    kind, named = config.get("model_type"), (config.get("architectures") or ["Wav2Vec2Model"])[0]
    if kind != "wav2vec2" or named not in ARCHITECTURES:
        raise ValueError(
            f"{origin}: expected a wav2vec 2.0 model ({', '.join(ARCHITECTURES)}), got model_type {kind!r}, "
            f"architecture {named!r}; other architectures cannot be read"
        )
    c = {**_DEFAULTS, **config}
    _refuse_foreign_parts(c, origin)
    front, normalisation = _front(c, preprocessor, origin)
    masks = c["apply_spec_augment"]
    mask = MaskConfig(
        time_prob=c["mask_time_prob"] if masks else 0.0,
        time_length=c["mask_time_length"],
        channel_prob=c["mask_feature_prob"] if masks else 0.0,
        channel_length=c["mask_feature_length"],
    )
    is_ctc = named == "Wav2Vec2ForCTC"
    encoder = Wav2Vec2Config(
        front=front,
        adapter_dim=c["adapter_attn_dim"] or 0,
        mask=MaskConfig() if is_ctc else mask,
        **{ours: c[theirs] for ours, theirs in _SAME.items()},
    )
    ctc = CtcConfig(mask=mask) if is_ctc else None
    return Settings(named, encoder, ctc, c["vocab_size"], c["pad_token_id"] or 0, normalisation)


def _refuse_foreign_parts(c: Mapping[str, Any], origin: str) -> None:
    different = {name: value for name, value in _FIXED.items() if c[name] != value}
    problems = [f"{name} is {c[name]!r}, sori supports only {value!r}" for name, value in different.items()]
    if len(set(c["conv_dim"])) != 1:
        problems.append(f"conv_dim is {c['conv_dim']}, sori supports only the same number of channels in each layer")
    if c["adapter_attn_dim"] and not c["do_stable_layer_norm"]:
        problems.append("adapter_attn_dim without do_stable_layer_norm: transformers ignores these adapters")
    if problems:
        raise ValueError(f"{origin} cannot be read, as sori would compute something else:\n  " + "\n  ".join(problems))


def _front(c: Mapping[str, Any], preprocessor: Mapping[str, Any] | None, origin: str) -> tuple[ConvConfig, str]:
    if preprocessor is None:
        normalize = c["feat_extract_norm"] == "layer"
        source = "as the published models of this kind; no preprocessor_config.json"
    else:
        if (rate := preprocessor.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
            raise ValueError(
                f"{origin} expects audio at {rate} Hz, but sori processes all audio at {SAMPLE_RATE} Hz: its output "
                "would be wrong"
            )
        normalize, source = preprocessor.get("do_normalize", True), "preprocessor_config.json"
    front = ConvConfig(
        norm=c["feat_extract_norm"],
        bias=c["conv_bias"],
        dim=c["conv_dim"][0],
        kernels=tuple(c["conv_kernel"]),
        strides=tuple(c["conv_stride"]),
        normalize=normalize,
        normalize_floor=_NORMALIZE_FLOOR if normalize else ConvConfig().normalize_floor,
    )
    return front, f"{'mean 0, variance 1' if normalize else 'none'} ({source})"


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
    implied = {name for name, value in fields.items() if name not in source and _DEFAULTS.get(name, ...) == value}
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


def _source_fields(model: Model) -> dict[str, Any]:
    return dict(model.origin.config) if isinstance(model.origin, HuggingFaceOrigin) else {}
