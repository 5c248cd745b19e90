"""Settings of a fairseq checkpoint, to ours and back. The fields and their defaults: `fairseq_fields.py`."""

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
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.mask import MaskConfig

_FOREIGN = ("target_glu.", "project_inp.", "input_quantizer.", "weight_proj.0.", "conv_module.", "adapter_layer.")
"""Modules that ours lacks, by parts of the names of their tensors."""


class Settings(NamedTuple):
    """What a checkpoint says, in our terms."""

    architecture: Architecture
    encoder: Wav2Vec2Config
    ctc: CtcConfig | None
    has_objective: bool
    """Whether there is a quantiser: not in a recogniser, nor where the targets are continuous."""
    normalisation: str
    """For the certificate."""
    remarks: tuple[str, ...]
    sections: dict[str, Any]
    """The settings themselves, as plain data."""


def read_settings(checkpoint: Mapping[str, Any], tensors: Sequence[str], *, origin: str) -> Settings:
    """Our settings.

    Args:
        checkpoint: with `cfg` or `args`.
        tensors: their names, which tell as well what a model is.
        origin: the file, for messages.

    Raises:
        ValueError: the model is of another kind, or has a part that ours lacks; names it.
    """
    outer = sections(settings_in(checkpoint, origin=origin))
    kind = architecture(outer["model"], tensors, origin=origin)
    inner = _encoder_sections(outer, origin) if kind == "wav2vec_ctc" else outer
    c = resolved(inner["model"], origin=origin)
    head: dict[str, Any] = {}
    if kind == "wav2vec_ctc":
        head = resolved_head(outer["model"], c)
        c |= {name: head[name_outside] for name, name_outside in TUNED.items()}
    _refuse_foreign_parts(c, head, tensors, origin)
    normalize, said = normalisation(outer, inner, origin)
    front = ConvConfig(
        norm="layer" if c["extractor_mode"] == "layer_norm" else "group",
        bias=c["conv_bias"],
        dim=c["conv_feature_layers"][0][0],
        kernels=tuple(kernel for _, kernel, _ in c["conv_feature_layers"]),
        strides=tuple(stride for *_, stride in c["conv_feature_layers"]),
        normalize=normalize,
    )
    fields = {ours: c[theirs] for ours, theirs in SAME.items()}
    fields |= dict(zip(("gumbel_start", "gumbel_end", "gumbel_decay"), c["latent_temp"], strict=True))
    mask = MaskConfig(**{ours: c[theirs] for ours, theirs in MASK.items()})
    ctc = None
    if kind == "wav2vec_ctc":
        if not head["apply_mask"]:
            mask = mask.model_copy(update={"time_prob": 0.0, "channel_prob": 0.0})
        gradient = fields.pop("feature_gradient")  # of pre-training, it would be; that is not said any more
        ctc = CtcConfig(mask=mask, freeze_steps=head["freeze_finetune_updates"], feature_gradient=gradient)
    else:
        diversity, penalty = loss_weights(_section(outer, "criterion"), origin=origin)
        fields |= {"mask": mask, "diversity_weight": diversity, "feature_penalty": penalty}
    return Settings(
        kind,
        Wav2Vec2Config(front=front, **fields),
        ctc,
        has_objective=ctc is None and bool(c["quantize_targets"]),
        normalisation=f"{'mean 0, variance 1' if normalize else 'none'} ({said})",
        remarks=tuple(_remarks({**c, "final_dropout": 0.0, **head})),
        sections=outer,
    )


def settings_in(checkpoint: Mapping[str, Any], *, origin: str) -> Mapping[str, Any]:
    """`cfg` of a newer file, `args` of an older one.

    Raises:
        ValueError: it has neither.
    """
    settings = checkpoint.get("cfg") or checkpoint.get("args")
    if isinstance(settings, Mapping):
        return settings
    raise ValueError(
        f"{origin} holds tensors without settings: expected `cfg` or `args` beside `model`, got "
        f"{', '.join(sorted(map(str, checkpoint)))}. Likely a file that was stripped; get the original"
    )


def _encoder_sections(outer: Mapping[str, Any], origin: str) -> dict[str, Any]:
    inner = outer["model"].get("w2v_args")
    if not isinstance(inner, dict):
        raise ValueError(  # noqa: TRY004 - likewise
            f"{origin} does not say what its encoder looks like (w2v_args is missing); likely it was not saved by "
            "fairseq's own training. Get the original file"
        )
    if (named := inner["model"].get("_name")) not in (None, "wav2vec2"):
        raise other_kind(kind_of(str(named)), f"its encoder is {named!r}", origin=origin)
    return inner


def _section(sections: Mapping[str, Any], name: str) -> dict[str, Any]:
    return sections.get(name) or {}  # fairseq empties some (`criterion: null`)


def _remarks(c: Mapping[str, Any]) -> list[str]:
    return [
        f"trained with {name} = {c[name]!r}, ours trains with {value!r}; what the encoder computes is the same"
        for name, value in {**TRAINING, "final_dropout": 0.0}.items()
        if c[name] != value
    ]


def _refuse_foreign_parts(c: Mapping[str, Any], head: Mapping[str, Any], tensors: Sequence[str], origin: str) -> None:
    problems = [
        f"{name} is {fields[name]!r}, ours has {value!r} only"
        for fields in (c, head)
        for name, value in PARTS.items()
        if fields.get(name, value) != value
    ]
    found = (next((name for name in tensors if f".{part}" in f".{name}"), None) for part in _FOREIGN)
    problems += [f"it has {name}, and ours has no such part" for name in found if name]
    if c["extractor_mode"] not in ("default", "layer_norm"):
        problems.append(f"extractor_mode is {c['extractor_mode']!r}, ours has 'default' and 'layer_norm'")
    channels = [layer[0] for layer in c["conv_feature_layers"]]
    if len(set(channels)) != 1:
        problems.append(f"the convolutions have {channels} channels, ours has the same number in each layer")
    if channels[-1] == c["encoder_embed_dim"]:
        problems.append("encoder_embed_dim equals the convolutions' channels, so that it has no post_extract_proj")
    if head.get("blank_weight"):
        problems.append(f"blank_weight {head['blank_weight']} changes the logit of the blank, and ours does not")
    if problems:
        listed = "\n  ".join(dict.fromkeys(problems))
        raise ValueError(f"{origin} cannot be read, for ours would compute something else:\n  {listed}")


def normalisation(outer: Mapping[str, Any], inner: Mapping[str, Any], origin: str) -> tuple[bool, str]:
    """Whether the waveform is normalised, and who says so.

    Args:
        outer: the file's settings in sections.
        inner: those of the encoder in a recogniser; of an encoder, the same again.
        origin: the file, for messages.

    Raises:
        ValueError: the settings contradict each other, or the model listens at another rate.
    """
    places = {"task": _section(outer, "task"), "model": outer["model"]}
    if inner is not outer:
        places |= {"w2v_args.task": _section(inner, "task"), "w2v_args.model": inner["model"]}
    for place, fields in places.items():
        if (rate := fields.get("sample_rate")) not in (None, SAMPLE_RATE):
            raise ValueError(
                f"{origin} listens at {rate} Hz ({place}.sample_rate), and here everything is heard at {SAMPLE_RATE} "
                "Hz; its answers would be wrong"
            )
    # A reference to another field (`${task.normalize}`) says nothing by itself.
    said = {place: fields["normalize"] for place, fields in places.items() if isinstance(fields.get("normalize"), bool)}
    if len(set(said.values())) > 1:
        raise ValueError(
            f"{origin} contradicts itself on whether the waveform is normalised ({said}), and fairseq refuses it as "
            "well; likely settings were changed by hand. Correct them where the file was made"
        )
    for place, value in said.items():
        return value, f"{place}.normalize"
    return False, "fairseq's default; the file does not say"


def history(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """How a model was trained so far, as far as fairseq asks for it."""
    entries = checkpoint.get("optimizer_history")
    last = entries[-1] if isinstance(entries, list) and entries and isinstance(entries[-1], dict) else {}
    wanted = {"criterion_name": str, "optimizer_name": str, "num_updates": int}
    return {name: last[name] for name, kind in wanted.items() if isinstance(last.get(name), kind)}


def write_settings(model: Model) -> dict[str, Any]:
    """`cfg` for a model; a field of its source stays as it was written there, unless it means something else by now.

    Raises:
        ValueError: the model has parts that fairseq lacks; names them.
    """
    _refuse_our_parts(model)
    c, ctc = model.wav2vec2_config, model.system if isinstance(model.system, CtcConfig) else None
    front = c.front
    assert isinstance(front, ConvConfig)  # noqa: S101 - as just checked
    source = source_sections(model)
    outer = source.get("model", {})
    below = outer.get("w2v_args", {}) if ctc else source
    before = resolved(below["model"], origin="this model") if source else {}
    head_before = resolved_head(outer, before) if source and ctc else {}
    fields = _encoder_fields(c, front)
    mask = ctc.mask if ctc else c.mask
    head: dict[str, Any] = {}
    hides, hid = any(_shares(mask)), any(head_before.get(name) for name in ("mask_prob", "mask_channel_prob"))
    if ctc is None or not source or hides:
        fields |= {theirs: getattr(mask, ours) for ours, theirs in MASK.items()}
    if ctc is None or not source:
        fields["quantize_targets"] = True
    if ctc is not None:
        fields["feature_grad_mult"] = ctc.feature_gradient
        head = {name_outside: fields[name] for name, name_outside in TUNED.items() if name in fields}
        head["freeze_finetune_updates"] = ctc.freeze_steps
        if not source or hides != bool(head_before["apply_mask"] and hid):
            head["apply_mask"] = hides
    encoder = {**_changed(below.get("model", {}), before, fields), "_name": "wav2vec2"}
    # The layers are a text in every version of fairseq, the others in the oldest only: newer ones refuse that.
    if not isinstance(encoder.get("conv_feature_layers", ""), str):
        encoder["conv_feature_layers"] = str(encoder["conv_feature_layers"])
    if isinstance(encoder.get("latent_temp"), str):
        encoder["latent_temp"] = fields["latent_temp"]
    heard = {"data": ".", "sample_rate": SAMPLE_RATE, "normalize": front.normalize}
    inner = {**below, "model": encoder, "task": {**heard, **_section(below, "task"), "_name": "audio_pretraining"}}
    # What fairseq's defaults refer to (`${common.seed}`) has to be there.
    extra = {"common": {"seed": 1, "tpu": False}, "distributed_training": {"ddp_backend": "legacy_ddp"}}
    criterion = _section(source, "criterion")
    if ctc is None:
        weights = (c.diversity_weight, c.feature_penalty)
        is_text = isinstance(criterion.get("loss_weights"), str)
        if not source or is_text or loss_weights(criterion, origin="this model") != weights:
            criterion = {"infonce": True, **criterion, "loss_weights": list(weights)}
        return {**extra, **inner, "criterion": {**criterion, "_name": "wav2vec"}}
    recogniser = {} if source else {"w2v_path": "", "final_dropout": 0.0, "data": ".", "normalize": front.normalize}
    recogniser |= {**_changed(outer, head_before, head), "_name": "wav2vec_ctc", "w2v_args": inner}
    task = {**heard, **_section(source, "task"), "labels": "ltr", "_name": "audio_finetuning"}
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


def _shares(mask: MaskConfig) -> tuple[float, float]:
    return mask.time_prob, mask.channel_prob


def _changed(source: Mapping[str, Any], before: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**source, **{name: value for name, value in fields.items() if name not in before or before[name] != value}}


def source_sections(model: Model) -> dict[str, Any]:
    """Settings of the fairseq file that a model of this kind was read from, or none."""
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
        problems.append(f"the convolutions have as many channels as the blocks ({c.dim}); fairseq projects no such")
    if model.vocabulary is None and not model.has_objective:
        problems.append("it has no quantiser and no output projections, without which fairseq loads no wav2vec2")
    if c.adapter_dim:
        problems.append("there is an adapter after each block (adapter_dim)")
    refuse(problems, program="fairseq")
