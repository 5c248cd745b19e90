import itertools
import math

import pytest
import torch
from torch import nn

from sori.nn.transformer import Attention, Block, Transformer, gelu, scale_init, set_arithmetic


def make(num_layers=3, *, pre_norm=True, dropout=0.0, layerdrop=0.0) -> Transformer:
    torch.manual_seed(0)
    return Transformer(
        12,
        num_layers=num_layers,
        num_heads=3,
        ffn_dim=20,
        pre_norm=pre_norm,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        layerdrop=layerdrop,
    )


def test_attention_by_loops():
    torch.manual_seed(0)
    attention = Attention(6, num_heads=2, dropout=0.0)
    x = torch.randn(1, 5, 6)
    real = torch.tensor([[True, True, True, True, False]])
    q, k, v = attention.qkv(x)[0].detach().double().split(6, dim=-1)
    mixed = torch.zeros(5, 6, dtype=torch.float64)
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        for t in range(5):
            weights = [math.exp(float(q[t, part] @ k[j, part]) / math.sqrt(3)) if real[0, j] else 0.0 for j in range(5)]
            for j in range(5):
                mixed[t, part] += weights[j] / sum(weights) * v[j, part]
    expected = attention.out(mixed.float())
    torch.testing.assert_close(attention(x, real)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_block_is_that_of_torch(pre_norm):
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=pre_norm
    )
    ours = Block(
        12, num_heads=3, ffn_dim=20, pre_norm=pre_norm, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0
    )
    names = {
        "self_attn.in_proj_": "attention.qkv.",
        "self_attn.out_proj": "attention.out",
        "linear1": "expand",
        "linear2": "contract",
        "norm1": "attention_norm",
        "norm2": "ffn_norm",
    }
    state = {}
    for key, value in theirs.state_dict().items():
        old = next(name for name in names if key.startswith(name))
        state[names[old] + key.removeprefix(old)] = value
    ours.load_state_dict({key: value + 0.1 * torch.randn_like(value) for key, value in state.items()})
    for key, value in theirs.state_dict().items():
        old = next(name for name in names if key.startswith(name))
        value.copy_(ours.state_dict()[names[old] + key.removeprefix(old)])
    x, real = torch.randn(2, 7, 12), torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    theirs.train()  # torch's fast path of eval mode drops the padded frames
    a, b = ours(x, real), theirs(x, src_key_padding_mask=~real)
    torch.testing.assert_close(a[real], b[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_every_layer_is_returned(pre_norm):
    model, x = make(pre_norm=pre_norm), torch.randn(2, 7, 12)
    layers = model(x)
    assert len(layers) == 4
    first = x if pre_norm else model.norm(x)
    assert torch.equal(layers[0], first)
    assert torch.equal(layers[1], model.blocks[0](first))
    last = model.blocks[2](layers[2])
    assert torch.equal(layers[3], model.norm(last) if pre_norm else last)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_padding_changes_nothing(pre_norm):
    model, x = make(pre_norm=pre_norm), torch.randn(2, 9, 12)
    real = torch.tensor([[True] * 9, [True] * 5 + [False] * 4])
    padded = model(x, real)
    for layer, alone in zip(padded, model(x[1:, :5]), strict=True):
        torch.testing.assert_close(layer[1:, :5], alone, rtol=0, atol=1e-5)


def test_layerdrop_skips_blocks_at_its_rate_in_training_only():
    model, x = make(num_layers=6, layerdrop=0.3), torch.randn(1, 4, 12)
    generator = torch.Generator().manual_seed(0)
    skipped = 0
    for _ in range(150):
        layers = model(x, generator=generator)[:-1]
        skipped += sum(torch.equal(a, b) for a, b in itertools.pairwise(layers))
    assert skipped / (150 * 5) == pytest.approx(0.3, abs=0.06)
    with pytest.raises(ValueError, match="needs a random generator"):
        model(x)
    layers = model.eval()(x)
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(layers))


def test_weights_are_drawn_as_in_bert():
    torch.manual_seed(0)
    model = Transformer(
        256,
        num_layers=1,
        num_heads=4,
        ffn_dim=512,
        pre_norm=True,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
    )
    for name, value in model.blocks.named_parameters():
        if "norm" not in name:
            expected = 0.0 if name.endswith("bias") else 0.02
            assert value.std().item() == pytest.approx(expected, rel=0.03)


def test_dropout_acts_in_training_only():
    model, x = make(dropout=0.5), torch.randn(1, 4, 12)
    assert not torch.equal(model(x)[-1], model(x)[-1])
    model.eval()
    assert torch.equal(model(x)[-1], model(x)[-1])


def test_heads_must_divide():
    with pytest.raises(ValueError, match="cannot be divided"):
        Attention(10, num_heads=3, dropout=0.0)


def test_scaled_weights_make_blocks_that_matter():
    torch.manual_seed(0)
    sizes = {"num_layers": 4, "num_heads": 4, "ffn_dim": 256, "pre_norm": True, "layerdrop": 0.0}
    model = Transformer(64, **sizes, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    x = torch.randn(1, 50, 64)
    change = (model(x)[3] - x).norm() / x.norm()
    assert change < 0.05
    scale_init(model)
    assert model.blocks[0].expand.weight.std().item() == pytest.approx(64**-0.5, rel=0.03)
    assert model.blocks[0].contract.weight.std().item() == pytest.approx((256 * 8) ** -0.5, rel=0.03)
    change = (model(x)[3] - x).norm() / x.norm()
    assert 0.3 < change < 2


def test_epsilon_and_gelu_of_bert_reach_every_block():
    model = Transformer(8, num_layers=2, num_heads=2, ffn_dim=16, pre_norm=False, dropout=0.0, attention_dropout=0.0,
                        activation_dropout=0.0, layerdrop=0.0).eval()  # fmt: skip
    set_arithmetic(model, norm_eps=1e-12, gelu="tanh")
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-12}
    x = torch.randn(2, 5, 8)
    expected = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    for block in model.blocks:
        wanted = block.contract(
            0.5 * (y := block.expand(x)) * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (y + 0.044715 * y**3)))
        )
        torch.testing.assert_close(block._feed_forward(x), wanted)
    torch.testing.assert_close(gelu(x, "tanh"), expected)
    assert not torch.allclose(gelu(x, "erf"), expected, atol=1e-6)
