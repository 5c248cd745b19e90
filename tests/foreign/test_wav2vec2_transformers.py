"""Tests that the same weights in transformers give the same hidden states, loss and gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sori.core.batch import WaveformBatch
from sori.core.seeds import Rng
from sori.models.wav2vec2 import RandomDraws, Wav2Vec2, Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.mask import masked_positions
from sori.recipes import sizes

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.foreign

NO_DROPOUT = dict.fromkeys(["dropout", "attention_dropout", "input_dropout", "target_dropout", "layerdrop"], 0.0)
NARROW = {"dim": 96, "num_layers": 3, "num_heads": 6, "ffn_dim": 192, "code_dim": 64, "final_dim": 48, "num_codes": 40}


def layout(name: str, *, narrow: bool = True) -> Wav2Vec2Config:
    """Return a published layout without dropout and feature penalty, which transformers lacks; narrow for speed."""
    config = getattr(sizes, name)()
    config = config.model_copy(update={**NO_DROPOUT, "feature_penalty": 0.0, "feature_gradient": 1.0})
    if narrow:
        front = config.front.model_copy(update={"dim": 64})
        config = config.model_copy(update={**NARROW, "front": front})
    return config


def foreign_config(config: Wav2Vec2Config) -> "transformers.Wav2Vec2Config":
    front = config.front
    assert isinstance(front, ConvConfig)
    return transformers.Wav2Vec2Config(
        hidden_size=config.dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.ffn_dim,
        feat_extract_norm=front.norm,
        conv_bias=front.bias,
        conv_dim=(front.dim,) * 7,
        do_stable_layer_norm=config.pre_norm,
        num_codevectors_per_group=config.num_codes,
        codevector_dim=config.code_dim,
        proj_codevector_dim=config.final_dim,
        num_negatives=config.num_negatives,
        diversity_loss_weight=config.diversity_weight,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        feat_quantizer_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        attn_implementation="eager",
    )


def ours_by_theirs(theirs: dict[str, torch.Tensor], config: Wav2Vec2Config) -> dict[str, torch.Tensor]:
    """Return tensors of transformers (weights or gradients) under our names; each must have one."""
    left, ours = dict(theirs), {}

    def move(theirs_name: str, ours_name: str, kinds: tuple[str, ...] = ("weight", "bias")) -> None:
        for kind in kinds:
            ours[f"{ours_name}.{kind}"] = left.pop(f"{theirs_name}.{kind}")

    for i in range(7):
        layer = f"wav2vec2.feature_extractor.conv_layers.{i}"
        move(f"{layer}.conv", f"front.convs.{i}", ("weight", "bias") if config.front.bias else ("weight",))
        if config.front.norm == "layer" or i == 0:
            move(f"{layer}.layer_norm", f"front.norms.{i}")
    move("wav2vec2.feature_projection.layer_norm", "feature_norm")
    move("wav2vec2.feature_projection.projection", "projection")
    ours["mask_vector"] = left.pop("wav2vec2.masked_spec_embed")
    conv = "wav2vec2.encoder.pos_conv_embed.conv"
    ours["positions.gain"] = left.pop(f"{conv}.parametrizations.weight.original0")
    ours["positions.direction"] = left.pop(f"{conv}.parametrizations.weight.original1")
    ours["positions.bias"] = left.pop(f"{conv}.bias")
    move("wav2vec2.encoder.layer_norm", "transformer.norm")
    for i in range(config.num_layers):
        layer, block = f"wav2vec2.encoder.layers.{i}", f"transformer.blocks.{i}"
        for kind in ("weight", "bias"):
            parts = [left.pop(f"{layer}.attention.{part}_proj.{kind}") for part in "qkv"]
            ours[f"{block}.attention.qkv.{kind}"] = torch.cat(parts)
        move(f"{layer}.attention.out_proj", f"{block}.attention.out")
        move(f"{layer}.layer_norm", f"{block}.attention_norm")
        move(f"{layer}.feed_forward.intermediate_dense", f"{block}.expand")
        move(f"{layer}.feed_forward.output_dense", f"{block}.contract")
        move(f"{layer}.final_layer_norm", f"{block}.ffn_norm")
    ours["quantizer.codebook"] = left.pop("quantizer.codevectors").view(2, config.num_codes, -1)
    move("quantizer.weight_proj", "quantizer.logits")
    move("project_q", "project_codes")
    move("project_hid", "project_context")
    assert not left
    return ours


def pair(config: Wav2Vec2Config, seed: int = 0) -> tuple[Wav2Vec2, "transformers.Wav2Vec2ForPreTraining"]:
    """Return both models with the same random weights, all norms and biases away from 1 and 0."""
    torch.manual_seed(seed)
    theirs = transformers.Wav2Vec2ForPreTraining(foreign_config(config))
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if name.endswith("bias"):
                value.normal_(std=0.1)
            elif "layer_norm" in name:
                value.uniform_(0.7, 1.3)
    ours = Wav2Vec2(config)
    state = ours_by_theirs(theirs.state_dict(), config)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {k: v.shape for k, v in state.items()}
    ours.load_state_dict(state)
    return ours, theirs


def example(config: Wav2Vec2Config, batch_size: int = 2, samples: int = 12_000) -> tuple[WaveformBatch, torch.Tensor]:
    """Return waveforms, and the input of transformers for them."""
    torch.manual_seed(1)
    waveform = 0.1 * torch.randn(batch_size, samples)
    lengths = torch.full((batch_size,), samples)
    return WaveformBatch(waveform, lengths), functional.layer_norm(
        waveform, (samples,)
    ) if config.front.normalize else waveform


def hidden_states(
    theirs: "transformers.Wav2Vec2ForPreTraining", waveform: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Return the input of the first block and the output of each, the last one after the final normalisation."""
    out = theirs.wav2vec2(waveform, attention_mask=attention_mask, output_hidden_states=True)
    return [*out.hidden_states[:-1], out.last_hidden_state]


@pytest.mark.parametrize(
    ("name", "narrow"), [("base", True), ("large", True), ("lv60k", True), ("xlsr_2b", True), ("base", False)]
)
def test_every_hidden_state(name, narrow):
    config = layout(name, narrow=narrow)
    ours, theirs = (model.eval() for model in pair(config))
    batch, waveform = example(config)
    theirs.double()  # in float64, because the rounding of one side over twelve layers is 7e-6 to 1.03e-5
    with torch.no_grad():
        expected = hidden_states(theirs, waveform.double())
        layers, lengths = ours.encode(*batch)
        projected = theirs.project_hid(expected[-1]).float()
    assert lengths.tolist() == [37, 37]
    for layer, hidden in zip(layers, expected, strict=True):
        torch.testing.assert_close(layer, hidden.float(), rtol=0, atol=2e-5)
    torch.testing.assert_close(ours.project_context(layers[-1]), projected, rtol=0, atol=1e-5)


def test_hidden_states_of_a_padded_batch():
    config = layout("lv60k")
    ours, theirs = (model.eval() for model in pair(config))
    lengths = torch.tensor([12_000, 7_000])
    waveform = 0.1 * torch.randn(2, 12_000)
    waveform[1, 7_000:] = 0
    # Normalised as its feature extractor does: before padding.
    rows = [functional.layer_norm(row[:n], (int(n),)) for row, n in zip(waveform, lengths, strict=True)]
    with torch.no_grad():
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        expected = hidden_states(theirs, padded, (torch.arange(12_000) < lengths[:, None]).long())
        layers, frame_lengths = ours.encode(waveform, lengths)
    for layer, hidden in zip(layers, expected, strict=True):
        for b, length in enumerate(frame_lengths.tolist()):
            torch.testing.assert_close(layer[b, :length], hidden[b, :length], rtol=0, atol=1e-5)


def foreign_negatives(draws: RandomDraws) -> torch.Tensor:
    """Return distractors as indices into all frames of the batch, the format of transformers."""
    batch_size, num_frames = draws.masked.shape
    out = torch.zeros(batch_size, num_frames, draws.hidden.negatives.shape[2], dtype=torch.long)
    for b in range(batch_size):
        out[b, draws.hidden.positions[b]] = draws.hidden.positions[b][draws.hidden.negatives[b]] + b * num_frames
    return out


@pytest.mark.parametrize("name", ["base", "large", "lv60k"])
def test_loss_and_gradients(name, monkeypatch):
    config = layout(name)
    ours, theirs = (model.train() for model in pair(config))
    batch, waveform = example(config, batch_size=3)
    draws = ours.draw(torch.tensor([37] * 3), Rng(0), torch.device("cpu"))
    temperature = 1.7
    theirs.set_gumbel_temperature(temperature)
    noise = torch.zeros(*draws.masked.shape, 2 * config.num_codes)
    noise[draws.masked] = draws.hidden.noise.flatten(0, 1)

    def gumbel_softmax(logits, tau, hard):
        assert hard
        soft = ((logits + noise.view_as(logits)) / tau).softmax(-1)
        chosen = functional.one_hot(soft.argmax(-1), logits.shape[-1]).to(soft.dtype)
        return chosen + (soft - soft.detach())  # equal units give equal vectors, bit for bit

    monkeypatch.setattr(functional, "gumbel_softmax", gumbel_softmax)
    expected = theirs(waveform, mask_time_indices=draws.masked, sampled_negative_indices=foreign_negatives(draws))
    out = ours.objective(batch, draws, temperature=temperature)

    assert out.count == draws.masked.sum()
    per_frame = 1 / out.count
    torch.testing.assert_close(out.total * per_frame, expected.loss * per_frame, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        out.terms["contrastive"] * per_frame, expected.contrastive_loss.detach() * per_frame, rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        out.terms["prob_perplexity"] * per_frame, expected.codevector_perplexity.detach(), rtol=1e-4, atol=0
    )

    (out.total * per_frame).backward()
    (expected.loss * per_frame).backward()
    gradients = {key: p.grad for key, p in theirs.named_parameters()}
    for key, gradient in ours_by_theirs(gradients, config).items():
        torch.testing.assert_close(ours.get_parameter(key).grad, gradient, rtol=0, atol=1e-4, msg=key)
        assert gradient.abs().max() > 1e-4, key


def test_masks_cover_as_much_as_those_of_transformers():
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

    np.random.seed(0)  # noqa: NPY002 - transformers draws from the global generator
    theirs = _compute_mask_indices((300, 500), mask_prob=0.65, mask_length=10, min_masks=2).mean()
    config = layout("base")
    ours = Wav2Vec2(config).draw(torch.full((300,), 501), Rng(0), torch.device("cpu"))
    counts = ours.masked.sum(1)
    assert counts.unique().numel() == 1
    assert torch.equal(masked_positions(ours.masked), ours.hidden.positions)
    # Ours are trimmed to the row with fewest masked frames: a few per cent below.
    assert theirs - 0.09 < ours.masked.float().mean().item() < theirs
