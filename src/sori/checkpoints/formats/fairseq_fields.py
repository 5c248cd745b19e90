"""Fields of a fairseq checkpoint: defaults, sori's names for them, and the kinds of models they belong to.

Newer files store them in sections (`cfg`: model, task, criterion), older ones in one flat list (`args`). A recogniser
has its own settings (outer) and, as `w2v_args`, those of its initial encoder (inner), into which fairseq copied the
settings changed by fine-tuning (dropout, masks).
"""

import ast
import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sori.checkpoints.formats.fairseq_schemas import Encoder, Head
from sori.checkpoints.formats.foreign_json import checked
from sori.core.foreign_values import shown

Architecture = Literal["wav2vec2", "wav2vec_ctc"]

LAYERS = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
PARTS: dict[str, Any] = {
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "pos_enc_type": "abs",
    "pos_conv_depth": 1,
    "conv_pos_batch_norm": False,
    "crop_seq_to_multiple": 1,
    "quantize_input": False,
    "quantizer_depth": 1,
    "target_glu": False,
}
"""Fields that affect the tensors or the encoder's output, with the only values that sori supports."""
TRAINING: dict[str, Any] = {
    "same_quantizer": False,
    "negatives_from_everywhere": False,
    "cross_sample_negatives": 0,
    "codebook_negatives": 0,
    "mask_selection": "static",
    "mask_other": 0,
    "no_mask_overlap": False,
    "mask_dropout": 0.0,
    "mask_channel_before": False,
    "mask_channel_selection": "static",
    "mask_channel_other": 0,
    "no_mask_channel_overlap": False,
}
"""Fields that affect only training, with sori's values."""
DEFAULTS: dict[str, Any] = {
    "extractor_mode": "default",
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "layer_norm_first": False,
    "conv_feature_layers": LAYERS,
    "conv_bias": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "dropout_input": 0.0,
    "dropout_features": 0.0,
    "feature_grad_mult": 1.0,
    "final_dim": 0,
    "latent_dim": 0,
    "latent_vars": 320,
    "latent_groups": 2,
    "latent_temp": [2.0, 0.5, 0.999995],
    "quantize_targets": False,
    "num_negatives": 100,
    "logit_temp": 0.1,
    "mask_prob": 0.65,
    "mask_length": 10,
    "mask_channel_prob": 0.0,
    "mask_channel_length": 10,
    **PARTS,
    **TRAINING,
}
"""Defaults of fields that are missing or None (`Wav2Vec2Config` of fairseq at 3d262bb)."""
HEAD: dict[str, Any] = {"apply_mask": False, "freeze_finetune_updates": 0, "final_dropout": 0.0, "blank_weight": 0.0}
"""Defaults of fields that only a recogniser has (`Wav2Vec2CtcConfig`)."""

SAME = {
    "dim": "encoder_embed_dim",
    "num_layers": "encoder_layers",
    "num_heads": "encoder_attention_heads",
    "ffn_dim": "encoder_ffn_embed_dim",
    "pre_norm": "layer_norm_first",
    "position_kernel": "conv_pos",
    "position_groups": "conv_pos_groups",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "input_dropout": "dropout_input",
    "target_dropout": "dropout_features",
    "layerdrop": "encoder_layerdrop",
    "feature_gradient": "feature_grad_mult",
    "num_groups": "latent_groups",
    "num_codes": "latent_vars",
    "code_dim": "latent_dim",
    "final_dim": "final_dim",
    "num_negatives": "num_negatives",
    "temperature": "logit_temp",
}
"""Fields of equal meaning: sori's name, fairseq's name."""
MASK = {
    "time_prob": "mask_prob",
    "time_length": "mask_length",
    "channel_prob": "mask_channel_prob",
    "channel_length": "mask_channel_length",
}
"""The same for masks; probabilities have the same meaning in both."""
TUNED = {
    **{name: name for name in ("dropout", "attention_dropout", "activation_dropout", "dropout_input")},
    **{name: name for name in (*MASK.values(), *TRAINING, "feature_grad_mult")},
    "encoder_layerdrop": "layerdrop",
}
"""Fields that fine-tuning overrides: inner name, outer name."""

_TASK = ("sample_rate", "normalize", "data", "labels")
_CRITERION = ("infonce", "loss_weights", "log_keys", "zero_infinity")
_TENSORS = {
    "label_embs_concat": "HuBERT",
    "modality_encoders.": "data2vec 2.0",
    "regression_head": "data2vec",
    "_ema": "data2vec",
    "decoder.": "wav2vec 2.0 with an autoregressive decoder",
    "grep_linear": "WavLM",
    "relative_attention_bias": "WavLM",
}
"""Kinds of models by parts of the names of their tensors."""
_NAMES = {
    "hubert": "HuBERT",
    "data2vec": "data2vec",
    "wavlm": "WavLM",
    "vq": "vq-wav2vec",
    "wav2vec": "wav2vec (2019)",
    "audio_cpc": "wav2vec (2019)",
    "wav2vec_seq2seq": "wav2vec 2.0 with an autoregressive decoder",
}
"""Kinds of models by the prefix of the architecture's name; the longest match is used."""
_MAX_TEXT, _MAX_ITEMS = 500, 1000


def sections(settings: Mapping[str, Any], *, fields: Iterable[str] = ()) -> dict[str, Any]:
    """Return `cfg` or `args` as JSON data in sections: `model`, and if present `task` and `criterion`.

    Args:
        settings: Settings from the file.
        fields: Names of the model's fields in a flat list, if it is not wav2vec 2.0.
    """
    settings = {str(name): _plain(value) for name, value in settings.items()}
    if isinstance(settings.get("model"), dict):
        found = settings
    else:
        known = {*fields} or {*DEFAULTS, *HEAD, *TUNED.values(), "w2v_args", "w2v_path"}
        found = {
            "model": {name: value for name, value in settings.items() if name in known},
            "task": {name: settings[name] for name in _TASK if name in settings},
            "criterion": {name: settings[name] for name in _CRITERION if name in settings},
        }
        found["model"] |= {"_name": settings["arch"]} if settings.get("arch") else {}
    inner = found["model"].get("w2v_args")
    return {**found, "model": {**found["model"], "w2v_args": sections(inner)}} if isinstance(inner, dict) else found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def architecture(model: Mapping[str, Any], tensors: Sequence[str], *, origin: str) -> Architecture:
    """Return the architecture of a file, by its name in the settings and by its tensors.

    Raises:
        ValueError: It is another kind of model; the message names it.
    """
    for part, kind in _TENSORS.items():
        for name in tensors:
            if f".{part}" in f".{name}":
                raise other_kind(kind, f"it has a tensor {name}", origin=origin)
    match named := model.get("_name"):
        case "wav2vec2" | "wav2vec_ctc":
            return named  # type: ignore[no-any-return]
        case None:
            return "wav2vec_ctc" if any(name.startswith("w2v_encoder.") for name in tensors) else "wav2vec2"
    raise other_kind(kind_of(str(named)), f"its architecture is {named!r}", origin=origin)


def kind_of(name: str) -> str:
    """Return the usual name of an unsupported architecture."""
    matching = [start for start in _NAMES if name.startswith(start)]
    return _NAMES[max(matching, key=len)] if matching else "another model"


def other_kind(kind: str, because: str, *, origin: str) -> ValueError:
    """Return the error for an unsupported model."""
    return ValueError(
        f"{origin} is {kind} ({because}); of fairseq's models, this version reads wav2vec 2.0, pre-trained (wav2vec2) "
        "or fine-tuned with CTC (wav2vec_ctc), and pre-trained wav2vec and vq-wav2vec"
    )


def resolved(model: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """Return every field of an encoder: defaults filled in, strings parsed, widths of 0 replaced by what they mean.

    Raises:
        ValueError: A field is not of the form that fairseq writes.
    """
    c = {**DEFAULTS, **{name: value for name, value in model.items() if value is not None}}
    c["conv_feature_layers"] = layers_of(c, "conv_feature_layers", origin=origin)
    c["latent_temp"] = temperatures_of(c, "latent_temp", origin=origin)
    checked(Encoder, c, origin, program="fairseq")
    c["final_dim"] = c["final_dim"] if c["final_dim"] > 0 else c["encoder_embed_dim"]
    c["latent_dim"] = c["latent_dim"] if c["latent_dim"] > 0 else c["final_dim"]
    return c


def layers_of(fields: Mapping[str, Any], name: str, *, origin: str) -> list[tuple[int, int, int]]:
    """Return channels, kernel and stride of each convolution.

    Raises:
        ValueError: The field is not such a list.
    """
    layers = literal(fields[name], name=name, origin=origin)
    if not isinstance(layers, list | tuple) or not layers or not all(_is_layer(layer) for layer in layers):
        raise _malformed(name, "a list of (channels, kernel, stride)", fields[name], origin)
    return [(channels, kernel, stride) for channels, kernel, stride in layers]


def temperatures_of(fields: Mapping[str, Any], name: str, *, origin: str) -> list[float]:
    """Return the first and last temperature of a quantiser, and the factor per update.

    Raises:
        ValueError: The field is not a list of three numbers.
    """
    temperatures = literal(fields[name], name=name, origin=origin)
    if not isinstance(temperatures, list | tuple) or len(temperatures) != 3 or not all(map(_is_positive, temperatures)):
        raise _malformed(name, "(start, end, decay)", fields[name], origin)
    return [float(value) for value in temperatures]


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, list | tuple) and len(layer) == 3 and all(type(n) is int and n > 0 for n in layer)


def resolved_head(model: Mapping[str, Any], inner: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """Return the fields of a recogniser; missing ones are taken from the inner settings, where fairseq copied them.

    Raises:
        ValueError: A field is of another type than fairseq writes.
    """
    given = {name: value for name, value in model.items() if value is not None}
    found = {**HEAD, **{outer: inner[name] for name, outer in TUNED.items()}, **given}
    checked(Head, found, origin, program="fairseq")
    checked(Encoder, {**inner, **{name: found[outer] for name, outer in TUNED.items()}}, origin, program="fairseq")
    return found


def loss_weights(criterion: Mapping[str, Any], *, origin: str) -> tuple[float, float]:
    """Return the weights of diversity loss and feature penalty; fairseq adds neither by default.

    Raises:
        ValueError: The field is not a list of one or two numbers.
    """
    match literal(criterion.get("loss_weights"), name="loss_weights", origin=origin):
        case None:
            return 0.0, 0.0
        case [int() | float() as both]:
            return float(both), float(both)
        case [int() | float() as diversity, int() | float() as penalty]:
            return float(diversity), float(penalty)
    raise _malformed("loss_weights", "(diversity, feature penalty)", criterion["loss_weights"], origin)


def literal(value: Any, *, name: str, origin: str) -> Any:
    """Parse a list that fairseq stores as a Python expression, such as `[(512, 3, 2)] * 4`, without evaluating it.

    Args:
        value: The expression as a string, or its value.
        name: Name of the field, for messages.
        origin: File name for messages.

    Raises:
        ValueError: The string contains anything but numbers, lists, tuples, + and *, or is too long.
    """
    if not isinstance(value, str):
        return value
    if len(value) <= _MAX_TEXT:
        with contextlib.suppress(SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
            return _walk(ast.parse(value.strip(), mode="eval").body)
    raise _malformed(name, "numbers and lists, combined by + and *", value, origin)


def _walk(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.List(elts=items):
            return [_walk(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_walk(item) for item in items)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _walk(left) + _walk(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            a, b = _walk(left), _walk(right)
            items, times = (b, a) if isinstance(a, int) else (a, b)
            if isinstance(items, list | tuple) and isinstance(times, int) and len(items) * times <= _MAX_ITEMS:
                return items * times
    raise TypeError


def _malformed(name: str, expected: str, value: Any, origin: str) -> ValueError:
    return ValueError(
        f"{origin}: {name} should be {expected}, got {shown(value)}; likely the file was changed by hand. "
        "No code in it was executed"
    )
