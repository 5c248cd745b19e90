"""Recognisers in 8-bit integers against the same ones in float32."""

import copy

import pytest
import torch

from sori.core import precision, threads
from sori.inference import eight_bits
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig, WaveformConv
from sori.nn.eight_bit_rows import quantise
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

CPU = torch.device("cpu")
with_int8 = pytest.mark.skipif(not precision.has_int8(CPU), reason="this processor has no AVX-512 VNNI or AMX")


def recogniser(*, norm: str = "group", pre_norm: bool = False):
    """Return a recogniser of BASE's (group) or XLS-R's (layer) layout, narrow and with random weights."""
    torch.manual_seed(0)
    front = ConvConfig(norm=norm, dim=64, bias=norm == "layer", normalize=norm == "layer")
    encoder = Wav2Vec2Config(
        front=front,
        dim=96,
        num_layers=3,
        num_heads=3,
        ffn_dim=192,
        position_kernel=16,
        position_groups=6,
        pre_norm=pre_norm,
        init="width",
    )
    made = factory.build(CtcConfig(), encoder=encoder, vocabulary=Vocabulary.fit(["abcdefgh "]))
    return made.eval()


LAYOUTS = pytest.mark.parametrize(("norm", "pre_norm"), [("group", False), ("layer", True)])


@pytest.fixture
def exact_attention(monkeypatch):
    """Attention in float32, so that what is compared is not rounded to bfloat16 as well."""
    for module in ("sori.inference.eight_bits", "sori.models.ctc"):
        monkeypatch.setattr(f"{module}.has_bfloat16", lambda _: False)


def logits(model, waveform, lengths=None):
    lengths = torch.tensor([waveform.shape[1]] * len(waveform)) if lengths is None else torch.tensor(lengths)
    with torch.no_grad():
        return model.logits(waveform, lengths).data


def noise(num_utterances, num_samples):
    return torch.randn(num_utterances, num_samples, generator=torch.Generator().manual_seed(1))


@with_int8
@pytest.mark.parametrize("shape", [(40, 33), (1, 7), (300, 64)])
def test_a_product_is_that_of_the_rounded_numbers(shape):
    torch.manual_seed(0)
    weight, bias, x = (
        torch.randn(24, shape[1]) * torch.logspace(-3, 1, 24)[:, None],
        torch.randn(24),
        torch.randn(shape),
    )
    layer, rows = eight_bits.EightBitLinear(weight, bias), quantise(x)
    scales = weight.double().abs().amax(1, keepdim=True) / 127
    rounded = (weight / scales.float()).round().double() * scales
    exact = (rows.values.double() * rows.scales[:, None].double()) @ rounded.T + bias.double()
    torch.testing.assert_close(layer(rows).double(), exact, rtol=1e-5, atol=1e-5)


@with_int8
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_convolutions_are_close_to_those_in_float32(norm):
    torch.manual_seed(0)
    front = WaveformConv(ConvConfig(norm=norm, dim=64, bias=norm == "layer", normalize=norm == "layer"))
    rounded = eight_bits.EightBitFront(copy.deepcopy(front))
    waveform, lengths = noise(2, 6000), torch.tensor([6000, 4321])
    with torch.no_grad():
        ours, exact = rounded(waveform, lengths), front(waveform, lengths)
    assert ours.lengths.tolist() == exact.lengths.tolist()
    assert ours.data.shape == exact.data.shape
    for row, frames in enumerate(exact.lengths.tolist()):
        found, expected = ours.data[row, :frames], exact.data[row, :frames]
        assert (found - expected).norm() < 0.05 * expected.norm()


@with_int8
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_block_is_close_to_that_in_float32(pre_norm):
    block = factory.encoder_of(recogniser(pre_norm=pre_norm)).transformer.blocks[1]
    x, valid = noise(2, 25 * 96).view(2, 25, 96), torch.arange(25) < torch.tensor([[25], [11]])
    rounded = eight_bits.EightBitBlock(copy.deepcopy(block), torch.float32)
    with torch.no_grad():
        ours, exact = rounded(x, valid)[valid], block(x, valid)[valid]
    assert (ours - exact).norm() < 0.01 * exact.norm()
    assert not torch.equal(ours, exact)


@with_int8
@LAYOUTS
def test_a_recogniser_is_close_to_itself_in_float32(norm, pre_norm):
    exact = recogniser(norm=norm, pre_norm=pre_norm)
    rounded = copy.deepcopy(exact)
    eight_bits.convert(rounded)
    assert rounded.precision == "int8"
    waveform = noise(2, 16_000)
    expected, found = logits(exact, waveform), logits(rounded, waveform)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.08 * (expected - expected.mean((0, 1))).norm()


@with_int8
@LAYOUTS
def test_neither_padding_nor_other_utterances_change_a_result(norm, pre_norm, exact_attention):
    """Integers are exact. Sums in float32 in another order move some values by one step; rounding as such moves 5 %."""
    model = recogniser(norm=norm, pre_norm=pre_norm)
    eight_bits.convert(model)
    waveform, lengths = noise(3, 9000), [9000, 5000, 7000]
    waveform[1, 5000:], waveform[2, 7000:] = 3, -3
    together = logits(model, waveform, lengths)
    for row, length in enumerate(lengths):
        alone = logits(model, waveform[row : row + 1, :length])[0]
        assert (together[row, : len(alone)] - alone).norm() < 0.01 * alone.norm()


@with_int8
@LAYOUTS
def test_packed_weights_count_for_the_number_of_recordings_at_a_time(norm, pre_norm, monkeypatch):
    """A large model processes one recording at a time, in integers as in float32."""
    exact = recogniser(norm=norm, pre_norm=pre_norm)
    rounded = copy.deepcopy(exact)
    eight_bits.convert(rounded)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    size = sum(one.numel() for one in exact.parameters())
    assert sum(one.numel() for one in rounded.parameters()) < size / 3
    for limit, expected in ((size - 1, 1), (2 * size, 2)):
        monkeypatch.setattr(threads, "_SMALL", limit)
        assert [threads.num_at_a_time(model) for model in (exact, rounded)] == [expected] * 2


@with_int8
def test_convolutions_do_not_depend_on_the_batch():
    front = eight_bits.EightBitFront(WaveformConv(ConvConfig(dim=64)))
    waveform = noise(2, 6000)
    with torch.no_grad():
        together = front(waveform, torch.tensor([6000, 4321])).data[1]
        alone = front(waveform[1:, :4321], torch.tensor([4321])).data[0]
    assert torch.equal(together[: len(alone)], alone)


def test_a_processor_without_the_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_f": True})
    model = recogniser()
    with pytest.raises(ValueError, match="AVX-512 VNNI or AMX"):
        eight_bits.convert(model)
    assert model.precision == "float32"


def test_models_without_such_layers_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    tiny = factory.build(CtcConfig(), encoder=sizes.tiny(), vocabulary=Vocabulary.fit(["ab "]))
    for model in (tiny, factory.build(sizes.smoke())):
        assert not eight_bits.is_supported(model)
        with pytest.raises(ValueError, match="Transformer of wav2vec"):
            eight_bits.convert(model)
