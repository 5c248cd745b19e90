"""Read and write fairseq's files of wav2vec (2019) and vq-wav2vec: one architecture there (`wav2vec`), two here.

Where tensors and settings disagree, the tensors are used: the released Gumbel model has a codebook for each group
although the published command shares one, and the number of convolutions differs between command and default.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sori.checkpoints.formats.certificate import MODEL_CARD, Certificate, Entry, licence_in, sha256
from sori.checkpoints.formats.fairseq_config import history, normalisation, section, settings_in
from sori.checkpoints.formats.fairseq_fields import layers_of, literal, loss_weights, sections, temperatures_of
from sori.checkpoints.formats.fairseq_schemas import First
from sori.checkpoints.formats.foreign_json import checked
from sori.checkpoints.formats.imported import Imported, Model, refuse
from sori.checkpoints.formats.origin import FairseqOrigin
from sori.checkpoints.formats.tensors import Row, give, take
from sori.core.foreign_values import shown
from sori.core.shapes import Tensor
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.models.wav2vec import Wav2VecConfig

_PARTS: dict[str, Any] = {
    "aggregator": "cnn",
    "no_conv_bias": False,
    "agg_zero_pad": False,
    "skip_connections_feat": False,
    "residual_scale": 0.5,
    "project_features": "none",
    "non_affine_group_norm": False,
}
"""Fields that affect the tensors or the encoder's output, with the only values that sori supports."""
_TRAINING: dict[str, Any] = {
    "sample_distance": None,
    "cross_sample_negatives": 0,
    "balanced_classes": False,
    "dropout": 0.0,
    "dropout_features": 0.0,
    "dropout_agg": 0.0,
}
"""Fields that affect only training, with sori's values."""
DEFAULTS: dict[str, Any] = {
    "prediction_steps": 12,
    "num_negatives": 10,
    "conv_feature_layers": "[(512, 10, 5), (512, 8, 4)] + [(512, 4, 2)] * 3 + [(512, 1, 1)] * 3",
    "conv_aggregator_layers": str([(512, kernel, 1) for kernel in range(2, 14)]),
    "skip_connections_agg": True,
    "log_compression": True,
    "offset": "auto",
    "activation": "relu",
    "vq_type": "none",
    "vq_vars": 320,
    "vq_groups": 2,
    "vq_dim": 0,
    "vq_depth": 1,
    "combine_groups": False,
    "vq_temp": [2.0, 0.5, 0.999995],
    "vq_gamma": 0.25,
    **_PARTS,
    **_TRAINING,
}
"""Defaults of missing fields (`Wav2VecConfig` of fairseq at 1c3b984)."""
_AGGREGATOR, _PREDICTIONS, _QUANTIZER = "feature_aggregator.", "wav2vec_predictions.", "vector_quantizer."
_FACTOR = 2
"""Width of the hidden layer of the Gumbel quantiser, as a multiple of its input's."""


def belongs(tensors: Iterable[str]) -> bool:
    """Return whether tensors of these names are those of a wav2vec or vq-wav2vec."""
    return any(name.startswith(_AGGREGATOR) for name in tensors)


def read(path: Path, checkpoint: Mapping[str, Any], *, values: bool = True) -> Imported:
    """Convert the content of a file, as returned by `pickles.read_pickle`.

    Args:
        path: The file.
        checkpoint: Its content; `model` holds tensors by name.
        values: Whether to compute digests of the file.

    Raises:
        ValueError: The model has an unsupported part, or a tensor would be unused; the message names it.
    """
    origin = str(path)
    weights: dict[str, Tensor] = dict(checkpoint["model"])
    outer = sections(settings_in(checkpoint, origin=origin), fields=DEFAULTS)
    config, remarks = _settings(outer, weights, origin)
    normalize, setting = normalisation(outer, outer, origin)
    if normalize:
        raise ValueError(
            f"{origin} expects a normalised waveform ({setting}), which sori does not support for this system"
        )
    layout = rows(config, objective=any(name.startswith(_PREDICTIONS) for name in weights))
    ours, entries = take(weights, layout, dropped={}, origin=origin)
    ours = {name: tensor.contiguous() for name, tensor in ours.items()}
    size = sum(tensor.numel() for tensor in ours.values())
    certificate = Certificate(
        source=origin,
        source_format=f"fairseq, wav2vec ({config.kind})",
        sha256=sha256([path]) if values else {},
        tensors=tuple(entries),
        source_parameters=sum(tensor.numel() for tensor in weights.values()),
        target_parameters=size,
        normalisation=f"none ({setting})",
        licence=licence_in(path.parent / MODEL_CARD),
        notes=tuple(remarks),
    )
    about = FairseqOrigin.from_data({"cfg": outer, "history": history(checkpoint)}, origin=origin)
    return Imported(Model(config, None, None, ours, about), certificate)


def write(
    model: Model, config: Wav2VecConfig | VqWav2VecConfig
) -> tuple[dict[str, Any], dict[str, Tensor], list[Entry]]:
    """Return settings and tensors in fairseq's format, and an entry for every tensor.

    Raises:
        ValueError: The model has parts that fairseq does not support; the message names them.
    """
    problems = []
    if config.spectrum is not None:
        problems.append(f"its front end is spectral ({config.spectrum.kind}); only convolutions are supported there")
    hidden = config.quantizer_hidden if isinstance(config, VqWav2VecConfig) and config.quantizer == "gumbel" else 0
    if hidden not in (0, _FACTOR * config.dim):
        problems.append(f"the hidden layer of its quantiser is {hidden} wide, which is neither 0 nor {_FACTOR} x dim")
    if not model.has_objective:
        problems.append("it has no predictors, which fairseq requires for wav2vec")
    refuse(problems, program="fairseq")
    layout = rows(config, objective=True)
    theirs, entries = give(model.weights, layout, origin="this model")
    source = model.origin.cfg if isinstance(model.origin, FairseqOrigin) else {}
    return _cfg(config, source), theirs, entries


def rows(config: Wav2VecConfig | VqWav2VecConfig, *, objective: bool) -> list[Row]:
    """Return every tensor of sori with its name in fairseq.

    Args:
        config: Configuration of the system.
        objective: Whether it has predictors.
    """
    table: list[Row] = []

    def same(ours: str, theirs: str, kinds: tuple[str, ...] = ("weight", "bias")) -> None:
        table.extend(Row(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for kind in kinds)

    for i in range(len(config.encoder_kernels)):
        same(f"front.convs.{i}", f"feature_extractor.conv_layers.{i}.0", ("weight",))
        same(f"front.norms.{i}", f"feature_extractor.conv_layers.{i}.2")
    for i in range(len(config.context_kernels)):
        same(f"aggregator.convs.{i}", f"{_AGGREGATOR}conv_layers.{i}.1")
        same(f"aggregator.norms.{i}", f"{_AGGREGATOR}conv_layers.{i}.3")
    if isinstance(config, VqWav2VecConfig):
        num_books, width = 1 if config.shared else config.num_groups, config.dim // config.num_groups
        ours = (num_books, config.num_codes, width)
        match config.quantizer:
            case "gumbel":
                theirs = (1, num_books * config.num_codes, width)
                table.append(Row("quantizer.codebook", (f"{_QUANTIZER}vars",), (ours, theirs)))
                if config.quantizer_hidden:
                    same("hidden", f"{_QUANTIZER}weight_proj.0.0")
                last = "weight_proj.1" if config.quantizer_hidden else "weight_proj"
                same("quantizer.logits", f"{_QUANTIZER}{last}")
            case "kmeans":
                table.append(Row("quantizer.codebook", (f"{_QUANTIZER}embedding",), axes=(1, 0, 2)))
                same("quantizer.projection", f"{_QUANTIZER}projection.0", ("weight",))
                same("quantizer.norm", f"{_QUANTIZER}projection.1")
    if objective:
        steps = f"{_PREDICTIONS}project_to_steps"
        ours = (config.num_ahead, config.dim, config.dim)
        # theirs is "in out 1 step", a transposed convolution
        table.append(Row("predictors.weight", (f"{steps}.weight",), (ours, (*ours, 1)), axes=(3, 1, 0, 2)))
        same("predictors", steps, ("bias",))
    return table


def _settings(
    outer: Mapping[str, Any], weights: Mapping[str, Tensor], origin: str
) -> tuple[Wav2VecConfig | VqWav2VecConfig, list[str]]:
    c = {**DEFAULTS, **{name: value for name, value in outer["model"].items() if value is not None}}
    checked(First, c, origin, program="fairseq")
    encoder = layers_of(c, "conv_feature_layers", origin=origin)
    context = layers_of(c, "conv_aggregator_layers", origin=origin)
    _refuse_foreign_parts(c, encoder, context, weights, origin)
    remarks = [
        f"trained with {name} = {shown(c[name])}, sori trains with {value!r}; the encoder's output is the same"
        for name, value in _TRAINING.items()
        if c[name] != value
    ]
    steps = weights.get(f"{_PREDICTIONS}project_to_steps.weight")
    fields: dict[str, Any] = {
        "dim": encoder[-1][0],
        "encoder_kernels": tuple(kernel for _, kernel, _ in encoder),
        "encoder_strides": tuple(stride for *_, stride in encoder),
        "log_compression": bool(c["log_compression"]),
        "context_kernels": tuple(kernel for _, kernel, _ in context),
        "skip": bool(c["skip_connections_agg"]),
        "num_ahead": c["prediction_steps"] if steps is None else (steps.shape or (0,))[-1],
        "offset": None if c["offset"] == "auto" else int(c["offset"]),
        "num_negatives": c["num_negatives"],
    }
    if not any(name.startswith(_QUANTIZER) for name in weights):
        return Wav2VecConfig.from_data(fields, origin=origin), remarks
    quantizer, more = _quantizer(c, weights, section(outer, "criterion"), origin)
    settings = {**fields, "activation": c["activation"], **quantizer}
    return VqWav2VecConfig.from_data(settings, origin=origin), remarks + more


def _quantizer(
    c: Mapping[str, Any], weights: Mapping[str, Tensor], criterion: Mapping[str, Any], origin: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the quantiser, and remarks."""
    groups, entries, remarks = c["vq_groups"], c["vq_vars"], []
    kmeans = f"{_QUANTIZER}embedding" in weights
    book = weights.get(f"{_QUANTIZER}embedding" if kmeans else f"{_QUANTIZER}vars")
    if book is None or book.ndim != 3:
        raise ValueError(
            f"{origin} has a quantiser without codebook: expected `vars` or `embedding`, got neither; likely the file "
            "is incomplete"
        )
    num_books, rest = (book.shape[1], book.shape[0] - entries) if kmeans else divmod(book.shape[1], entries)
    if rest or num_books not in (1, groups):
        raise ValueError(
            f"{origin}: its codebook is {tuple(book.shape)}, which is neither 1 nor {groups} times {entries} entries; "
            "likely the settings are those of another file"
        )
    shared = num_books == 1
    if shared != bool(c["combine_groups"]):
        has = "one codebook for all groups" if shared else "a codebook for each group"
        remarks.append(f"combine_groups is {c['combine_groups']!r}, but the tensors have {has}, which is used")
    weight = None if criterion.get("loss_weights") is None else loss_weights(criterion, origin=origin)[0]
    found = {"num_groups": groups, "num_codes": entries, "shared": shared, "commitment": c["vq_gamma"]}
    if kmeans:
        return {**found, "quantizer": "kmeans", "kmeans_weight": 1.0 if weight is None else float(weight)}, remarks
    start, end, decay = temperatures_of(c, "vq_temp", origin=origin)
    updates = max(1, round(math.log(end / start) / math.log(decay))) if 0 < decay < 1 and start > end else 1
    remarks.append(
        f"its temperature falls by {decay} at each update, in sori linearly to the same value at update {updates:,}"
    )
    hidden = weights.get(f"{_QUANTIZER}weight_proj.0.0.weight")
    more = {
        "quantizer_hidden": 0 if hidden is None else hidden.shape[0],
        "gumbel_start": start,
        "gumbel_end": end,
        "gumbel_updates": updates,
        "diversity_weight": float(weight or 0.0) * groups * entries,  # per entry there, relative here
    }
    return found | more, remarks


def _refuse_foreign_parts(
    c: Mapping[str, Any],
    encoder: list[tuple[int, int, int]],
    context: list[tuple[int, int, int]],
    weights: Mapping[str, Tensor],
    origin: str,
) -> None:
    different = {name: value for name, value in _PARTS.items() if c[name] != value}
    problems = [f"{name} is {shown(c[name])}, sori supports only {value!r}" for name, value in different.items()]
    channels = {layer[0] for layer in (*encoder, *context)}
    if len(channels) != 1:
        problems.append(f"the convolutions have {sorted(channels)} channels, sori supports only equal numbers")
    if {stride for *_, stride in context} != {1}:
        problems.append("a convolution of the aggregator has a stride, which sori does not support")
    if c["vq_dim"] not in (0, encoder[-1][0]):
        problems.append(f"vq_dim is {c['vq_dim']}, sori supports only the width of the convolutions ({encoder[-1][0]})")
    quantised = any(name.startswith(_QUANTIZER) for name in weights)
    if not quantised and c["activation"] != "relu":
        problems.append(f"activation is {shown(c['activation'])}, sori without quantiser supports only 'relu'")
    if quantised and c["activation"] not in ("relu", "gelu"):
        problems.append(f"activation is {shown(c['activation'])}, sori supports 'relu' and 'gelu'")
    if f"{_QUANTIZER}weight_proj.2.weight" in weights:
        problems.append(f"vq_depth is {c['vq_depth']}, sori supports 1 and 2")
    for layers, part in ((encoder, "feature_extractor"), (context, "feature_aggregator")):
        starts = {name.split(".")[2] for name in weights if name.startswith(f"{part}.conv_layers.")}
        if len(starts) != len(layers):
            problems.append(f"its settings have {len(layers)} layers of {part}, its tensors {len(starts)}")
    if problems:
        raise ValueError(f"{origin} cannot be read, as sori would compute something else:\n  " + "\n  ".join(problems))


def _cfg(config: Wav2VecConfig | VqWav2VecConfig, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return `cfg`; fields of the source keep their original form unless their meaning has changed."""
    before = {**DEFAULTS, **{name: value for name, value in source.get("model", {}).items() if value is not None}}
    fields: dict[str, Any] = {
        "conv_feature_layers": [
            (config.dim, *layer) for layer in zip(config.encoder_kernels, config.encoder_strides, strict=True)
        ],
        "conv_aggregator_layers": [(config.dim, kernel, 1) for kernel in config.context_kernels],
        "log_compression": config.log_compression,
        "skip_connections_agg": config.skip,
        "prediction_steps": config.num_ahead,
        "offset": "auto" if config.offset is None else str(config.offset),
        "num_negatives": config.num_negatives,
        "vq_type": "none",
    }
    weights: list[float] | None = None
    if isinstance(config, VqWav2VecConfig):
        fields |= {
            "activation": config.activation,
            "vq_type": config.quantizer,
            "vq_vars": config.num_codes,
            "vq_groups": config.num_groups,
            "combine_groups": config.shared,
            "vq_depth": 2 if config.quantizer == "gumbel" and config.quantizer_hidden else 1,
            "vq_gamma": config.commitment,
        }
        if config.quantizer == "gumbel":
            decay = (config.gumbel_end / config.gumbel_start) ** (1 / config.gumbel_updates)
            fields["vq_temp"] = [config.gumbel_start, config.gumbel_end, decay]
            if config.diversity_weight:
                weights = [config.diversity_weight / (config.num_groups * config.num_codes)]
        else:
            weights = [config.kmeans_weight]
    changed = {name: value for name, value in fields.items() if not _same_meaning(name, before[name], value)}
    model = {**source.get("model", {}), **changed}
    for name in ("conv_feature_layers", "conv_aggregator_layers"):  # a string in every version of fairseq
        if not isinstance(model.get(name, ""), str):
            model[name] = str(model[name])
    if isinstance(model.get("vq_temp"), str):  # only in the oldest version: newer ones refuse it
        model["vq_temp"] = literal(model["vq_temp"], name="vq_temp", origin="this model")
    audio = {"data": ".", "sample_rate": 16_000, "normalize": False}
    return {
        "common": {"seed": 1, "tpu": False},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        **source,
        "model": {**model, "_name": "wav2vec"},
        "task": {**audio, **(source.get("task") or {}), "_name": "audio_pretraining"},
        "criterion": {
            "infonce": False,
            **(source.get("criterion") or {}),
            **({} if weights is None else {"loss_weights": weights}),
            "_name": "wav2vec",
        },
    }


def _same_meaning(name: str, before: Any, now: Any) -> bool:
    """Return whether a field of the source has the same meaning as ours; the decay up to rounding."""
    if name.startswith("conv_"):
        return bool(layers_of({name: before}, name, origin="this model") == now)
    if name == "vq_temp":
        then = temperatures_of({name: before}, name, origin="this model")
        return then[:2] == now[:2] and math.isclose(math.log(then[2]), math.log(now[2]), rel_tol=1e-4)
    return str(before) == str(now) if name == "offset" else bool(before == now)
