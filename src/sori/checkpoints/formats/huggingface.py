"""Read and write Hugging Face folders of Wav2Vec2ForPreTraining, Wav2Vec2Model and Wav2Vec2ForCTC.

`transformers` itself is not needed. Names of tensors: `rows`; of settings: `hf_config.py`. BERT: `hf_bert.py`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from sori.checkpoints.formats import hf_bert
from sori.checkpoints.formats.certificate import MODEL_CARD, Certificate, Entry, licence_in, sha256
from sori.checkpoints.formats.foreign_json import checked, read_if_there
from sori.checkpoints.formats.hf_config import (
    PREPROCESSOR,
    Architecture,
    Settings,
    architecture_of,
    read_preprocessor,
    read_settings,
    write_preprocessor,
    write_settings,
)
from sori.checkpoints.formats.hf_files import WEIGHTS, TensorFiles, read_tensors, read_weights
from sori.checkpoints.formats.hf_schemas import Kind, Wav2Vec2Fields
from sori.checkpoints.formats.hf_text import (
    TOKENIZER,
    read_tokenizer,
    target_language,
    tokenizer_files,
    write_tokenizer,
)
from sori.checkpoints.formats.imported import Imported, Model
from sori.checkpoints.formats.origin import HuggingFaceOrigin
from sori.checkpoints.formats.tensors import Row, give, require_count, take
from sori.checkpoints.formats.vocabularies import Classes
from sori.core.files import inside, write_tensors
from sori.core.shapes import Tensor
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig

CONFIG = "config.json"

_OLD_NAMES = {
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
    "mask_time_emb_vector": "masked_spec_embed",
}
"""Suffixes of names in files of older versions."""


def is_huggingface(folder: Path) -> bool:
    """Return whether a folder's config.json was written by transformers."""
    config = read_if_there(folder / CONFIG)
    return isinstance(config, dict) and "model_type" in config


def read(folder: Path, *, language: str | None = None, values: bool = True) -> Imported:
    """Read a model from a folder written by transformers.

    Args:
        folder: Folder with config.json, weights (safetensors or .bin, in one file or several) and, for a recogniser,
            tokenizer files.
        language: For a recogniser with language adapters (MMS): language of adapter and vocabulary.
        values: Whether to read the values of the tensors and compute digests; see `store.read_settings`.

    Raises:
        ValueError: Something is missing, damaged or of another kind, or a tensor would be unused.
    """
    config = read_if_there(folder / CONFIG)
    kind = checked(Kind, config, folder / CONFIG)
    if kind.model_type == hf_bert.MODEL_TYPE:
        return hf_bert.read(folder, config, values=values)
    architecture_of(kind, origin=str(folder))
    preprocessor, known = read_preprocessor(folder)
    settings = read_settings(checked(Wav2Vec2Fields, config, folder / CONFIG), known, origin=str(folder))
    files = read_weights(folder, values=values)
    if settings.ctc is not None and settings.encoder.adapter_dim:
        settings, files = _with_adapter(folder, settings, files, language, values=values)
    elif language is not None:
        raise ValueError(f"{folder} has no language adapters to choose from; omit --language")
    require_count("num_hidden_layers", settings.encoder.num_layers, files.weights, origin=str(folder))
    names = {_modern(name): name for name in files.weights}
    weights = {new: files.weights[old] for new, old in names.items()}
    remarks: list[str] = []
    classes = None
    if settings.ctc is not None:
        _check_head(weights, settings.num_classes, folder)
        classes, remarks = read_tokenizer(
            folder, num_classes=settings.num_classes, blank=settings.blank, language=language
        )
    fresh = _mask_vector(weights, settings)
    dropped = {} if settings.encoder.front.kind != "conv" else _cancelled(settings.encoder, weights)
    layout = rows(settings.encoder, settings.architecture, order=classes.order if classes else None)
    ours, entries = take({**weights, **fresh}, layout, dropped=dropped, origin=str(folder))
    entries = [_as_in_file(entry, names, fresh) for entry in entries]
    model = Model(
        system=settings.ctc or settings.encoder,
        encoder=settings.encoder if settings.ctc else None,
        vocabulary=classes.vocabulary if classes else None,
        weights=ours,
        origin=_origin(folder, config, preprocessor, classes, language),
    )
    certificate = Certificate(
        source=str(folder),
        source_format=f"huggingface, {settings.architecture}",
        sha256=sha256(files.paths) if values else {},
        tensors=tuple(entries),
        source_parameters=sum(tensor.numel() for tensor in files.weights.values()),
        target_parameters=sum(tensor.numel() for tensor in ours.values()),
        normalisation=settings.normalisation,
        licence=licence_in(folder / MODEL_CARD),
        notes=tuple(remarks),
    )
    return Imported(model, certificate)


def _origin(
    folder: Path, config: Any, preprocessor: Any, classes: Classes | None, language: str | None
) -> HuggingFaceOrigin:
    """Return the files of the folder that a model converted back needs."""
    about = {
        "config": config,
        "preprocessor": preprocessor,
        "tokenizer": tokenizer_files(folder, language) if classes else {},
        "order": classes.order if classes else None,
    }
    return HuggingFaceOrigin.from_data(about, origin=str(folder))


def write(model: Model, folder: Path) -> list[Entry]:
    """Write a folder for `from_pretrained` of transformers.

    Args:
        model: Model to write; one without quantiser becomes a Wav2Vec2Model.
        folder: Empty folder.

    Returns:
        An entry for every tensor.

    Raises:
        ValueError: The model has parts that transformers does not support; the message names them.
    """
    if model.wordpiece is not None:
        return hf_bert.write(model, folder)
    architecture: Architecture = "Wav2Vec2Model"
    if isinstance(model.system, CtcConfig):
        architecture = "Wav2Vec2ForCTC"
    elif model.has_objective:
        architecture = "Wav2Vec2ForPreTraining"
    config = write_settings(model, architecture)
    origin = model.origin if isinstance(model.origin, HuggingFaceOrigin) else None
    order = origin.order if origin is not None and isinstance(model.system, CtcConfig) else None
    _check_order(order, model)
    layout = rows(model.wav2vec2_config, architecture, order=order)
    theirs, entries = give(model.weights, layout, origin="this model")
    contents: dict[str, Any] = {CONFIG: config, PREPROCESSOR: write_preprocessor(model)}
    if model.vocabulary is not None:
        contents.update(write_tokenizer(model.vocabulary, origin).items())
    for name, content in contents.items():
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        inside(folder, name).write_text(text, encoding="utf-8")
    write_tensors(theirs, folder / WEIGHTS, metadata={"format": "pt"})
    language = None if origin is None else origin.tokenizer.get(TOKENIZER, {}).get("target_lang")
    if model.wav2vec2_config.adapter_dim and language:  # where transformers looks for a given language
        adapter = {name: tensor for name, tensor in theirs.items() if ".adapter_layer." in name or "lm_head" in name}
        write_tensors(adapter, inside(folder, f"adapter.{language}.safetensors"), metadata={"format": "pt"})
    return entries


def _check_head(weights: Mapping[str, Tensor], num_classes: int, folder: Path) -> None:
    """Check the number of classes before a list of that length is made."""
    got = tuple(weights["lm_head.bias"].shape) if "lm_head.bias" in weights else "missing"
    if got != (num_classes,):
        raise ValueError(
            f"{folder / CONFIG}: vocab_size is {num_classes:,}, but lm_head.bias is {got}; likely the settings are "
            "those of another file"
        )


def _check_order(order: tuple[int, ...] | None, model: Model) -> None:
    if order is not None and model.vocabulary is not None and len(order) != len(model.vocabulary):
        raise ValueError(
            f"expected the order of {len(model.vocabulary)} classes in the model's origin, got {len(order)}; likely "
            "its config.json was changed by hand or is damaged: copy the model again"
        )


def rows(config: Wav2Vec2Config, architecture: Architecture, *, order: tuple[int, ...] | None = None) -> list[Row]:
    """Return every tensor of sori with its name (or names) in transformers.

    Args:
        config: Configuration of the encoder, with a convolutional front end.
        architecture: Architecture of the model in transformers.
        order: For a recogniser: their class for each of ours.
    """
    front = config.front
    assert isinstance(front, ConvConfig)  # noqa: S101 - other front ends have been refused
    below = "" if architecture == "Wav2Vec2Model" else "wav2vec2."
    table: list[Row] = []

    def same(ours: str, theirs: str, kinds: Iterable[str] = ("weight", "bias")) -> None:
        table.extend(Row(f"{ours}.{kind}", (f"{below}{theirs}.{kind}",)) for kind in kinds)

    for i in range(len(front.kernels)):
        layer = f"feature_extractor.conv_layers.{i}"
        has_bias = front.bias and (i > 0 or front.norm == "layer")
        same(f"front.convs.{i}", f"{layer}.conv", ("weight", "bias") if has_bias else ("weight",))
        if front.norm == "layer" or i == 0:
            same(f"front.norms.{i}", f"{layer}.layer_norm")
    same("feature_norm", "feature_projection.layer_norm")
    same("projection", "feature_projection.projection")
    table.append(Row("mask_vector", (f"{below}masked_spec_embed",)))
    conv = "encoder.pos_conv_embed.conv"
    table.append(Row("positions.gain", (f"{below}{conv}.parametrizations.weight.original0",)))
    table.append(Row("positions.direction", (f"{below}{conv}.parametrizations.weight.original1",)))
    same("positions", conv, ("bias",))
    same("transformer.norm", "encoder.layer_norm")
    for i in range(config.num_layers):
        ours, theirs = f"transformer.blocks.{i}", f"encoder.layers.{i}"
        for kind in ("weight", "bias"):
            parts = tuple(f"{below}{theirs}.attention.{part}_proj.{kind}" for part in "qkv")
            table.append(Row(f"{ours}.attention.qkv.{kind}", parts))
        same(f"{ours}.attention.out", f"{theirs}.attention.out_proj")
        same(f"{ours}.attention_norm", f"{theirs}.layer_norm")
        same(f"{ours}.expand", f"{theirs}.feed_forward.intermediate_dense")
        same(f"{ours}.contract", f"{theirs}.feed_forward.output_dense")
        same(f"{ours}.ffn_norm", f"{theirs}.final_layer_norm")
        if config.adapter_dim:
            same(f"{ours}.adapter.norm", f"{theirs}.adapter_layer.norm")
            same(f"{ours}.adapter.reduce", f"{theirs}.adapter_layer.linear_1")
            same(f"{ours}.adapter.expand", f"{theirs}.adapter_layer.linear_2")
    below = ""
    if architecture == "Wav2Vec2ForPreTraining":
        entries, width = config.num_groups * config.num_codes, config.code_dim // config.num_groups
        shapes = ((config.num_groups, config.num_codes, width), (1, entries, width))
        table.append(Row("quantizer.codebook", ("quantizer.codevectors",), shapes))
        same("quantizer.logits", "quantizer.weight_proj")
        same("project_codes", "project_q")
        same("project_context", "project_hid")
    if architecture == "Wav2Vec2ForCTC":
        table = [row._replace(ours=f"encoder.{row.ours}") for row in table]
        table += [Row(f"head.{kind}", (f"lm_head.{kind}",), order=order) for kind in ("weight", "bias")]
    return table


def _modern(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _as_in_file(entry: Entry, names: Mapping[str, str], fresh: Mapping[str, Tensor]) -> Entry:
    if entry.source in fresh:
        reason = "the source has none as it does not mask; zeros, used only in training with masks"
        return entry.model_copy(update={"source": None, "how": "new", "reason": reason})
    return entry.model_copy(update={"source": names[entry.source]}) if entry.source else entry


def _mask_vector(weights: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """Return a mask vector for a model saved without one: transformers has none if nothing is masked."""
    name = "masked_spec_embed" if settings.architecture == "Wav2Vec2Model" else "wav2vec2.masked_spec_embed"
    mask = (settings.ctc or settings.encoder).mask
    if name in weights or mask.time_prob or mask.channel_prob:
        return {}
    return {name: torch.zeros(settings.encoder.dim)}


def _cancelled(config: Wav2Vec2Config, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the bias of a first layer whose outputs are normalised over time: it has no effect."""
    below = next(
        (
            name.removesuffix("feature_projection.projection.bias")
            for name in weights
            if name.endswith("feature_projection.projection.bias")
        ),
        "",
    )
    name = f"{below}feature_extractor.conv_layers.0.conv.bias"
    front = config.front
    if name in weights and isinstance(front, ConvConfig) and front.norm == "group":
        return {name: "a constant before a normalisation over time has no effect"}
    return {}


def _with_adapter(
    folder: Path, settings: Settings, files: TensorFiles, language: str | None, *, values: bool
) -> tuple[Settings, TensorFiles]:
    """Replace adapter and output layer by those of a language."""
    if language is None:
        language = target_language(folder)
    found = {
        match[1]: path
        for path in sorted(folder.glob("adapter.*"))
        if (match := re.fullmatch(r"adapter\.([\w-]+)\.(?:safetensors|bin)", path.name))
    }
    if language not in found:
        if language is None and not found:
            return settings, files  # saved for one language: everything is in the main file
        known = ", ".join(sorted(found)[:20]) or "none"
        raise ValueError(f"{folder} has no adapter for {language!r}; select one with `--language`. It has: {known}")
    path = found[language]
    adapter = read_tensors(path, values=values)
    weights = {**files.weights, **{_prefixed(name): tensor for name, tensor in adapter.items()}}
    if unknown := sorted(weights.keys() - files.weights.keys()):
        raise ValueError(f"{path} holds tensors that are not part of the model: {', '.join(unknown[:5])}")
    if "lm_head.bias" in weights and weights["lm_head.bias"].ndim == 1:
        settings = settings._replace(num_classes=len(weights["lm_head.bias"]))
    return settings, TensorFiles(weights, [*files.paths, path])


def _prefixed(name: str) -> str:
    return name if name.startswith(("wav2vec2.", "lm_head.")) else f"wav2vec2.{name}"
