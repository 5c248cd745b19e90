"""Checkpoints in fairseq's format are read completely, compute the same, and are written back bit-identical."""

import copy
import re

import pytest
import torch
from tests.checkpoints.formats.fairseq_files import (
    CODE_DIM,
    CODES,
    CONV,
    FFN,
    FINAL,
    GENERATION,
    HEADS,
    LAYOUT,
    LETTERS,
    VOCABULARIES,
    ZIPPED,
    D,
    L,
    fine_tuned_file,
    native,
    objective_shapes,
    pretraining_fields,
    saved,
    settings,
    tensors_of,
)
from torch.nn import functional

from sori.checkpoints.formats import fairseq
from sori.checkpoints.formats.fairseq_config import write_settings
from sori.checkpoints.formats.fairseq_fields import literal
from sori.checkpoints.formats.imported import Model
from sori.checkpoints.formats.origin import FairseqOrigin
from sori.models.ctc import Ctc, CtcConfig
from sori.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.mask import MaskConfig
from sori.recipes import sizes


def built(model):
    """Return the system with all weights loaded."""
    encoder = Wav2Vec2(model.encoder_config)
    if model.encoder is None:
        encoder.load_state_dict(model.weights)
        return encoder.eval()
    for part in Wav2Vec2.OBJECTIVE:
        delattr(encoder, part)
    system = Ctc(model.system, encoder, num_classes=len(model.vocabulary))
    system.load_state_dict(model.weights)
    return system.eval()


HF_NAMES = [
    (r"^w2v_encoder\.proj\.", "lm_head."),
    (r"^w2v_encoder\.w2v_model\.", ""),
    (r"^mask_emb$", "wav2vec2.masked_spec_embed"),
    (r"^feature_extractor\.conv_layers\.(\d)\.0\.", r"wav2vec2.feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.(\d)\.2\.(1\.)?", r"wav2vec2.feature_extractor.conv_layers.\1.layer_norm."),
    (r"^layer_norm\.", "wav2vec2.feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "wav2vec2.feature_projection.projection."),
    (r"^encoder\.pos_conv\.0\.bias", "wav2vec2.encoder.pos_conv_embed.conv.bias"),
    (r"^encoder\.pos_conv\.0\.weight_g", "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"^encoder\.pos_conv\.0\.weight_v", "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"^encoder\.layer_norm\.", "wav2vec2.encoder.layer_norm."),
    (r"^(encoder\.layers\.\d+)\.self_attn\.", r"wav2vec2.\1.attention."),
    (r"^(encoder\.layers\.\d+)\.self_attn_layer_norm\.", r"wav2vec2.\1.layer_norm."),
    (r"^(encoder\.layers\.\d+)\.fc1\.", r"wav2vec2.\1.feed_forward.intermediate_dense."),
    (r"^(encoder\.layers\.\d+)\.fc2\.", r"wav2vec2.\1.feed_forward.output_dense."),
    (r"^(encoder\.layers\.\d+)\.final_layer_norm\.", r"wav2vec2.\1.final_layer_norm."),
    (r"^quantizer\.vars$", "quantizer.codevectors"),
    (r"^final_proj\.", "project_hid."),
]
"""The specification's table, independent of the package's."""


def twin(layout, tensors, kind):
    """Return the same weights in transformers, all loaded."""
    transformers = pytest.importorskip("transformers")
    about = transformers.Wav2Vec2Config(
        hidden_size=D,
        num_hidden_layers=L,
        num_attention_heads=HEADS,
        intermediate_size=FFN,
        feat_extract_norm=layout,
        conv_bias=layout == "layer",
        conv_dim=(CONV,) * 7,
        do_stable_layer_norm=layout == "layer",
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        num_codevectors_per_group=CODES,
        codevector_dim=CODE_DIM,
        proj_codevector_dim=FINAL,
        vocab_size=4 + len(LETTERS),
        attn_implementation="eager",
    )
    named = {}
    for name, tensor in tensors.items():
        for pattern, new in HF_NAMES:
            name = re.sub(pattern, new, name)  # noqa: PLW2901 - one step after the other
        named[name] = tensor
    assert len(named) == len(tensors)
    model = getattr(transformers, kind)(about)
    model.load_state_dict(named)
    return model.eval()


def waveforms(layout):
    generator = torch.Generator().manual_seed(1)
    waveform = 0.1 * torch.randn(2, 9000, generator=generator)
    return waveform, torch.full((2,), 9000), functional.layer_norm(waveform, (9000,)) if layout == "layer" else waveform


@pytest.mark.foreign
@LAYOUT
@GENERATION
def test_a_pretrained_model_has_the_output_of_its_twin_in_transformers(tmp_path, layout, generation):
    tensors = tensors_of(layout)
    imported = fairseq.read(saved(tmp_path, settings(layout, generation), tensors))
    ours, theirs = built(imported.model), twin(layout, tensors, "Wav2Vec2ForPreTraining")
    waveform, lengths, inputs = waveforms(layout)
    with torch.no_grad():
        expected = theirs.wav2vec2(inputs, output_hidden_states=True)
        layers, _ = ours.encode(waveform, lengths)
        features = ours.feature_norm(ours.features(waveform, lengths).data)
        quantized, _ = theirs.quantizer(theirs.wav2vec2.feature_extractor(inputs).transpose(1, 2) * 0 + features)
        torch.testing.assert_close(ours.quantizer(features).vectors, quantized, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.project_codes(quantized), theirs.project_q(quantized), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            ours.project_context(layers[-1]), theirs.project_hid(expected.last_hidden_state), rtol=0, atol=1e-5
        )
    hidden = [*expected.hidden_states[:-1], expected.last_hidden_state]
    for layer, other in zip(layers, hidden, strict=True):
        torch.testing.assert_close(layer, other, rtol=0, atol=1e-5)
    assert ours.project_context(layers[-1]).std() > 0.01


@pytest.mark.foreign
@LAYOUT
@GENERATION
def test_a_recogniser_has_the_logits_of_its_twin_in_transformers(tmp_path, layout, generation):
    tensors = tensors_of(layout, fine_tuned=True)
    imported = fairseq.read(saved(tmp_path, settings(layout, generation, fine_tuned=True), tensors))
    waveform, lengths, inputs = waveforms(layout)
    with torch.no_grad():
        logits = built(imported.model).logits(waveform, lengths).data
        torch.testing.assert_close(logits, twin(layout, tensors, "Wav2Vec2ForCTC")(inputs).logits, rtol=0, atol=1e-5)
    assert logits.std() > 0.1


@LAYOUT
@GENERATION
def test_every_field_of_a_pretrained_model_is_read(tmp_path, layout, generation):
    model = fairseq.read(saved(tmp_path, settings(layout, generation), tensors_of(layout))).model
    is_layer = layout == "layer"
    assert model.encoder is model.vocabulary is None
    assert model.system == Wav2Vec2Config(
        front=ConvConfig(norm=layout, bias=is_layer, dim=CONV, normalize=is_layer, normalize_floor=1e-5),
        feature_gradient=0.3,
        dim=D,
        num_layers=L,
        num_heads=HEADS,
        ffn_dim=FFN,
        pre_norm=is_layer,
        position_kernel=32,
        position_groups=8,
        dropout=0.11,
        attention_dropout=0.12,
        activation_dropout=0.13,
        input_dropout=0.14,
        target_dropout=0.15,
        layerdrop=0.05,
        mask=MaskConfig(time_prob=0.55, time_length=8, channel_prob=0.25, channel_length=20),
        num_codes=CODES,
        code_dim=CODE_DIM,
        final_dim=FINAL,
        gumbel_start=2.0,
        gumbel_end=0.1,
        gumbel_decay=0.99999,
        num_negatives=50,
        temperature=0.2,
        diversity_weight=0.1,
        feature_penalty=10.0,
    )


@GENERATION
def test_every_field_of_a_recogniser_is_read(tmp_path, generation):
    model = fairseq.read(fine_tuned_file(tmp_path, generation=generation)).model
    mask = MaskConfig(time_prob=0.65, time_length=9, channel_prob=0.5, channel_length=64)
    assert model.system == CtcConfig(mask=mask, freeze_steps=10_000, feature_gradient=0.0)
    c = model.encoder
    assert (c.dropout, c.attention_dropout, c.activation_dropout, c.input_dropout, c.layerdrop) == (
        *(0.0, 0.01, 0.1, 0.02),
        0.07,
    )
    assert (c.feature_gradient, c.mask) == (1.0, MaskConfig())  # pre-training settings are not in the file
    assert model.vocabulary.symbols == ("<blank>", "<s>", "</s>", "<unk>", *LETTERS)
    assert (model.vocabulary.case, model.vocabulary.encode("tea")) == ("upper", [6, 5, 7])


def test_missing_fields_of_fine_tuning_are_taken_from_the_encoder(tmp_path):
    about = settings("layer", "args", fine_tuned=True)
    del about.dropout, about.mask_prob, about.layerdrop
    about.w2v_args.dropout, about.w2v_args.mask_prob, about.w2v_args.encoder_layerdrop = 0.21, 0.22, 0.23
    model = fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True))).model
    assert (model.encoder.dropout, model.system.mask.time_prob, model.encoder.layerdrop) == (0.21, 0.22, 0.23)


def test_fields_of_fine_tuning_override_those_of_the_encoder(tmp_path):
    model = fairseq.read(fine_tuned_file(tmp_path, outer={"dropout": 0.31, "mask_prob": 0.32, "layerdrop": 0.33})).model
    assert (model.encoder.dropout, model.system.mask.time_prob, model.encoder.layerdrop) == (0.31, 0.32, 0.33)


def test_without_apply_mask_nothing_is_masked_in_fine_tuning(tmp_path):
    model = fairseq.read(fine_tuned_file(tmp_path, outer={"apply_mask": False})).model
    assert (model.system.mask.time_prob, model.system.mask.channel_prob) == (0.0, 0.0)


def test_missing_fields_have_the_defaults_of_fairseq(tmp_path):
    kept = ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "conv_feature_layers", "quantize_targets")
    fields = {name: pretraining_fields("group")[name] for name in kept}
    fields |= {"latent_vars": CODES, "conv_pos": 32, "conv_pos_groups": 8}
    tensors = tensors_of("group")
    tensors["quantizer.vars"] = torch.randn(1, 2 * CODES, D // 2)
    for name in ("project_q", "final_proj"):
        tensors |= {f"{name}.weight": torch.randn(D, D), f"{name}.bias": torch.randn(D)}
    c = fairseq.read(saved(tmp_path, {"model": {"_name": "wav2vec2", **fields}, "task": {}}, tensors)).model.system
    assert (c.code_dim, c.final_dim) == (D, D)  # 0: as wide as the encoder
    assert (c.num_heads, c.pre_norm, c.front.norm, c.front.bias, c.front.normalize) == (
        12,
        False,
        "group",
        False,
        False,
    )
    assert (c.dropout, c.attention_dropout, c.activation_dropout, c.layerdrop) == (0.1, 0.1, 0.0, 0.0)
    assert (c.input_dropout, c.target_dropout, c.feature_gradient, c.temperature) == (0.0, 0.0, 1.0, 0.1)
    assert (c.gumbel_start, c.gumbel_end, c.gumbel_decay, c.num_negatives) == (2.0, 0.5, 0.999995, 100)
    assert c.mask == MaskConfig(time_prob=0.65, time_length=10, channel_prob=0.0, channel_length=10)
    assert (c.diversity_weight, c.feature_penalty) == (0.0, 0.0)  # without weights, fairseq adds no other losses


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([0.1, 0], (0.1, 0.0)), ("(0.2, 5.0)", (0.2, 5.0)), ([0.3], (0.3, 0.3)), (None, (0.0, 0.0))],
)
def test_loss_weights_are_read_in_each_of_their_forms(tmp_path, weights, expected):
    about = settings("group", "cfg")
    about["criterion"]["loss_weights"] = weights
    c = fairseq.read(saved(tmp_path, about, tensors_of("group"))).model.system
    assert (c.diversity_weight, c.feature_penalty) == expected


@LAYOUT
@GENERATION
@ZIPPED
@pytest.mark.parametrize("fine_tuned", [False, True], ids=["pretrained", "fine-tuned"])
def test_a_round_trip_is_bit_identical(tmp_path, layout, generation, zipped, fine_tuned):
    tensors = tensors_of(layout, fine_tuned=fine_tuned)
    path = saved(tmp_path, settings(layout, generation, fine_tuned=fine_tuned), tensors, zipped=zipped)
    model, certificate = fairseq.read(path)
    assert sorted(entry.source for entry in certificate.tensors) == sorted(tensors)
    assert all(entry.target for entry in certificate.tensors)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    assert certificate.source_parameters == certificate.target_parameters == numbers
    back = tmp_path / "back"
    back.mkdir()
    # The origin in a model folder is stored as JSON.
    kept = FairseqOrigin.model_validate_json(model.origin.model_dump_json())
    entries = fairseq.write(model._replace(origin=kept), back)
    assert sorted(entry.target for entry in entries) == sorted(tensors)
    checkpoint = torch.load(back / "checkpoint.pt", weights_only=True)
    assert checkpoint["model"].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert checkpoint["model"][name].dtype == torch.float32
        assert torch.equal(checkpoint["model"][name], tensor), name
    if fine_tuned:
        assert (back / "dict.ltr.txt").read_bytes() == (tmp_path / "dict.ltr.txt").read_bytes()
    else:
        assert not (back / "dict.ltr.txt").exists()
    assert checkpoint["optimizer_history"] == [
        {
            "criterion_name": "AnyCriterion",
            "optimizer_name": "FP16Optimizer",
            "lr_scheduler_state": {"best": None},
            "num_updates": 4321,
        }
    ]


@LAYOUT
@pytest.mark.parametrize("fine_tuned", [False, True], ids=["pretrained", "fine-tuned"])
def test_settings_in_sections_are_written_back_unchanged(tmp_path, layout, fine_tuned):
    about = settings(layout, "cfg", fine_tuned=fine_tuned)
    model = fairseq.read(saved(tmp_path, about, tensors_of(layout, fine_tuned=fine_tuned))).model
    (tmp_path / "back").mkdir()
    fairseq.write(model, tmp_path / "back")
    cfg = torch.load(tmp_path / "back" / "checkpoint.pt", weights_only=True)["cfg"]
    assert {name: cfg[name] for name in about} == about
    assert cfg.keys() - about.keys() <= {"common", "distributed_training"}


def test_flat_settings_are_written_in_sections_for_newer_versions_of_fairseq(tmp_path):
    about = settings("layer", "args", fine_tuned=True)
    model = fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True))).model
    (tmp_path / "back").mkdir()
    fairseq.write(model, tmp_path / "back")
    checkpoint = torch.load(tmp_path / "back" / "checkpoint.pt", weights_only=True)
    cfg = checkpoint["cfg"]
    assert checkpoint["args"] is checkpoint["criterion"] is checkpoint["last_optimizer_state"] is None
    flat, inner = vars(about), vars(about.w2v_args)
    assert cfg["task"] == {
        "_name": "audio_finetuning",
        "data": "/somewhere/manifest",
        "sample_rate": 16_000,
        "normalize": True,
        "labels": "ltr",
    }
    head, encoder = dict(cfg["model"]), cfg["model"]["w2v_args"]["model"]
    below = head.pop("w2v_args")
    assert below["task"] == {**cfg["task"], "_name": "audio_pretraining"}
    known = {"arch", "criterion", "task", "data", "sample_rate", "normalize", "labels", "w2v_args"}
    assert head == {"_name": "wav2vec_ctc", **{name: value for name, value in flat.items() if name not in known}}
    assert encoder == {"_name": "wav2vec2", **{name: value for name, value in inner.items() if name not in known}}


def test_strings_of_the_oldest_files_are_written_as_the_lists_that_newer_versions_require(tmp_path):
    about = settings("group", "args")
    assert isinstance(about.latent_temp, str)
    assert isinstance(about.loss_weights, str)
    model = fairseq.read(saved(tmp_path, about, tensors_of("group"))).model
    (tmp_path / "back").mkdir()
    fairseq.write(model, tmp_path / "back")
    cfg = torch.load(tmp_path / "back" / "checkpoint.pt", weights_only=True)["cfg"]
    assert cfg["model"]["latent_temp"] == [2.0, 0.1, 0.99999]
    assert cfg["model"]["conv_feature_layers"] == about.conv_feature_layers
    assert cfg["criterion"] == {
        "_name": "wav2vec",
        "infonce": True,
        "loss_weights": [0.1, 10.0],
        "log_keys": about.log_keys,
    }


def test_only_changed_settings_are_rewritten(tmp_path):
    about = settings("layer", "cfg", fine_tuned=True)
    model = fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True))).model
    mask = model.system.mask.model_copy(update={"time_prob": 0.3})
    changed = model._replace(system=model.system.model_copy(update={"mask": mask, "freeze_steps": 5}))
    (tmp_path / "back").mkdir()
    fairseq.write(changed, tmp_path / "back")
    cfg = torch.load(tmp_path / "back" / "checkpoint.pt", weights_only=True)["cfg"]
    about["model"] |= {"mask_prob": 0.3, "freeze_finetune_updates": 5}
    about["model"]["w2v_args"]["model"]["mask_prob"] = 0.3
    assert {name: cfg[name] for name in about} == about


def there_and_back(model, folder):
    folder.mkdir()
    fairseq.write(model, folder)
    return fairseq.read(folder / "checkpoint.pt").model


def assert_same(model, other):
    assert (model.system, model.encoder, model.vocabulary) == (other.system, other.encoder, other.vocabulary)
    assert model.weights.keys() == other.weights.keys()
    assert all(torch.equal(tensor, other.weights[name]) for name, tensor in model.weights.items())


@pytest.mark.parametrize("name", ["base", "large", "lv60k", "xlsr_1b"])
def test_a_model_of_sori_survives_the_round_trip_to_fairseq(tmp_path, name):
    model = native(name)
    assert_same(there_and_back(model, tmp_path / "theirs"), model)


def test_base_is_written_with_the_fields_of_the_published_file():
    c = sizes.base()
    with torch.device("meta"):  # without allocating 95 M parameters
        weights = Wav2Vec2(c).state_dict()
    cfg = write_settings(Model(c, None, None, weights, {}))
    model = cfg["model"]
    published = {
        "_name": "wav2vec2",
        "extractor_mode": "default",
        "encoder_layers": 12,
        "encoder_embed_dim": 768,
        "encoder_ffn_embed_dim": 3072,
        "encoder_attention_heads": 12,
        "layer_norm_first": False,
        "final_dim": 256,
        "latent_vars": 320,
        "latent_groups": 2,
        "latent_dim": 256,
        "latent_temp": [2.0, 0.5, 0.999995],
        "quantize_targets": True,
        "feature_grad_mult": 0.1,
        "encoder_layerdrop": 0.05,
        "mask_prob": 0.65,
        "mask_length": 10,
        "num_negatives": 100,
        "logit_temp": 0.1,
        "conv_pos": 128,
        "conv_pos_groups": 16,
    }
    assert {name: model[name] for name in published} == published
    kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    layers = literal(model["conv_feature_layers"], name="", origin="")
    assert layers == [(512, kernel, stride) for kernel, stride in zip(kernels, strides, strict=True)]
    assert cfg["criterion"]["loss_weights"] == [0.1, 10.0]
    assert cfg["task"]["_name"] == "audio_pretraining"


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_a_recogniser_of_sori_keeps_its_classes_in_the_round_trip_to_fairseq(tmp_path, kind):
    model = native("lv60k", vocabulary=VOCABULARIES[kind])
    assert_same(there_and_back(model, tmp_path / "once"), model)
    again = fairseq.read(tmp_path / "once" / "checkpoint.pt").model
    assert_same(there_and_back(again, tmp_path / "twice"), model)


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_each_class_has_its_row_in_fairseq_and_added_ones_are_never_predicted(tmp_path, kind):
    vocabulary = VOCABULARIES[kind]
    model = native("lv60k", vocabulary=vocabulary)
    fairseq.write(model, tmp_path)
    tensors = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    lines = (tmp_path / "dict.ltr.txt").read_text(encoding="utf-8").splitlines()
    tokens = ["<blank>", "<pad>", "</s>", "<unk>", *(line.split(" ")[0] for line in lines)]
    weight, bias = tensors["w2v_encoder.proj.weight"], tensors["w2v_encoder.proj.bias"]
    assert len(tokens) == len(weight) == len(bias)
    there = {"<s>": "<pad>"} if "<pad>" not in vocabulary.symbols else {}  # class 1 is never used by either
    rows = [tokens.index(there.get(symbol, symbol)) for symbol in vocabulary.symbols]
    assert torch.equal(weight[rows], model.weights["head.weight"])
    assert torch.equal(bias[rows], model.weights["head.bias"])
    x = torch.randn(5, D)
    probs = functional.linear(x, weight, bias).softmax(-1)
    expected = functional.linear(x, model.weights["head.weight"], model.weights["head.bias"]).softmax(-1)
    torch.testing.assert_close(probs[:, rows], expected)
    torch.testing.assert_close(probs[:, rows].sum(-1), torch.ones(5))


def test_each_tensor_is_written_with_its_own_storage(tmp_path):
    model = native("lv60k")
    whole = torch.zeros(1000, D)
    weights = {**model.weights, "mask_vector": whole[7]}
    fairseq.write(model._replace(weights=weights), tmp_path)
    tensors = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    for name, tensor in tensors.items():
        assert tensor.is_contiguous(), name
        assert tensor.untyped_storage().nbytes() == 4 * tensor.numel(), name
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors.values()}) == len(tensors)


def test_the_quantiser_of_a_fine_tuned_file_is_dropped_with_a_reason(tmp_path):
    tensors = tensors_of("layer", fine_tuned=True, objective=True)
    model, certificate = fairseq.read(saved(tmp_path, settings("layer", "cfg", fine_tuned=True), tensors))
    dropped = {entry.source: entry.reason for entry in certificate.tensors if entry.target is None}
    assert dropped.keys() == {f"w2v_encoder.w2v_model.{name}" for name in objective_shapes()}
    assert all("pre-training" in reason for reason in dropped.values())
    assert not model.has_objective
    assert "quantizer.vars: for pre-training only" in certificate.table()


def test_16_bit_weights_are_widened_without_loss(tmp_path):
    tensors = {name: tensor.half() for name, tensor in tensors_of("group").items()}
    model, certificate = fairseq.read(saved(tmp_path, settings("group", "cfg"), tensors))
    assert {tensor.dtype for tensor in model.weights.values()} == {torch.float32}
    assert torch.equal(model.weights["mask_vector"], tensors["mask_emb"].float())
    assert all("widened from float16" in entry.how for entry in certificate.tensors)


def test_the_bias_before_a_normalisation_over_time_is_dropped_and_written_as_zeros(tmp_path):
    name = "feature_extractor.conv_layers.0.0.bias"
    tensors = tensors_of("group", conv_bias=True)
    model, certificate = fairseq.read(saved(tmp_path, settings("group", "cfg", changes={"conv_bias": True}), tensors))
    assert [entry.source for entry in certificate.tensors if entry.target is None] == [name]
    built(model)
    (tmp_path / "back").mkdir()
    entries = fairseq.write(model, tmp_path / "back")
    written = torch.load(tmp_path / "back" / "checkpoint.pt", weights_only=True)["model"]
    assert written.keys() == tensors.keys()
    assert not written[name].any()
    assert [entry.target for entry in entries if entry.source is None] == [name]


def test_a_model_with_continuous_targets_is_read_as_an_encoder(tmp_path):
    tensors = tensors_of("group", objective=False)
    tensors |= {"project_q.weight": torch.randn(FINAL, CONV), "project_q.bias": torch.randn(FINAL)}
    tensors |= {"final_proj.weight": torch.randn(FINAL, D), "final_proj.bias": torch.randn(FINAL)}
    path = saved(tmp_path, settings("group", "cfg", changes={"quantize_targets": False}), tensors)
    model, certificate = fairseq.read(path)
    assert not model.has_objective
    assert sum(entry.target is None for entry in certificate.tensors) == 4
    assert "predicts features, not units" in certificate.table()


def test_the_certificate_has_remarks_for_the_user(tmp_path):
    about = settings("layer", "cfg", changes={"codebook_negatives": 20, "negatives_from_everywhere": True})
    path = saved(tmp_path, about, tensors_of("layer"))
    certificate = fairseq.read(path).certificate
    assert certificate.normalisation == "mean 0, variance 1 (task.normalize)"
    assert certificate.source_format == "fairseq, wav2vec2"
    assert certificate.sha256.keys() == {"theirs.pt"}
    notes = "\n".join(certificate.notes)
    assert "codebook_negatives = 20, sori trains with 0" in notes
    assert "negatives_from_everywhere = True" in notes
    assert "optimiser's state is not converted" in notes
    assert len(certificate.notes) == 3
    tuned = fairseq.read(fine_tuned_file(tmp_path, outer={"final_dropout": 0.2})).certificate
    assert tuned.sha256.keys() == {"theirs.pt", "dict.ltr.txt"}
    assert any("final_dropout = 0.2" in note for note in tuned.notes)


@pytest.mark.parametrize("where", ["outer", "inner"])
def test_the_normalisation_is_read_from_either_task(tmp_path, where):
    about = settings("layer", "cfg", fine_tuned=True)
    silent = about["model"]["w2v_args"]["task"] if where == "outer" else about["task"]
    del silent["normalize"]
    model, certificate = fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True)))
    assert model.encoder.front.normalize
    assert certificate.normalisation.endswith("(task.normalize)" if where == "outer" else "(w2v_args.task.normalize)")


def test_a_file_of_fairseq_is_recognised_by_its_extension(tmp_path):
    path = saved(tmp_path, settings("group", "cfg"), {})
    assert fairseq.is_fairseq(path)
    assert not fairseq.is_fairseq(tmp_path)
    assert not fairseq.is_fairseq(tmp_path / "none.pt")
    assert not fairseq.is_fairseq(tmp_path / "dict.ltr.txt")


def test_writing_does_not_change_the_origin_of_the_model(tmp_path):
    about = settings("layer", "cfg", fine_tuned=True)
    model = fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True))).model
    before = copy.deepcopy(model.origin)
    (tmp_path / "back").mkdir()
    fairseq.write(model, tmp_path / "back")
    assert model.origin == before
