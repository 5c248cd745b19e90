"""Read and write fairseq's `.pt` files of wav2vec 2.0, pre-trained (`wav2vec2`) or fine-tuned (`wav2vec_ctc`).

XLSR-53 and XLS-R have the same format; for wav2vec and vq-wav2vec see `fairseq_first.py`. `fairseq` itself is not
needed, and no code in the file is executed. Names of tensors: `rows`; of settings: `fairseq_config.py`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from sori.checkpoints.formats import fairseq_first
from sori.checkpoints.formats.certificate import MODEL_CARD, Certificate, Entry, licence_in, sha256
from sori.checkpoints.formats.fairseq_config import history, read_settings, source_sections, write_settings
from sori.checkpoints.formats.fairseq_text import (
    DICTIONARY,
    FIRST,
    classes_before,
    classes_of,
    dictionary_of,
    read_lines,
)
from sori.checkpoints.formats.hf_files import is_tensors, without_values
from sori.checkpoints.formats.imported import Imported, Model
from sori.checkpoints.formats.origin import FairseqOrigin
from sori.checkpoints.formats.pickles import read_pickle
from sori.checkpoints.formats.tensors import Row, give, require_count, take
from sori.checkpoints.formats.vocabularies import Classes
from sori.core.foreign_values import shortened
from sori.core.shapes import Tensor
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.models.wav2vec import Wav2VecConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig

CHECKPOINT = "checkpoint.pt"
_ENCODER = "w2v_encoder.w2v_model."
_HEAD = {kind: f"w2v_encoder.proj.{kind}" for kind in ("weight", "bias")}
"""Names of the output layer of a recogniser."""
_UNLIKELY = -1e4
"""Bias of a class that is never to be predicted; representable in 16 bits."""
_OURS = "sori"
"""Key under which files written by sori keep what the format would lose; fairseq ignores it."""
_BIAS = "feature_extractor.conv_layers.0.0.bias"


def is_fairseq(path: Path) -> bool:
    """Return whether a file may be a fairseq checkpoint, by its name; `read` checks the content."""
    return path.suffix == ".pt" and path.is_file()


def read(path: Path, *, dictionary: Path | None = None, values: bool = True) -> Imported:
    """Read a model from a fairseq checkpoint.

    Args:
        path: The file.
        dictionary: Dictionary of the classes of a recogniser; None: `dict.ltr.txt` beside the file.
        values: Whether to read the values of the tensors and compute digests; see `store.read_settings`.

    Raises:
        ValueError: Something is missing, damaged or of another kind, or a tensor would be unused.
    """
    checkpoint = _read_checkpoint(path)
    weights: dict[str, Tensor] = checkpoint["model"]
    if not values:
        checkpoint["model"] = weights = without_values(weights)
    if fairseq_first.belongs(weights):
        if dictionary is not None:
            raise ValueError(f"{path} was not fine-tuned and has no output classes; omit the dictionary")
        return fairseq_first.read(path, checkpoint, values=values)
    settings = read_settings(checkpoint, list(weights), origin=str(path))
    require_count("encoder_layers", settings.encoder.num_layers, weights, origin=str(path))
    classes = lines = None
    files = [path]
    if settings.ctc is not None:
        dictionary_path = dictionary or path.parent / DICTIONARY
        files.append(dictionary_path)
        lines = read_lines(dictionary_path, needed_by=path)
        classes = classes_of(lines, dictionary_path)
        _check_head(weights, len(classes.order), dictionary_path)
        classes = classes_before(lines, checkpoint.get(_OURS)) or classes
    elif dictionary is not None:
        raise ValueError(f"{path} was not fine-tuned and has no output classes; omit the dictionary")
    order = classes.order if classes else None
    layout = rows(settings.encoder, classes=classes is not None, objective=settings.has_objective, order=order)
    dropped = _dropped(weights, settings.encoder, classes=classes is not None, objective=settings.has_objective)
    ours, entries = take(weights, layout, dropped=dropped, origin=str(path))
    ours = {name: tensor.contiguous() for name, tensor in ours.items()}
    model = Model(
        system=settings.ctc or settings.encoder,
        encoder=settings.encoder if settings.ctc else None,
        vocabulary=classes.vocabulary if classes else None,
        weights=ours,
        origin=FairseqOrigin.from_data(
            {"cfg": settings.sections, "dictionary": lines, "history": history(checkpoint)}, origin=str(path)
        ),
    )
    certificate = Certificate(
        source=str(path),
        source_format=f"fairseq, {settings.architecture}",
        sha256=sha256(files) if values else {},
        tensors=tuple(entries),
        source_parameters=sum(tensor.numel() for tensor in weights.values()),
        target_parameters=sum(tensor.numel() for tensor in ours.values()),
        normalisation=settings.normalisation,
        licence=licence_in(path.parent / MODEL_CARD),
        notes=(*settings.remarks, *_notes(checkpoint, classes)),
    )
    return Imported(model, certificate)


def write(model: Model, folder: Path) -> list[Entry]:
    """Write the files that fairseq loads: `checkpoint.pt` and, for a recogniser, `dict.ltr.txt`.

    Args:
        model: Model to write; an encoder needs its quantiser.
        folder: Empty folder.

    Returns:
        An entry for every tensor.

    Raises:
        ValueError: The model has parts that fairseq does not support; the message names them.
    """
    if isinstance(model.system, Wav2VecConfig | VqWav2VecConfig):
        cfg, theirs, entries = fairseq_first.write(model, model.system)
        _save(folder, cfg, theirs, model.origin if isinstance(model.origin, FairseqOrigin) else None, {})
        return entries
    settings = write_settings(model)
    source = model.origin if isinstance(model.origin, FairseqOrigin) and source_sections(model) else None
    lines = None if source is None or source.dictionary is None else list(source.dictionary)
    written = None if model.vocabulary is None else dictionary_of(model.vocabulary, lines)
    weights = dict(model.weights)
    added = 0
    if written is not None:
        added = len(written.order) - len(weights["head.bias"])
        weight, bias = weights["head.weight"], weights["head.bias"]
        weights["head.weight"] = torch.cat([weight, weight.new_zeros(added, weight.shape[1])])
        weights["head.bias"] = torch.cat([bias, bias.new_full((added,), _UNLIKELY)])
    layout = rows(
        model.wav2vec2_config,
        classes=written is not None,
        objective=written is None,
        order=written.order if written else None,
    )
    theirs, entries = give(weights, layout, origin="this model")
    if added:
        more = {"how": "reordered", "reason": f"with {added} more classes that fairseq requires, never predicted"}
        entries = [entry.model_copy(update=more if entry.target in _HEAD.values() else {}) for entry in entries]
    front = model.wav2vec2_config.front
    if isinstance(front, ConvConfig) and front.bias and front.norm == "group":
        name = f"{_ENCODER if written else ''}{_BIAS}"
        theirs[name] = torch.zeros(front.dim)
        entries.append(Entry(source=None, target=name, how="new", reason="zeros; it has no effect"))
    own = {} if written is None or written.rest is None else {_OURS: written.rest}
    _save(folder, settings, theirs, source, own, is_ctc=written is not None)
    if written is not None:
        text = "".join(f"{line}\n" for line in written.lines)
        (folder / DICTIONARY).write_text(text, encoding="utf-8", newline="\n")
    return entries


def _save(
    folder: Path,
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    source: FairseqOrigin | None,
    more: Mapping[str, Any],
    *,
    is_ctc: bool = False,
) -> None:
    checkpoint = {
        "args": None,
        "cfg": settings,
        "model": {name: _own_storage(tensor) for name, tensor in weights.items()},
        **_training_state(None if source is None else source.history, is_ctc=is_ctc),
        **more,
    }
    torch.save(checkpoint, folder / CHECKPOINT)


def rows(config: Wav2Vec2Config, *, classes: bool, objective: bool, order: tuple[int, ...] | None = None) -> list[Row]:
    """Return every tensor of sori with its name (or names) in fairseq.

    Args:
        config: Configuration of the encoder, with a convolutional front end.
        classes: Whether it is a recogniser.
        objective: Whether it has quantiser and projections.
        order: For a recogniser: their class for each of ours, if they differ.
    """
    front = config.front
    assert isinstance(front, ConvConfig)  # noqa: S101 - other front ends have been refused
    table: list[Row] = []

    def same(ours: str, theirs: str, kinds: Iterable[str] = ("weight", "bias")) -> None:
        table.extend(Row(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for kind in kinds)

    for i in range(len(front.kernels)):
        layer = f"feature_extractor.conv_layers.{i}"
        has_bias = front.bias and (i > 0 or front.norm == "layer")
        same(f"front.convs.{i}", f"{layer}.0", ("weight", "bias") if has_bias else ("weight",))
        if front.norm == "layer":
            same(f"front.norms.{i}", f"{layer}.2.1")
        elif i == 0:
            same(f"front.norms.{i}", f"{layer}.2")
    same("feature_norm", "layer_norm")
    same("projection", "post_extract_proj")
    table.append(Row("mask_vector", ("mask_emb",)))
    table.append(Row("positions.gain", ("encoder.pos_conv.0.weight_g",)))
    table.append(Row("positions.direction", ("encoder.pos_conv.0.weight_v",)))
    same("positions", "encoder.pos_conv.0", ("bias",))
    same("transformer.norm", "encoder.layer_norm")
    for i in range(config.num_layers):
        ours, theirs = f"transformer.blocks.{i}", f"encoder.layers.{i}"
        for kind in ("weight", "bias"):
            parts = tuple(f"{theirs}.self_attn.{part}_proj.{kind}" for part in "qkv")
            table.append(Row(f"{ours}.attention.qkv.{kind}", parts))
        same(f"{ours}.attention.out", f"{theirs}.self_attn.out_proj")
        same(f"{ours}.attention_norm", f"{theirs}.self_attn_layer_norm")
        same(f"{ours}.expand", f"{theirs}.fc1")
        same(f"{ours}.contract", f"{theirs}.fc2")
        same(f"{ours}.ffn_norm", f"{theirs}.final_layer_norm")
    if objective:
        codes, width = config.num_groups * config.num_codes, config.code_dim // config.num_groups
        shapes = ((config.num_groups, config.num_codes, width), (1, codes, width))
        table.append(Row("quantizer.codebook", ("quantizer.vars",), shapes))
        same("quantizer.logits", "quantizer.weight_proj")
        same("project_codes", "project_q")
        same("project_context", "final_proj")
    if classes:
        table = [Row(f"encoder.{row.ours}", tuple(f"{_ENCODER}{name}" for name in row.theirs)) for row in table]
        table += [Row(f"head.{kind}", (name,), order=order) for kind, name in _HEAD.items()]
    return table


def _read_checkpoint(path: Path) -> dict[str, Any]:
    checkpoint = read_pickle(path)
    weights = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if isinstance(checkpoint, dict) and isinstance(weights, dict) and weights:
        if not is_tensors(weights):
            stray = [shortened(name) for name, value in weights.items() if not isinstance(value, Tensor)]
            raise ValueError(f"{path}: expected only tensors in `model`, got others as well: {', '.join(stray[:5])}")
        return checkpoint
    got = (
        ", ".join(sorted(map(shortened, checkpoint))[:8]) if isinstance(checkpoint, dict) else type(checkpoint).__name__
    )
    raise ValueError(
        f"{path} is not a fairseq checkpoint: expected a dictionary with `model` and `cfg` or `args`, got {got}; "
        "likely a file of another program"
    )


def _dropped(
    weights: Mapping[str, Tensor], config: Wav2Vec2Config, *, classes: bool, objective: bool
) -> dict[str, str]:
    below = _ENCODER if classes else ""
    reasons = {}
    if classes:
        reasons = dict.fromkeys(("quantizer.", "project_q.", "final_proj."), "for pre-training only")
    elif not objective:
        reasons = dict.fromkeys(("project_q.", "final_proj."), "predicts features, not units: unsupported")
    front = config.front
    if isinstance(front, ConvConfig) and front.bias and front.norm == "group":
        reasons[_BIAS] = "a constant before a normalisation over time has no effect"
    return {name: reason for start, reason in reasons.items() for name in weights if name.startswith(f"{below}{start}")}


def _check_head(weights: Mapping[str, Tensor], num_classes: int, dictionary: Path) -> None:
    bias = weights.get(_HEAD["bias"])
    if bias is not None and len(bias) != num_classes:
        raise ValueError(
            f"{dictionary} does not match the model: its output layer has {len(bias)} classes, and the dictionary "
            f"{num_classes} ({', '.join(FIRST)} and {num_classes - len(FIRST)} lines); likely that of another model"
        )


def _training_state(past: Mapping[Any, str | int] | None, *, is_ctc: bool) -> dict[str, Any]:
    """Return the training state that fairseq requires in a checkpoint, with a reset optimiser."""
    last: dict[str, Any] = {
        "criterion_name": "CtcCriterion" if is_ctc else "Wav2vecCriterion",
        "optimizer_name": "FairseqAdam",
        "num_updates": 0,
        **(past or {}),
        "lr_scheduler_state": {"best": None},
    }
    return {
        "criterion": None,
        "optimizer_history": [last],
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": None},
        "last_optimizer_state": None,
    }


def _notes(checkpoint: Mapping[str, Any], classes: Classes | None) -> list[str]:
    notes = []
    if checkpoint.get("last_optimizer_state") is not None:
        notes.append("the optimiser's state is not converted")
    if classes and any(symbol.startswith("\u2581") for symbol in classes.vocabulary.symbols):
        notes.append("its classes are word pieces (sentencepiece); their \u2581 is not converted to a space")
    return notes


def _own_storage(tensor: Tensor) -> Tensor:
    """Copy a tensor out of a larger storage, which `torch.save` would write completely."""
    return tensor.clone() if tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size() else tensor
