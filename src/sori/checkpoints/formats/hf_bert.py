"""Read and write Hugging Face folders of BERT; read the original (TensorFlow) files.

Architectures: BertForPreTraining, BertForMaskedLM, BertModel, and with a classifier BertForSequenceClassification and
BertForTokenClassification. The tensors determine which heads are present: published files often hold more than their
architecture uses.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sori.checkpoints.formats.certificate import MODEL_CARD, Certificate, Entry, licence_in, sha256
from sori.checkpoints.formats.foreign_json import checked, read_if_there
from sori.checkpoints.formats.hf_files import CONFIG, WEIGHTS, TensorFiles, read_weights
from sori.checkpoints.formats.hf_schemas import BertFields
from sori.checkpoints.formats.hf_wordpiece import read_wordpiece, write_wordpiece
from sori.checkpoints.formats.imported import Imported, Model
from sori.checkpoints.formats.origin import MAX_LINES, HuggingFaceOrigin
from sori.checkpoints.formats.tensors import Row, give, require_count, take
from sori.core.archives import open_zip
from sori.core.files import inside, write_tensors
from sori.core.foreign_values import shortened, shown
from sori.core.shapes import Tensor
from sori.core.user_files import open_bytes
from sori.models.bert import BertConfig
from sori.models.classifier import ClassifierConfig

MODEL_TYPE = "bert"
ORIGINAL_CONFIG = "bert_config.json"
_MOST_EXPANSION = 20
"""Maximum expansion of an archive of weights, which hardly compress."""

_SAME = {
    "num_tokens": "vocab_size",
    "dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "ffn_dim": "intermediate_size",
    "num_positions": "max_position_embeddings",
    "num_parts": "type_vocab_size",
    "norm_eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
_GELU = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_CLASSIFIERS = {"BertForSequenceClassification": "text", "BertForTokenClassification": "words"}
_OLD_ENDS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_ORIGINAL_ENDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "output_weights": "weight",
    "output_bias": "bias",
}
_OPTIMISER = ("adam_m", "adam_v", "global_step", "AdamWeightDecayOptimizer")


def read(folder: Path, config: Any, *, values: bool = True) -> Imported:
    """Read a BERT from a folder written by transformers.

    Args:
        folder: Folder with config.json, weights and tokenizer files.
        config: Content of config.json.
        values: Whether to read the values of the tensors and compute digests; see `store.read_settings`.

    Raises:
        ValueError: Something is missing, damaged or of another kind, or a tensor would be unused.
    """
    fields = checked(BertFields, config, folder / CONFIG)
    imported = _imported(folder, fields, read_weights(folder, values=values), "huggingface", values=values)
    origin = HuggingFaceOrigin.from_data({"config": config}, origin=str(folder))
    return imported._replace(model=imported.model._replace(origin=origin))


def read_original(path: Path) -> Imported:
    """Read an original BERT, its tensors stored in an .npz file under their original names.

    Args:
        path: The .npz file, with `bert_config.json` and `vocab.txt` beside it.

    Raises:
        ValueError: As in `read`.
    """
    config = read_if_there(path.parent / ORIGINAL_CONFIG)
    if config is None:
        raise ValueError(f"expected {ORIGINAL_CONFIG} beside {path}, as in the original archive; got none")
    with open_zip(path, most_expansion=_MOST_EXPANSION), open_bytes(path) as file, np.load(file) as arrays:
        weights = from_original({name: arrays[name] for name in arrays.files})
    # The original code computes the tanh approximation of GELU, also if its configuration says `gelu`.
    fields = checked(BertFields, config, path.parent / ORIGINAL_CONFIG).model_copy(update={"hidden_act": "gelu_new"})
    return _imported(path.parent, fields, TensorFiles(weights, [path]), "original (npz)", values=True)


def from_original(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Rename original arrays to the names of transformers, as tensors, without the optimiser's.

    `/` becomes `.`, layer matrices (kernel) are transposed, gamma and beta become weight and bias.
    """
    found = {}
    for name, array in arrays.items():
        if any(part in name for part in _OPTIMISER):
            continue
        parts = re.sub(r"layer_(\d+)", r"layer/\1", name).split("/")
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if parts[-1] == "kernel":
            tensor = tensor.T.contiguous()
        if parts[-1].endswith("_embeddings"):
            parts.append("weight")
        elif parts[:2] == ["cls", "predictions"] and parts[-1] == "output_bias":
            parts[-1] = "bias"
        else:
            parts[-1] = _ORIGINAL_ENDS.get(parts[-1], parts[-1])
        found[".".join(parts)] = tensor
    return found


def _imported(folder: Path, config: BertFields, files: TensorFiles, kind: str, *, values: bool) -> Imported:
    encoder = _settings(config, origin=str(folder))
    architecture = (config.architectures or ["BertModel"])[0]
    names = {_modern(name): name for name in files.weights}
    weights = {new: files.weights[old] for new, old in names.items()}
    _check_sizes(encoder, weights, folder)
    wordpiece = read_wordpiece(folder, num_tokens=encoder.num_tokens)
    special = {"pad": wordpiece.pad, "cls": wordpiece.cls, "sep": wordpiece.sep, "mask": wordpiece.mask}
    encoder = encoder.model_copy(update=special)
    classifier = _classifier(config, architecture, weights)
    layout = rows(encoder, parts_in(weights), prefix="bert." if any(n.startswith("bert.") for n in weights) else "")
    if classifier is not None:
        layout = with_head(layout)
    ours, entries = take(weights, layout, dropped=_duplicates(weights, folder), origin=str(folder))
    entries = [e.model_copy(update={"source": names[e.source]}) if e.source else e for e in entries]
    model = Model(classifier or encoder, encoder if classifier else None, None, ours, None, wordpiece)
    certificate = Certificate(
        source=str(folder),
        source_format=f"{kind}, {shortened(architecture)}",
        sha256=sha256(files.paths) if values else {},
        tensors=tuple(entries),
        source_parameters=sum(tensor.numel() for tensor in files.weights.values()),
        target_parameters=sum(tensor.numel() for tensor in ours.values()),
        sampling_rate=None,
        licence=licence_in(folder / MODEL_CARD),
    )
    return Imported(model, certificate)


def _check_sizes(config: BertConfig, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Check the numbers of layers and tokens before lists of these lengths are made."""
    require_count("num_hidden_layers", config.num_layers, weights, origin=str(folder))
    name = next((name for name in weights if name.endswith("embeddings.word_embeddings.weight")), None)
    got = "missing" if name is None else tuple(weights[name].shape)
    if got != (config.num_tokens, config.dim):
        raise ValueError(
            f"{folder}: by its settings word_embeddings.weight should be {(config.num_tokens, config.dim)}, got {got}; "
            "likely the settings are those of another file"
        )


def write(model: Model, folder: Path) -> list[Entry]:
    """Write a folder for `from_pretrained` of transformers.

    Args:
        model: A BERT, or a classifier on one.
        folder: Empty folder.

    Returns:
        An entry for every tensor.
    """
    config = model.encoder or model.system
    assert isinstance(config, BertConfig)  # noqa: S101 - only BERT has word pieces
    assert model.wordpiece is not None  # noqa: S101 - likewise
    source = model.origin.config if isinstance(model.origin, HuggingFaceOrigin) else {}
    inner = {name.removeprefix("encoder."): tensor for name, tensor in model.weights.items()}
    parts = {name.split(".", maxsplit=1)[0] for name in inner}
    architecture, labels = _architecture(parts, source), {}
    if isinstance(model.system, ClassifierConfig):
        architecture = {read: name for name, read in _CLASSIFIERS.items()}[model.system.read]
        labels = {
            "id2label": {str(number): name for number, name in enumerate(model.system.classes)},
            "label2id": {name: number for number, name in enumerate(model.system.classes)},
        }
    layout = rows(config, parts, prefix="" if architecture == "BertModel" else "bert.")
    if isinstance(model.system, ClassifierConfig):
        layout = with_head(layout)
    theirs, entries = give(model.weights, layout, origin="this model")
    act = {"erf": "gelu", "tanh": "gelu_new"}[config.gelu]
    if _GELU.get(source.get("hidden_act", "gelu")) == config.gelu:
        act = source.get("hidden_act", "gelu")
    settings = {
        **source,
        "architectures": [architecture],
        "model_type": MODEL_TYPE,
        **{name: getattr(config, ours) for ours, name in _SAME.items()},
        "hidden_act": act,
        "pad_token_id": config.pad,
        **labels,
    }
    for name, content in {CONFIG: settings, **write_wordpiece(model.wordpiece)}.items():
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        inside(folder, name).write_text(text, encoding="utf-8")
    write_tensors(theirs, folder / WEIGHTS, metadata={"format": "pt"})
    return entries


def rows(config: BertConfig, parts: Iterable[str], *, prefix: str) -> list[Row]:
    """Return every tensor of sori with its name (or names) in transformers.

    Args:
        config: Configuration of the model.
        parts: Which of `pooler`, `predictor` and `next_sentence` are present.
        prefix: Prefix of the names of tensors below the heads.
    """
    table: list[Row] = []

    def same(ours: str, theirs: str, kinds: Iterable[str] = ("weight", "bias")) -> None:
        table.extend(Row(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for kind in kinds)

    for ours, theirs in (("tokens", "word"), ("positions", "position"), ("parts", "token_type")):
        same(ours, f"{prefix}embeddings.{theirs}_embeddings", ("weight",))
    same("transformer.norm", f"{prefix}embeddings.LayerNorm")
    for number in range(config.num_layers):
        ours, theirs = f"transformer.blocks.{number}", f"{prefix}encoder.layer.{number}"
        for kind in ("weight", "bias"):
            three = tuple(f"{theirs}.attention.self.{part}.{kind}" for part in ("query", "key", "value"))
            table.append(Row(f"{ours}.attention.qkv.{kind}", three))
        same(f"{ours}.attention.out", f"{theirs}.attention.output.dense")
        same(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm")
        same(f"{ours}.expand", f"{theirs}.intermediate.dense")
        same(f"{ours}.contract", f"{theirs}.output.dense")
        same(f"{ours}.ffn_norm", f"{theirs}.output.LayerNorm")
    if "pooler" in parts:
        same("pooler", f"{prefix}pooler.dense")
    if "predictor" in parts:
        same("predictor.dense", "cls.predictions.transform.dense")
        same("predictor.norm", "cls.predictions.transform.LayerNorm")
        same("predictor", "cls.predictions", ("bias",))
    if "next_sentence" in parts:
        same("next_sentence", "cls.seq_relationship")
    return table


def with_head(table: list[Row]) -> list[Row]:
    """Return the rows of a classifier on a BERT."""
    below = [row._replace(ours=f"encoder.{row.ours}") for row in table]
    return below + [Row(f"head.{kind}", (f"classifier.{kind}",)) for kind in ("weight", "bias")]


def parts_in(weights: Iterable[str]) -> set[str]:
    """Return which of sori's parts the tensors of a file belong to."""
    known = {"pooler.dense": "pooler", "cls.predictions": "predictor", "cls.seq_relationship": "next_sentence"}
    return {part for name in weights for theirs, part in known.items() if theirs in name}


def _settings(c: BertFields, *, origin: str) -> BertConfig:
    problems = []
    if c.hidden_act not in _GELU:
        problems.append(f"hidden_act is {shown(c.hidden_act)}, sori supports only {', '.join(_GELU)}")
    if c.position_embedding_type != "absolute":
        problems.append(f"position_embedding_type is {shown(c.position_embedding_type)}, sori supports only 'absolute'")
    if c.is_decoder or c.add_cross_attention:
        problems.append("it is a decoder")
    if not c.tie_word_embeddings:
        problems.append("its output matrix is not the embedding (tie_word_embeddings)")
    if problems:
        raise ValueError(f"{origin} cannot be read, as sori would compute something else:\n  " + "\n  ".join(problems))
    data = {ours: getattr(c, theirs) for ours, theirs in _SAME.items()} | {"gelu": _GELU[c.hidden_act]}
    special = {"pad": 0, "cls": 0, "sep": 0, "mask": 0}  # set from the vocabulary later
    return BertConfig.from_data({**data, **special}, origin=f"{origin}: {CONFIG}")


def _classifier(config: BertFields, architecture: str, weights: Mapping[str, Tensor]) -> ClassifierConfig | None:
    if architecture not in _CLASSIFIERS:
        return None
    names = config.id2label or {}
    number = weights["classifier.bias"].numel() if "classifier.bias" in weights else 0
    if number > MAX_LINES:
        raise ValueError(f"expected at most {MAX_LINES:,} classes, got {number:,} (classifier.bias)")
    classes = tuple(str(names.get(str(index), f"LABEL_{index}")) for index in range(number))
    return ClassifierConfig(read=_CLASSIFIERS[architecture], classes=classes)


def _architecture(parts: set[str], source: Mapping[str, Any]) -> str:
    if source.get("architectures"):
        return str(source["architectures"][0])
    if "next_sentence" in parts:
        return "BertForPreTraining"
    return "BertForMaskedLM" if "predictor" in parts else "BertModel"


def _duplicates(weights: Mapping[str, Tensor], folder: Path) -> dict[str, str]:
    """Return tensors that duplicate others: the output matrix is the embedding, its bias is stored twice.

    Raises:
        ValueError: They differ from the originals.
    """
    dropped = {name: "the numbers 0, 1, 2, ..." for name in weights if name.endswith("embeddings.position_ids")}
    embedding = next((name for name in weights if name.endswith("word_embeddings.weight")), "")
    for name, original in {
        "cls.predictions.decoder.weight": embedding,
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }.items():
        if name in weights and original in weights:
            same = weights[name].is_meta or torch.equal(weights[name], weights[original])  # `meta`: without values
            if not same:
                raise ValueError(
                    f"{folder}: {name} differs from {original}; a model with a separate output matrix is not "
                    "supported, as sori would compute something else"
                )
            dropped[name] = f"the same as {original}"
    return dropped


def _modern(name: str) -> str:
    for old, new in _OLD_ENDS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
