"""wav2vec and vq-wav2vec in fairseq's format: read completely, same output, written back bit-identical."""

import argparse
import math

import pytest
import torch
from tests.checkpoints.formats.fairseq_files import GENERATION, ZIPPED, saved
from torch import nn
from torch.nn import functional

from sori import recipes
from sori.checkpoints import store
from sori.checkpoints.convert import convert
from sori.checkpoints.formats import fairseq
from sori.checkpoints.formats.fairseq_first import DEFAULTS
from sori.models import factory
from sori.models.vq_wav2vec import VqWav2Vec, VqWav2VecConfig
from sori.models.wav2vec import Wav2Vec

D, GROUPS, CODES, STEPS = 16, 2, 6, 3
ENCODER = [(D, 10, 5), (D, 8, 4), (D, 4, 2), (D, 1, 1)]
CONTEXT = [(D, 2, 1), (D, 3, 1), (D, 4, 1)]
FIELDS = {
    "conv_feature_layers": f"[({D}, 10, 5), ({D}, 8, 4)] + [({D}, 4, 2)] + [({D}, 1, 1)]",
    "conv_aggregator_layers": str(CONTEXT),
    "prediction_steps": STEPS,
    "num_negatives": 7,
    "skip_connections_agg": True,
    "log_compression": True,
    "residual_scale": 0.5,
    "offset": "auto",
    "activation": "relu",
}
KINDS = {
    "wav2vec": {"vq_type": "none"},
    "gumbel": {"vq_type": "gumbel", "vq_depth": 2, "combine_groups": False},
    "gumbel shared": {"vq_type": "gumbel", "vq_depth": 2, "combine_groups": True, "activation": "gelu"},
    "gumbel flat": {"vq_type": "gumbel", "vq_depth": 1, "combine_groups": False},
    "kmeans": {"vq_type": "kmeans", "combine_groups": False},
    "kmeans shared": {"vq_type": "kmeans", "combine_groups": True},
}
EACH = pytest.mark.parametrize("kind", KINDS)


def settings(kind, generation="cfg", *, changes=(), criterion=(), task=()):
    """Return `cfg` (sections) or `args` (a flat Namespace) of a checkpoint."""
    model = {**FIELDS, "vq_vars": CODES, "vq_groups": GROUPS, "vq_gamma": 0.3, "vq_temp": [2.0, 0.5, 0.9999]}
    model |= {**KINDS[kind], **dict(changes)}
    about = {"data": "/somewhere", "sample_rate": 16_000, "normalize": False, **dict(task)}
    loss = {"infonce": False, "loss_weights": [0.5], **dict(criterion)}
    if generation == "args":
        flat = {"arch": "wav2vec", "task": "audio_pretraining", "criterion": "wav2vec", "lr": [0.005], **model}
        return argparse.Namespace(**flat | about | loss | {"vq_temp": "(2.0, 0.5, 0.9999)", "loss_weights": "[0.5]"})
    return {
        "common": {"seed": 7},
        "model": {"_name": "wav2vec", **model},
        "task": {"_name": "audio_pretraining", **about},
        "criterion": {"_name": "wav2vec", **loss},
    }


def shapes_of(kind):
    """Return names and shapes by the key tables of the specifications."""
    shapes = {}
    for i, (out, kernel, _) in enumerate(ENCODER):
        layer = f"feature_extractor.conv_layers.{i}"
        shapes |= {
            f"{layer}.0.weight": (out, D if i else 1, kernel),
            f"{layer}.2.weight": (D,),
            f"{layer}.2.bias": (D,),
        }
    for i, (_, kernel, _) in enumerate(CONTEXT):
        layer = f"feature_aggregator.conv_layers.{i}"
        shapes |= {f"{layer}.1.weight": (D, D, kernel), f"{layer}.1.bias": (D,)}
        shapes |= {f"{layer}.3.weight": (D,), f"{layer}.3.bias": (D,)}
    books = 1 if KINDS[kind].get("combine_groups") else GROUPS
    vq = "vector_quantizer"
    if kind.startswith("gumbel"):
        shapes[f"{vq}.vars"] = (1, books * CODES, D // GROUPS)
        if KINDS[kind]["vq_depth"] == 2:
            shapes |= {f"{vq}.weight_proj.0.0.weight": (2 * D, D), f"{vq}.weight_proj.0.0.bias": (2 * D,)}
            shapes |= {f"{vq}.weight_proj.1.weight": (GROUPS * CODES, 2 * D)}
            shapes |= {f"{vq}.weight_proj.1.bias": (GROUPS * CODES,)}
        else:
            shapes |= {f"{vq}.weight_proj.weight": (GROUPS * CODES, D), f"{vq}.weight_proj.bias": (GROUPS * CODES,)}
    if kind.startswith("kmeans"):
        shapes |= {f"{vq}.embedding": (CODES, books, D // GROUPS), f"{vq}.projection.0.weight": (D, D // GROUPS, 1)}
        shapes |= {f"{vq}.projection.1.weight": (D,), f"{vq}.projection.1.bias": (D,)}
    steps = "wav2vec_predictions.project_to_steps"
    return shapes | {f"{steps}.weight": (D, D, 1, STEPS), f"{steps}.bias": (D,)}


def tensors_of(kind):
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(shape, generator=generator) * (0.5 if len(shape) > 1 else 0.2)
        + (1.0 if name.endswith(("2.weight", "3.weight", "projection.1.weight")) and len(shape) == 1 else 0.0)
        for name, shape in shapes_of(kind).items()
    }


def file_of(folder, kind, generation="cfg", **changes):
    return saved(folder, settings(kind, generation, **changes), tensors_of(kind), lines=None)


def theirs(tensors, kind, waveform):
    """Compute z, codes, z^, c and predictions by the specifications for one utterance, with torch's own layers."""
    act = functional.gelu if KINDS[kind].get("activation") == "gelu" else functional.relu
    x = waveform[None, None]
    for i, (_, _, stride) in enumerate(ENCODER):
        name = f"feature_extractor.conv_layers.{i}"
        x = functional.conv1d(x, tensors[f"{name}.0.weight"], stride=stride)
        x = act(functional.group_norm(x, 1, tensors[f"{name}.2.weight"], tensors[f"{name}.2.bias"]))
    z = x = (x.abs() + 1).log()
    codes = None
    vq = "vector_quantizer"
    if kind.startswith("gumbel"):
        y = z[0].T
        if KINDS[kind]["vq_depth"] == 2:
            y = act(y @ tensors[f"{vq}.weight_proj.0.0.weight"].T + tensors[f"{vq}.weight_proj.0.0.bias"])
        last = f"{vq}.weight_proj.1" if KINDS[kind]["vq_depth"] == 2 else f"{vq}.weight_proj"
        logits = (y @ tensors[f"{last}.weight"].T + tensors[f"{last}.bias"]).view(-1, GROUPS, CODES)
        codes = logits.argmax(-1)
        rows = codes if KINDS[kind]["combine_groups"] else codes + CODES * torch.arange(GROUPS)
        x = tensors[f"{vq}.vars"][0][rows].flatten(1).T[None]
    if kind.startswith("kmeans"):
        y = functional.conv1d(z, tensors[f"{vq}.projection.0.weight"], groups=GROUPS)
        y = functional.group_norm(y, GROUPS, tensors[f"{vq}.projection.1.weight"], tensors[f"{vq}.projection.1.bias"])
        sounds = y[0].T.reshape(-1, GROUPS, D // GROUPS)
        book = tensors[f"{vq}.embedding"].expand(CODES, GROUPS, D // GROUPS)
        codes = (sounds[:, None] - book[None]).norm(dim=-1).argmin(1)
        x = book[codes, torch.arange(GROUPS)].flatten(1).T[None]
    quantised = x
    for i, (_, kernel, _) in enumerate(CONTEXT):
        name, before = f"feature_aggregator.conv_layers.{i}", x
        x = nn.ReplicationPad1d((kernel - 1, 0))(x)
        x = functional.conv1d(x, tensors[f"{name}.1.weight"], tensors[f"{name}.1.bias"])
        x = act(functional.group_norm(x, 1, tensors[f"{name}.3.weight"], tensors[f"{name}.3.bias"]))
        x = (x + before) * math.sqrt(0.5)
    steps = "wav2vec_predictions.project_to_steps"
    ahead = functional.conv_transpose2d(x.unsqueeze(-1), tensors[f"{steps}.weight"], tensors[f"{steps}.bias"])
    return z[0].T, codes, quantised[0].T, x[0].T, ahead[0].permute(1, 2, 0)


@EACH
@GENERATION
def test_the_output_matches_the_specification(kind, generation, tmp_path):
    path = file_of(tmp_path, kind, generation)
    model = store.load(path)
    assert isinstance(model, Wav2Vec if kind == "wav2vec" else VqWav2Vec)
    waveform = 0.1 * torch.randn(4_000)
    lengths = torch.tensor([4_000])
    z, codes, quantised, context, ahead = theirs(tensors_of(kind), kind, waveform)
    with torch.no_grad():
        torch.testing.assert_close(model.features(waveform[None], lengths).data[0], z, rtol=1e-5, atol=1e-5)
        layers, _ = model.encode(waveform[None], lengths)
        torch.testing.assert_close(layers[0][0], quantised, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(layers[-1][0], context, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.predictors(layers[-1])[0], ahead, rtol=1e-5, atol=1e-5)
        if codes is not None:
            assert len(codes.unique()) > 3
            assert torch.equal(model.units(waveform[None], lengths).data[0], codes)


@EACH
@ZIPPED
def test_a_round_trip_is_bit_identical(kind, zipped, tmp_path):
    about, tensors = settings(kind), tensors_of(kind)
    path = saved(tmp_path, about, tensors, zipped=zipped, lines=None)
    (tmp_path / "back").mkdir()
    entries = fairseq.write(fairseq.read(path).model, tmp_path / "back")
    back = torch.load(tmp_path / "back" / "checkpoint.pt", weights_only=False)
    assert back["model"].keys() == tensors.keys()
    assert all(torch.equal(back["model"][name], tensors[name]) for name in tensors)
    assert {entry.target for entry in entries} == tensors.keys()
    assert back["cfg"]["model"] == about["model"]
    weights = {} if kind == "wav2vec" else {"loss_weights": [0.5]}
    assert back["cfg"]["criterion"] == about["criterion"] | weights
    assert back["optimizer_history"][0]["num_updates"] == 4321


@EACH
def test_the_old_settings_mean_the_same_as_the_new_ones(kind, tmp_path):
    new = fairseq.read(file_of(tmp_path, kind)).model.system
    assert fairseq.read(file_of(tmp_path, kind, "args")).model.system == new
    assert (new.num_ahead, new.num_negatives, new.offset) == (STEPS, 7, None)
    assert (new.encoder_kernels, new.encoder_strides) == ((10, 8, 4, 1), (5, 4, 2, 1))
    assert new.context_kernels == (2, 3, 4)
    if kind.startswith("gumbel"):
        assert new.diversity_weight == 0.5 * GROUPS * CODES
        assert (new.gumbel_start, new.gumbel_end) == (2.0, 0.5)
        assert 2.0 * 0.9999**new.gumbel_updates == pytest.approx(0.5, rel=1e-3)
    if kind.startswith("kmeans"):
        assert (new.kmeans_weight, new.commitment) == (0.5, 0.3)


def test_tensors_take_precedence_over_settings(tmp_path):
    path = saved(
        tmp_path,
        settings("gumbel", changes={"combine_groups": True, "prediction_steps": 12}),
        tensors_of("gumbel"),
        lines=None,
    )
    model, certificate = fairseq.read(path)
    assert model.system.shared is False
    assert model.system.num_ahead == STEPS
    assert any("combine_groups is True, but the tensors have a codebook for each group" in n for n in certificate.notes)
    assert any("falls by 0.9999 at each update, in sori linearly" in note for note in certificate.notes)
    assert "vq_wav2vec" in certificate.source_format
    assert certificate.source_parameters == certificate.target_parameters


def test_without_predictors_it_can_only_be_used_as_encoder(tmp_path):
    tensors = {name: t for name, t in tensors_of("kmeans").items() if not name.startswith("wav2vec_predictions.")}
    path = saved(tmp_path, settings("kmeans"), tensors, lines=None)
    model = store.load(path)
    assert not hasattr(model, "predictors")
    assert model.units(torch.randn(1, 4_000), torch.tensor([4_000])).data.shape[2] == GROUPS
    with pytest.raises(ValueError, match="no predictors, which fairseq requires"):
        fairseq.write(fairseq.read(path).model, tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("wav2vec", {"aggregator": "gru"}, "aggregator is 'gru'"),
        ("wav2vec", {"agg_zero_pad": True}, "agg_zero_pad is True"),
        ("wav2vec", {"project_features": "same"}, "project_features is 'same'"),
        ("wav2vec", {"activation": "gelu"}, "without quantiser supports only 'relu'"),
        ("wav2vec", {"conv_feature_layers": "[(16, 10, 5)]"}, "have 1 layers of feature_extractor, its tensors 4"),
        ("wav2vec", {"conv_aggregator_layers": "[(16, 2, 1), (16, 3, 2), (16, 4, 1)]"}, "has a stride"),
        ("gumbel", {"vq_dim": 64}, "vq_dim is 64"),
        ("gumbel", {"vq_vars": 5}, "neither 1 nor 2 times 5 entries"),
        ("gumbel", {"vq_temp": "[1]"}, r"vq_temp should be \(start, end, decay\)"),
    ],
)
def test_unsupported_settings_are_refused_by_name(kind, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fairseq.read(file_of(tmp_path, kind, changes=changes))


def test_a_normalised_waveform_and_another_rate_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expects a normalised waveform"):
        fairseq.read(file_of(tmp_path, "wav2vec", task={"normalize": True}))
    with pytest.raises(ValueError, match="expects audio at 8000 Hz"):
        fairseq.read(file_of(tmp_path, "wav2vec", task={"sample_rate": 8_000}))


def test_unused_and_missing_tensors_are_named(tmp_path):
    tensors = tensors_of("gumbel")
    tensors["feature_aggregator.residual_proj.0.weight"] = torch.zeros(D, D, 1)
    del tensors["vector_quantizer.weight_proj.1.bias"]
    with pytest.raises(ValueError, match=r"(?s)missing: vector_quantizer.weight_proj.1.bias.*residual_proj.0.weight"):
        fairseq.read(saved(tmp_path, settings("gumbel"), tensors, lines=None))


def test_round_trips_have_a_certificate(tmp_path):
    for kind in ("wav2vec", "kmeans shared"):
        file_of(tmp_path, kind).rename(tmp_path / f"{kind}.pt")
        convert(tmp_path / f"{kind}.pt", tmp_path / kind)
        certificate = convert(tmp_path / kind, tmp_path / f"{kind} back", to="fairseq")
        assert "read back" in certificate.outputs
        assert certificate.outputs["read back"].startswith("greatest difference 0.0e+00")
        assert store.load(tmp_path / f"{kind} back" / "checkpoint.pt").config == store.load(tmp_path / kind).config


def test_a_model_of_sori_is_written(tmp_path):
    torch.manual_seed(0)
    config = VqWav2VecConfig(
        dim=D, num_codes=CODES, quantizer_hidden=2 * D, gumbel_updates=1234, context_kernels=(2, 3)
    )
    store.save(VqWav2Vec(config).eval(), tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "there", to="fairseq")
    found = fairseq.read(tmp_path / "there" / "checkpoint.pt").model.system
    assert found == config


def test_parts_that_fairseq_does_not_support_are_refused(tmp_path):
    store.save(factory.build(recipes.by_name("vq_wav2vec_smoke").system).eval(), tmp_path / "ours")
    with pytest.raises(ValueError, match="its front end is spectral"):
        convert(tmp_path / "ours", tmp_path / "there", to="fairseq")
    other = VqWav2VecConfig(dim=D, num_codes=CODES, quantizer_hidden=3 * D)
    store.save(VqWav2Vec(other).eval(), tmp_path / "other")
    with pytest.raises(ValueError, match="is 48 wide, which is neither 0 nor 2 x dim"):
        convert(tmp_path / "other", tmp_path / "there", to="fairseq")


@pytest.mark.parametrize("to", ["fairseq", "huggingface"])
@pytest.mark.parametrize("name", ["cpc_smoke", "code_bert_smoke"])
def test_systems_without_a_foreign_format_are_refused_by_name(name, to, tmp_path):
    system = factory.build(recipes.by_name(name).system)
    store.save(system.eval(), tmp_path / "ours")
    with pytest.raises(ValueError, match=f"it is a {system.config.kind}; only wav2vec 2.0 is supported there"):
        convert(tmp_path / "ours", tmp_path / "there", to=to)
    convert(tmp_path / "ours", tmp_path / "copy")
    assert store.load(tmp_path / "copy").config == system.config


def test_defaults_are_those_of_the_published_architecture():
    assert DEFAULTS["conv_feature_layers"].count("512") == 4
    assert "(512, 13, 1)" in DEFAULTS["conv_aggregator_layers"]
