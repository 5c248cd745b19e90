"""Convert the settings of a fairseq checkpoint to sori's and back. Fields and defaults: `fairseq_fields.py`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sori.checkpoints.formats.fairseq_fields import (
    MASK,
    PARTS,
    SAME,
    TRAINING,
    TUNED,
    Architecture,
    architecture,
    kind_of,
    loss_weights,
    other_kind,
    resolved,
    resolved_head,
    sections,
)
from sori.checkpoints.formats.imported import Model, own_parts, refuse
from sori.checkpoints.formats.origin import FairseqOrigin
from sori.core.audio import SAMPLE_RATE
from sori.core.foreign_values import shown
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.mask import MaskConfig

_FOREIGN = ("target_glu.", "project_inp.", "input_quantizer.", "weight_proj.0.", "conv_module.", "adapter_layer.")
"""Unsupported modules, by parts of the names of their tensors."""


class Settings(NamedTuple):
    """Settings of a checkpoint, converted to sori's configuration."""

    architecture: Architecture
    encoder: Wav2Vec2Config
    ctc: CtcConfig | None
    has_objective: bool
    """Whether there is a quantiser: not in a recogniser, nor with continuous targets."""
    normalisation: str
    """Description for the certificate."""
    remarks: tuple[str, ...]
    sections: dict[str, Any]
    """The original settings, as plain data."""


def read_settings(checkpoint: Mapping[str, Any], tensors: Sequence[str], *, origin: str) -> Settings:
    """Convert the settings of a checkpoint.

    Args:
        checkpoint: Checkpoint with `cfg` or `args`.
        tensors: Names of the tensors, which also identify the kind of model.
        origin: File name for messages.

    Raises:
        ValueError: The model is of another kind, or has an unsupported part; the message names it.
    """
    outer = sections(settings_in(checkpoint, origin=origin))
    kind = architecture(outer["model"], tensors, origin=origin)
    inner = _encoder_sections(outer, origin) if kind == "wav2vec_ctc" else outer
    c = resolved(inner["model"], origin=origin)
    head: dict[str, Any] = {}
    if kind == "wav2vec_ctc":
        head = resolved_head(outer["model"], c, origin=origin)
        c |= {name: head[name_outside] for name, name_outside in TUNED.items()}
    _refuse_foreign_parts(c, head, tensors, origin)
    normalize, source = normalisation(outer, inner, origin)
    front = {
        "kind": "conv",
        "norm": "layer" if c["extractor_mode"] == "layer_norm" else "group",
        "bias": c["conv_bias"],
        "dim": c["conv_feature_layers"][0][0],
        "kernels": tuple(kernel for _, kernel, _ in c["conv_feature_layers"]),
        "strides": tuple(stride for *_, stride in c["conv_feature_layers"]),
        "normalize": normalize,
    }
    fields = {ours: c[theirs] for ours, theirs in SAME.items()}
    fields |= dict(zip(("gumbel_start", "gumbel_end", "gumbel_decay"), c["latent_temp"], strict=True))
    mask = MaskConfig(**{ours: c[theirs] for ours, theirs in MASK.items()})
    ctc = None
    if kind == "wav2vec_ctc":
        if not head["apply_mask"]:
            mask = mask.model_copy(update={"time_prob": 0.0, "channel_prob": 0.0})
        gradient = fields.pop("feature_gradient")  # that of fine-tuning; that of pre-training is not stored
        ctc = CtcConfig(mask=mask, freeze_steps=head["freeze_finetune_updates"], feature_gradient=gradient)
    else:
        diversity, penalty = loss_weights(section(outer, "criterion"), origin=origin)
        fields |= {"mask": mask, "diversity_weight": diversity, "feature_penalty": penalty}
    return Settings(
        kind,
        Wav2Vec2Config.from_data({"front": front, **fields}, origin=origin),
        ctc,
        has_objective=ctc is None and bool(c["quantize_targets"]),
        normalisation=f"{'mean 0, variance 1' if normalize else 'none'} ({source})",
        remarks=tuple(_remarks({**c, "final_dropout": 0.0, **head})),
        sections=outer,
    )


def settings_in(checkpoint: Mapping[str, Any], *, origin: str) -> Mapping[str, Any]:
    """Return `cfg` of a newer file, `args` of an older one.

    Raises:
        ValueError: The file has neither.
    """
    settings = checkpoint.get("cfg") or checkpoint.get("args")
    if isinstance(settings, Mapping):
        return settings
    raise ValueError(
        f"{origin} holds tensors without settings: expected `cfg` or `args` beside `model`, got "
        f"{', '.join(sorted(map(str, checkpoint)))}. Likely a stripped file; get the original"
    )


def _encoder_sections(outer: Mapping[str, Any], origin: str) -> dict[str, Any]:
    inner = outer["model"].get("w2v_args")
    if not isinstance(inner, dict):
        raise ValueError(  # noqa: TRY004 - a fault of the file
            f"{origin} does not describe its encoder (w2v_args is missing); likely it was not saved by fairseq's own "
            "training. Get the original file"
        )
    if (named := inner["model"].get("_name")) not in (None, "wav2vec2"):
        raise other_kind(kind_of(str(named)), f"its encoder is {named!r}", origin=origin)
    return inner


def section(sections: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of settings; empty if there is none.

    Raises:
        ValueError: It is no section.
    """
    found = sections.get(name) or {}  # fairseq empties some (`criterion: null`)
    if not isinstance(found, dict):
        raise ValueError(  # noqa: TRY004 - a fault of the file
            f"expected a section `{name}` in the settings, got {shown(found)}; likely they were changed by hand"
        )
    return found


def _remarks(c: Mapping[str, Any]) -> list[str]:
    return [
        f"trained with {name} = {shown(c[name])}, sori trains with {value!r}; the encoder's output is the same"
        for name, value in {**TRAINING, "final_dropout": 0.0}.items()
        if c[name] != value
    ]


def _refuse_foreign_parts(c: Mapping[str, Any], head: Mapping[str, Any], tensors: Sequence[str], origin: str) -> None:
    problems = [
        f"{name} is {shown(fields[name])}, sori supports only {value!r}"
        for fields in (c, head)
        for name, value in PARTS.items()
        if fields.get(name, value) != value
    ]
    found = (next((name for name in tensors if f".{part}" in f".{name}"), None) for part in _FOREIGN)
    problems += [f"it has {name}, which sori does not support" for name in found if name]
    if c["extractor_mode"] not in ("default", "layer_norm"):
        problems.append(f"extractor_mode is {shown(c['extractor_mode'])}, sori supports 'default' and 'layer_norm'")
    channels = [layer[0] for layer in c["conv_feature_layers"]]
    if len(set(channels)) != 1:
        problems.append(f"the convolutions have {channels} channels, sori supports only the same number in each layer")
    if channels[-1] == c["encoder_embed_dim"]:
        problems.append("encoder_embed_dim equals the convolutions' channels, so it has no post_extract_proj")
    if head.get("blank_weight"):
        problems.append(f"blank_weight {head['blank_weight']} changes the logit of the blank; sori does not support it")
    if problems:
        listed = "\n  ".join(dict.fromkeys(problems))
        raise ValueError(f"{origin} cannot be read, as sori would compute something else:\n  {listed}")


def normalisation(outer: Mapping[str, Any], inner: Mapping[str, Any], origin: str) -> tuple[bool, str]:
    """Return whether the waveform is normalised, and which setting specifies it.

    Args:
        outer: Settings of the file, in sections.
        inner: Settings of the encoder of a recogniser; for an encoder, the same as `outer`.
        origin: File name for messages.

    Raises:
        ValueError: The settings are contradictory, or the sampling rate differs from sori's.
    """
    groups = {"task": section(outer, "task"), "model": outer["model"]}
    if inner is not outer:
        groups |= {"w2v_args.task": section(inner, "task"), "w2v_args.model": inner["model"]}
    for group, fields in groups.items():
        if (rate := fields.get("sample_rate")) not in (None, SAMPLE_RATE):
            raise ValueError(
                f"{origin} expects audio at {shown(rate)} Hz ({group}.sample_rate), but sori processes all audio at "
                f"{SAMPLE_RATE} Hz; its output would be wrong"
            )
    # References to another field (`${task.normalize}`) are ignored.
    values = {group: fields.get("normalize") for group, fields in groups.items()}
    found = {group: value for group, value in values.items() if isinstance(value, bool)}
    if len(set(found.values())) > 1:
        raise ValueError(
            f"{origin} has contradictory settings on whether the waveform is normalised ({found}), which fairseq "
            "refuses as well; likely settings were changed by hand. Correct them where the file was made"
        )
    for group, value in found.items():
        return value, f"{group}.normalize"
    return False, "fairseq's default; not specified in the file"


def history(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a model's training history that fairseq requires."""
    entries = checkpoint.get("optimizer_history")
    last = entries[-1] if isinstance(entries, list) and entries and isinstance(entries[-1], dict) else {}
    wanted = {"criterion_name": str, "optimizer_name": str, "num_updates": int}
    return {name: last[name] for name, kind in wanted.items() if isinstance(last.get(name), kind)}


def write_settings(model: Model) -> dict[str, Any]:
    """Return `cfg` for a model; fields of its source keep their original form unless their meaning has changed.

    Raises:
        ValueError: The model has parts that fairseq does not support; the message names them.
    """
    _refuse_our_parts(model)
    c, ctc = model.wav2vec2_config, model.system if isinstance(model.system, CtcConfig) else None
    front = c.front
    assert isinstance(front, ConvConfig)  # noqa: S101 - checked above
    source = source_sections(model)
    outer = source.get("model", {})
    below = outer.get("w2v_args", {}) if ctc else source
    before = resolved(below["model"], origin="this model") if source else {}
    head_before = resolved_head(outer, before, origin="this model") if source and ctc else {}
    fields = _encoder_fields(c, front)
    mask = ctc.mask if ctc else c.mask
    head: dict[str, Any] = {}
    masks = bool(mask.time_prob or mask.channel_prob)
    masked = any(head_before.get(name) for name in ("mask_prob", "mask_channel_prob"))
    if ctc is None or not source or masks:
        fields |= {theirs: getattr(mask, ours) for ours, theirs in MASK.items()}
    if ctc is None or not source:
        fields["quantize_targets"] = True
    if ctc is not None:
        fields["feature_grad_mult"] = ctc.feature_gradient
        head = {name_outside: fields[name] for name, name_outside in TUNED.items() if name in fields}
        head["freeze_finetune_updates"] = ctc.freeze_steps
        if not source or masks != bool(head_before["apply_mask"] and masked):
            head["apply_mask"] = masks
    encoder = {**_changed(below.get("model", {}), before, fields), "_name": "wav2vec2"}
    # The layers are a string in every version of fairseq, other lists only in the oldest: newer ones refuse strings.
    if not isinstance(encoder.get("conv_feature_layers", ""), str):
        encoder["conv_feature_layers"] = str(encoder["conv_feature_layers"])
    if isinstance(encoder.get("latent_temp"), str):
        encoder["latent_temp"] = fields["latent_temp"]
    audio = {"data": ".", "sample_rate": SAMPLE_RATE, "normalize": front.normalize}
    inner = {**below, "model": encoder, "task": {**audio, **section(below, "task"), "_name": "audio_pretraining"}}
    # Fields that fairseq's defaults refer to (`${common.seed}`) must be present.
    extra = {"common": {"seed": 1, "tpu": False}, "distributed_training": {"ddp_backend": "legacy_ddp"}}
    criterion = section(source, "criterion")
    if ctc is None:
        weights = (c.diversity_weight, c.feature_penalty)
        is_text = isinstance(criterion.get("loss_weights"), str)
        if not source or is_text or loss_weights(criterion, origin="this model") != weights:
            criterion = {"infonce": True, **criterion, "loss_weights": list(weights)}
        return {**extra, **inner, "criterion": {**criterion, "_name": "wav2vec"}}
    recogniser = {} if source else {"w2v_path": "", "final_dropout": 0.0, "data": ".", "normalize": front.normalize}
    recogniser |= {**_changed(outer, head_before, head), "_name": "wav2vec_ctc", "w2v_args": inner}
    task = {**audio, **section(source, "task"), "labels": "ltr", "_name": "audio_finetuning"}
    criterion = {"zero_infinity": True, **criterion, "_name": "ctc"}
    return {**extra, **source, "model": recogniser, "task": task, "criterion": criterion}


def _encoder_fields(c: Wav2Vec2Config, front: ConvConfig) -> dict[str, Any]:
    return {
        **{theirs: getattr(c, ours) for ours, theirs in SAME.items()},
        "extractor_mode": "layer_norm" if front.norm == "layer" else "default",
        "conv_feature_layers": [(front.dim, *layer) for layer in zip(front.kernels, front.strides, strict=True)],
        "conv_bias": front.bias,
        "latent_temp": [c.gumbel_start, c.gumbel_end, c.gumbel_decay],
    }


def _changed(source: Mapping[str, Any], before: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**source, **{name: value for name, value in fields.items() if name not in before or before[name] != value}}


def source_sections(model: Model) -> dict[str, Any]:
    """Return the settings of the fairseq file that a model of this kind was read from; empty if there is none."""
    if not isinstance(model.origin, FairseqOrigin):
        return {}
    found = model.origin.cfg
    return found if ("w2v_args" in found["model"]) == isinstance(model.system, CtcConfig) else {}


def _refuse_our_parts(model: Model) -> None:
    problems = own_parts(model)
    if not isinstance(model.encoder_config, Wav2Vec2Config):
        refuse(problems, program="fairseq")
    c = model.wav2vec2_config
    if isinstance(c.front, ConvConfig) and c.front.dim == c.dim:
        problems.append(
            f"the convolutions have as many channels as the blocks ({c.dim}); fairseq has no projection then"
        )
    if model.vocabulary is None and not model.has_objective:
        problems.append("it has no quantiser and no output projections, which fairseq requires for wav2vec2")
    if c.adapter_dim:
        problems.append("there is an adapter after each block (adapter_dim)")
    refuse(problems, program="fairseq")
