"""Files in fairseq's format, by the key table of the specification, and sori's models to convert to it."""

import argparse
import re

import pytest
import torch
from torch import nn

from sori.checkpoints.formats.imported import Model
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.mask import MaskConfig
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

D, L, HEADS, FFN, CONV, CODES, CODE_DIM, FINAL = 96, 3, 6, 192, 64, 40, 32, 48
LAYERS = "[(64, 10, 5)] + [(64, 3, 2)] * 4 + [(64,2,2)] + [(64,2,2)]"
NORMALIZE = {"group": False, "layer": True}
LETTERS = ["|", "E", "T", "A", "'", "O"]
LINES = [f"{letter} {1000 - i}" for i, letter in enumerate(LETTERS)]
LAYOUT = pytest.mark.parametrize("layout", ["group", "layer"])
GENERATION = pytest.mark.parametrize("generation", ["cfg", "args"])
ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def pretraining_fields(layout):
    """Return fields of the architecture, with values that differ from all defaults."""
    return {
        "extractor_mode": "layer_norm" if layout == "layer" else "default",
        "encoder_layers": L,
        "encoder_embed_dim": D,
        "encoder_ffn_embed_dim": FFN,
        "encoder_attention_heads": HEADS,
        "activation_fn": "gelu",
        "dropout": 0.11,
        "attention_dropout": 0.12,
        "activation_dropout": 0.13,
        "encoder_layerdrop": 0.05,
        "dropout_input": 0.14,
        "dropout_features": 0.15,
        "final_dim": FINAL,
        "layer_norm_first": layout == "layer",
        "conv_feature_layers": LAYERS,
        "conv_bias": layout == "layer",
        "logit_temp": 0.2,
        "quantize_targets": True,
        "quantize_input": False,
        "same_quantizer": False,
        "target_glu": False,
        "feature_grad_mult": 0.3,
        "latent_vars": CODES,
        "latent_groups": 2,
        "latent_dim": CODE_DIM,
        "mask_length": 8,
        "mask_prob": 0.55,
        "mask_selection": "static",
        "mask_channel_length": 20,
        "mask_channel_prob": 0.25,
        "num_negatives": 50,
        "negatives_from_everywhere": False,
        "cross_sample_negatives": 0,
        "codebook_negatives": 0,
        "conv_pos": 32,
        "conv_pos_groups": 8,
        "latent_temp": [2.0, 0.1, 0.99999],
    }


TUNED = {
    "dropout": 0.0,
    "attention_dropout": 0.01,
    "activation_dropout": 0.1,
    "dropout_input": 0.02,
    "mask_length": 9,
    "mask_prob": 0.65,
    "mask_channel_length": 64,
    "mask_channel_prob": 0.5,
    "mask_selection": "static",
    "feature_grad_mult": 0.0,
}
"""Fields set by fine-tuning, which fairseq copies into the settings of the encoder."""


def settings(layout, generation, *, fine_tuned=False, changes=(), outer=(), task=()):
    """Return `cfg` (sections) or `args` (a flat Namespace) of a checkpoint."""
    about = {"data": "/somewhere/manifest", "sample_rate": 16_000, "normalize": NORMALIZE[layout], **dict(task)}
    model = {**pretraining_fields(layout), **dict(changes)}
    criterion = {"infonce": True, "loss_weights": [0.1, 10], "log_keys": ["temp"]}
    if not fine_tuned:
        if generation == "args":
            flat = {"arch": "wav2vec2", "task": "audio_pretraining", "criterion": "wav2vec", "lr": [0.0005]}
            flat |= {**model, **about, **criterion}
            return argparse.Namespace(**{**flat, "latent_temp": "(2.0, 0.1, 0.99999)", "loss_weights": "[0.1, 10]"})
        return {
            "common": {"seed": 7, "fp16": True},
            "model": {"_name": "wav2vec2", **model},
            "task": {"_name": "audio_pretraining", **about},
            "criterion": {"_name": "wav2vec", **criterion},
        }
    head = {**TUNED, "layerdrop": 0.07, "apply_mask": True, "freeze_finetune_updates": 10_000, "final_dropout": 0.0}
    head = {**head, "w2v_path": "/somewhere/wav2vec_small.pt", **dict(outer)}
    model |= {**TUNED, "encoder_layerdrop": 0.07, **dict(changes)}
    about |= {"labels": "ltr"}
    if generation == "args":
        inner = argparse.Namespace(arch="wav2vec2", task="audio_pretraining", **model, **about)
        return argparse.Namespace(
            arch="wav2vec_ctc", task="audio_pretraining", criterion="ctc", **head, **about, w2v_args=inner
        )
    inner = {
        "model": {"_name": "wav2vec2", **model},
        "task": {"_name": "audio_pretraining", **about},
        "criterion": None,
    }
    outside = {"_name": "wav2vec_ctc", **head, "normalize": "${task.normalize}", "w2v_args": inner}
    return {
        "model": outside,
        "task": {"_name": "audio_finetuning", **about},
        "criterion": {"_name": "ctc", "zero_infinity": True},
    }


def encoder_shapes(layout, *, conv_bias=None):
    """Return names and shapes by the key table of the specification."""
    shapes = {"mask_emb": (D,), "layer_norm.weight": (CONV,), "layer_norm.bias": (CONV,)}
    for i, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        conv = f"feature_extractor.conv_layers.{i}"
        shapes[f"{conv}.0.weight"] = (CONV, CONV if i else 1, kernel)
        if layout == "layer" if conv_bias is None else conv_bias:
            shapes[f"{conv}.0.bias"] = (CONV,)
        if layout == "layer":
            shapes |= {f"{conv}.2.1.weight": (CONV,), f"{conv}.2.1.bias": (CONV,)}
        elif i == 0:
            shapes |= {f"{conv}.2.weight": (CONV,), f"{conv}.2.bias": (CONV,)}
    shapes |= {"post_extract_proj.weight": (D, CONV), "post_extract_proj.bias": (D,)}
    shapes |= {"encoder.pos_conv.0.bias": (D,), "encoder.pos_conv.0.weight_g": (1, 1, 32)}
    shapes |= {"encoder.pos_conv.0.weight_v": (D, D // 8, 32)}
    shapes |= {"encoder.layer_norm.weight": (D,), "encoder.layer_norm.bias": (D,)}
    linear = {f"self_attn.{part}_proj": (D, D) for part in ("k", "v", "q", "out")} | {"fc1": (FFN, D), "fc2": (D, FFN)}
    for i in range(L):
        for name, (out, into) in linear.items():
            shapes |= {f"encoder.layers.{i}.{name}.weight": (out, into), f"encoder.layers.{i}.{name}.bias": (out,)}
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"encoder.layers.{i}.{name}.weight": (D,), f"encoder.layers.{i}.{name}.bias": (D,)}
    return shapes


def objective_shapes():
    shapes = {"quantizer.vars": (1, 2 * CODES, CODE_DIM // 2)}
    linear = {"quantizer.weight_proj": (2 * CODES, CONV), "project_q": (FINAL, CODE_DIM), "final_proj": (FINAL, D)}
    for name, (out, into) in linear.items():
        shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    return shapes


def drawn(shapes):
    """Return random tensors, with norms and biases different from 1 and 0."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, shape in shapes.items():
        scale = (torch.Size(shape[1:]).numel() or 1) ** -0.5 if len(shape) > 1 else 0.1
        tensors[name] = scale * torch.randn(shape, generator=generator)
        if re.search(r"norm\.weight|conv_layers\.\d\.2(\.1)?\.weight|weight_g", name):
            tensors[name] = 0.7 + 0.6 * torch.rand(shape, generator=generator)
    return tensors


def tensors_of(layout, *, fine_tuned=False, classes=10, objective=None, **more):
    shapes = encoder_shapes(layout, **more)
    if objective is None:
        objective = not fine_tuned
    shapes |= objective_shapes() if objective else {}
    if fine_tuned:
        shapes = {f"w2v_encoder.w2v_model.{name}": shape for name, shape in shapes.items()}
        shapes |= {"w2v_encoder.proj.weight": (classes, D), "w2v_encoder.proj.bias": (classes,)}
    return drawn(shapes)


def saved(folder, about, tensors, *, zipped=True, lines=LINES, name="theirs.pt", **more):
    """Save a file in fairseq's format, with its dictionary if it has one."""
    flat = isinstance(about, argparse.Namespace)
    checkpoint = {
        "args": about if flat else None,
        "cfg": None if flat else about,
        "model": tensors,
        "optimizer_history": [
            {
                "criterion_name": "AnyCriterion",
                "optimizer_name": "FP16Optimizer",
                "lr_scheduler_state": {"best": None},
                "num_updates": 4321,
            }
        ],
        "extra_state": {"train_iterator": {"epoch": 3, "iterations_in_epoch": 0}},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}},
        **more,
    }
    torch.save(checkpoint, folder / name, _use_new_zipfile_serialization=zipped)
    if lines is not None:
        (folder / "dict.ltr.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / name


def fine_tuned_file(folder, layout="layer", generation="cfg", *, lines=LINES, zipped=True, classes=None, **changes):
    about = settings(layout, generation, fine_tuned=True, **changes)
    tensors = tensors_of(layout, fine_tuned=True, classes=4 + len(lines or LINES) if classes is None else classes)
    return saved(folder, about, tensors, lines=lines, zipped=zipped)


VOCABULARIES = {
    "ours": Vocabulary.fit(["ein boot", "né"]),
    "transformers": Vocabulary(symbols=("<blank>", "<s>", "</s>", "<unk>", "|", "E", "T"), case="upper"),
    "blank elsewhere": Vocabulary(symbols=("<blank>", "a", "|", "b", "<unk>", "<s>", "</s>"), punctuation="keep"),
}


def native(name, *, vocabulary=None):
    """Return a narrow model of sori that was not converted from a file."""
    torch.manual_seed(3)
    size = {"dim": D, "num_layers": 2, "num_heads": 4, "ffn_dim": 64, "num_codes": 8, "code_dim": 16, "final_dim": 12}
    config = getattr(sizes, name)()
    config = config.model_copy(update={**size, "front": config.front.model_copy(update={"dim": 32})})
    if vocabulary is None:
        return Model(config, None, None, Wav2Vec2(config).state_dict(), {})
    mask = MaskConfig(time_prob=0.4, channel_prob=0.2)
    system = factory.build(CtcConfig(mask=mask, freeze_steps=77), encoder=config, vocabulary=vocabulary)
    nn.init.normal_(system.head.bias)
    # fairseq cannot store these fields, nor the pre-training settings of a recogniser.
    plain = {"mask": MaskConfig(), "feature_gradient": 1.0, "diversity_weight": 0.1, "feature_penalty": 0.0}
    return Model(system.config, config.model_copy(update=plain), vocabulary, system.state_dict(), {})
