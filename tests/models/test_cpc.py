import math

import pytest
import torch

from sori.checkpoints.formats.onnx_graph import Graph
from sori.core.batch import WaveformBatch
from sori.core.seeds import Rng
from sori.models import encoders, factory
from sori.models.cpc import (
    BlockPredictorConfig,
    CausalBlock,
    Cpc,
    CpcConfig,
    LinearPredictors,
)
from sori.models.ctc import CtcConfig
from sori.nn.mask import MaskConfig
from sori.nn.mel_network import MelNetworkConfig
from sori.nn.padded_conv import PaddedConvConfig
from sori.nn.spectral import LogMelConfig
from sori.recipes import cpc as sizes
from sori.text.vocabulary import Vocabulary

CPU = torch.device("cpu")
FRONTS = {
    "batch": PaddedConvConfig(norm="batch", dim=12),
    "channel": PaddedConvConfig(norm="channel", dim=12),
    "mel": MelNetworkConfig(windows=LogMelConfig(num_mels=20, stack=1), dim=12),
}
WINDOW = 20_480

each_front = pytest.mark.parametrize("front", FRONTS)
each_source = pytest.mark.parametrize("source", ["batch", "others", "own"])


def small(front="channel", **changes) -> Cpc:
    torch.manual_seed(0)
    config = {"front": FRONTS[front].model_dump(), "dim": 12, "num_negatives": 16, **changes}
    return Cpc(CpcConfig.from_data(config, origin="here"))


def noise(batch_size=3, samples=6400, seed=0) -> WaveformBatch:
    waveform = 0.1 * torch.randn(batch_size, samples, generator=torch.Generator().manual_seed(seed))
    return WaveformBatch(waveform, torch.full((batch_size,), samples))


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_paper():
    with torch.device("meta"):
        model = Cpc(sizes.paper())
    assert count(model.front.convs) == 5_250_560
    assert count(model.front.norms) == 5_120
    assert count(model.recurrent) == 591_360
    assert count(model.predictors) == 1_572_864
    assert count(model) == 7_419_904


def test_parameters_of_the_modified_form():
    with torch.device("meta"):
        model = Cpc(sizes.modified())
    assert count(model.front.convs) == 1_314_560
    assert count(model.front.norms) == 2_560
    assert count(model.recurrent) == 526_336
    # a block: attention 4 x 256^2, keys of 116 distances, network, two normalisations
    assert count(model.predictors) == 12 * (4 * 256**2 + 116 * 32 + 2 * (256 * 256 + 256) + 4 * 256)


@pytest.mark.parametrize("name", ["paper", "modified"])
def test_a_window_gives_128_frames_of_512_and_256(name):
    config = getattr(sizes, name)()
    model = Cpc(config).eval()
    with torch.no_grad():
        (z, c), lengths = model.encode(*noise(1, WINDOW))
    assert z.shape == (1, 128, config.front.dim)
    assert c.shape == (1, 128, 256)
    assert lengths.tolist() == [128]


@pytest.mark.parametrize("front", ["batch", "channel"])
def test_the_context_ends_with_sample_160_t_plus_311(front):
    model = small(front).eval()
    waveform, lengths = noise(1, 6400)
    waveform.requires_grad_()
    layers, _ = model.encode(waveform, lengths, feature_gradient=1.0)
    layers[-1][0, 20].square().sum().backward()
    seen = waveform.grad[0].nonzero().flatten()
    assert int(seen[0]) == 0
    assert int(seen[-1]) == 160 * 20 + 311


def test_the_context_over_log_mel_ends_with_its_own_window():
    model = small("mel").eval()
    waveform, lengths = noise(1, 6400)
    before = model.extract_features(waveform, lengths).data
    waveform[0, 160 * 20 + 400 :] = torch.randn(6400 - 3600)
    after = model.extract_features(waveform, lengths).data
    assert torch.equal(before[0, :21], after[0, :21])
    assert not torch.allclose(before[0, 23], after[0, 23])


@each_source
def test_zero_predictors_score_chance(source):
    model = small(num_negatives=128, negatives=source)
    torch.nn.init.zeros_(model.predictors.matrices.weight)
    out = model.loss(noise(3, WINDOW), step=0, rng=Rng(0))
    assert model.chance_nats == pytest.approx(4.8598, abs=1e-4)
    assert out.total.item() / int(out.count) == pytest.approx(model.chance_nats, abs=1e-5)
    for k in range(1, 13):
        assert out.terms[f"correct_{k}"].item() / int(out.count) == pytest.approx(1 / 129, rel=1e-5)


def test_the_bound_never_exceeds_the_logarithm_of_the_candidates():
    """The bound also holds for perfect predictions with certainty."""
    model = small("mel", num_steps=1)
    batch = noise(3, 6400)
    num_frames = int(model.features(*batch).lengths[0])
    draws = model.draw(3, num_frames, Rng(0), CPU)
    z = torch.randn(3, num_frames, 12)
    z = z / z.square().mean(-1, keepdim=True).sqrt()  # else some frames would be nearer to others than to themselves
    out = model._contrast(z, 1000 * z[:, None, 1:], draws.negatives)
    bound = model.chance_nats - out.loss.item() / (3 * (num_frames - 1))
    assert 0.8 * math.log(17) < bound <= math.log(17)


def test_a_window_has_116_positions_of_12_steps():
    model = small()
    assert model.draw(3, 128, Rng(0), CPU).negatives.shape == (3, 116, 16)
    out = model.loss(noise(3, WINDOW), step=0, rng=Rng(0))
    assert int(out.count) == 3 * 116 * 12


def test_negatives_are_never_of_the_same_time():
    negatives = small(num_negatives=128).draw(4, 128, Rng(0), CPU).negatives
    assert not (negatives % 128 == torch.arange(116)[:, None]).any()
    own = negatives // 128 == torch.arange(4)[:, None, None]
    assert 0.2 < own.float().mean() < 0.3  # of four utterances, each as often


def by_parts(model: Cpc, batch: WaveformBatch, negatives) -> float:
    """Return the sum of the losses from the public parts, computed candidate by candidate."""
    z, c = model.context(model.features(*batch))
    total = 0.0
    for b in range(len(z)):
        for t in range(negatives.shape[1]):
            predictions = model.predictors(c[b : b + 1, t : t + 1])[0, :, 0]
            for k, prediction in enumerate(predictions, start=1):
                places = negatives[b, t].tolist()
                own = model.config.negatives == "own"
                others = [z[b, j] if own else z[j // z.shape[1], j % z.shape[1]] for j in places]
                scores = torch.stack([(prediction * frame).mean() for frame in (z[b, t + k], *others)])
                total += float(scores.logsumexp(0) - scores[0])
    return total


@torch.no_grad()
@each_source
@pytest.mark.parametrize("front", ["batch", "mel"])
def test_loss_by_parts(front, source):
    model = small(front, negatives=source, num_steps=3, recurrent="gru").double().eval()
    model.predictors.matrices.weight *= 1000
    batch = WaveformBatch(noise(2, 3200).waveform.double(), torch.full((2,), 3200))
    if front == "mel":  # a spectrum is computed in float32
        model, batch = model.float(), WaveformBatch(batch.waveform.float(), batch.lengths)
    num_frames = int(model.features(*batch).lengths[0])
    draws = model.draw(2, num_frames, Rng(1), CPU)
    out = model.objective(batch, draws)
    expected = by_parts(model, batch, draws.negatives)
    assert out.total.item() == pytest.approx(expected, rel=1e-10 if front == "batch" else 1e-5)
    assert abs(expected / int(out.count) - model.chance_nats) > 0.01
    torch.testing.assert_close(out.terms["contrastive"], out.total.float())
    steps = torch.stack([out.terms[f"correct_{k}"] for k in (1, 2, 3)])
    torch.testing.assert_close(steps.mean(), out.terms["correct"])


@each_front
def test_cutting_a_batch_does_not_change_the_gradient_where_distractors_are_own(front):
    model = small(front, negatives="own").eval()
    batch = noise(3, 6400)
    draws = model.draw(3, int(model.features(*batch).lengths[0]), Rng(0), CPU)

    def gradient(parts):
        model.zero_grad()
        outs = [
            model.objective(WaveformBatch(*(x[rows] for x in batch)), type(draws)(draws[0][rows])) for rows in parts
        ]
        (sum(out.total for out in outs) / sum(out.count for out in outs)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    whole, halves = gradient([slice(0, 3)]), gradient([slice(0, 2), slice(2, 3)])
    assert whole.abs().max() > 0
    torch.testing.assert_close(halves, whole, rtol=1e-4, atol=1e-6)


@each_front
def test_padding_changes_nothing(front):
    model = small(front, num_layers=2).eval()
    lengths = torch.tensor([5000, 470, 1777])
    waveform = torch.randn(3, 5000) * (torch.arange(5000) < lengths[:, None])
    for layer in (0, 1, None):
        together = model.extract_features(waveform, lengths, layer=layer)
        for row, length in enumerate(lengths.tolist()):
            alone = model.extract_features(waveform[row : row + 1, :length], lengths[row : row + 1], layer=layer)
            num = int(alone.lengths)
            assert num == int(together.lengths[row])
            torch.testing.assert_close(together.data[row, :num], alone.data[0], rtol=0, atol=1e-5)


def test_unequal_lengths_are_not_trained_on():
    model, batch = small(), noise(2)
    with pytest.raises(ValueError, match="equal length in pre-training, got 5000 to 6400 samples"):
        model.loss(WaveformBatch(batch.waveform, torch.tensor([6400, 5000])), step=0, rng=Rng(0))


def test_too_short_crops_leave_nothing_to_predict_from():
    with pytest.raises(ValueError, match="12 frames are to be predicted, but the crops have only 12"):
        small().loss(noise(2, 12 * 160), step=0, rng=Rng(0))
    assert int(small().loss(noise(2, 13 * 160), step=0, rng=Rng(0)).count) == 2 * 12


def test_an_encoder_without_predictors_is_refused():
    config = small().config
    encoder = encoders.build(config, objective=False)
    assert encoder.extract_features(*noise()).data.shape[-1] == 12
    with pytest.raises(ValueError, match="has no predictors"):
        encoder.loss(noise(), step=0, rng=Rng(0))


def test_predictors_start_as_in_the_code():
    rows = LinearPredictors(64, 128, num_steps=5).matrices.weight.detach().view(5, 128, 64)
    assert rows[:, :64].std() == pytest.approx(1, abs=0.03)
    assert rows[:, 64:].std() == pytest.approx(0.01, rel=0.03)
    narrow = LinearPredictors(64, 64, num_steps=5).matrices.weight.detach()
    assert narrow.abs().max() <= 1 / 8


def block_by_loops(block: CausalBlock, x):
    """Compute the block position by position and head by head."""
    heads = block.config.num_heads
    width = x.shape[1] // heads
    q, k, v = (block.qkv.weight[part * x.shape[1] : (part + 1) * x.shape[1]] @ x.T for part in range(3))
    mixed = torch.zeros_like(x)
    for h in range(heads):
        own = slice(h * width, (h + 1) * width)
        for i in range(len(x)):
            scores = torch.stack(
                [q[own, i] @ (k[own, j] + block.distance_keys[i - j]) / math.sqrt(width) for j in range(i + 1)]
            )
            mixed[i, own] = v[own, : i + 1] @ scores.softmax(0)
    x = block.attention_norm(x + mixed @ block.out.weight.T)
    return block.ffn_norm(x + block.contract(block.expand(x).relu()))


@torch.no_grad()
def test_a_block_by_loops():
    block = CausalBlock(8, BlockPredictorConfig(num_heads=2, ffn_dim=6, max_positions=10)).double().eval()
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    for row, found in zip(x, block(x), strict=True):
        torch.testing.assert_close(found, block_by_loops(block, row), rtol=0, atol=1e-10)


def test_a_block_refuses_places_that_have_no_key():
    predictor = {"kind": "block", "num_heads": 2, "max_positions": 20}
    model = small(predictor=predictor)
    assert model.loss(noise(2, 32 * 160), step=0, rng=Rng(0)).total > 0
    with pytest.raises(ValueError, match=r"leave 21 positions .* support 20"):
        model.loss(noise(2, 33 * 160), step=0, rng=Rng(0))


def test_a_block_needs_frames_as_wide_as_the_context():
    with pytest.raises(ValueError, match=r"got front.dim 12 and dim 16"):
        small(predictor={"kind": "block", "num_heads": 2}, dim=16)


def test_recognisers_read_a_mix_of_the_layers_as_wide_as_the_last():
    recogniser = factory.build(CtcConfig(read="mix"), encoder=small().config, vocabulary=Vocabulary.fit(["abc"]))
    assert recogniser.logits(*noise(2, 3200)).data.shape[:2] == (2, 20)
    uneven = factory.build(
        CtcConfig(read="mix"), encoder=small(dim=16).config, vocabulary=Vocabulary.fit(["abc"])
    ).eval()
    batch = noise(2, 3200)
    mixed = uneven.encoder.extract_features(*batch).data  # c, of width 16; z has 12
    for _ in range(2):  # each layer is normalised, and so is their mean
        mixed = torch.nn.functional.layer_norm(mixed, mixed.shape[-1:])
    torch.testing.assert_close(uneven.logits(*batch).data, uneven.head(mixed), rtol=1e-3, atol=1e-4)


def test_it_has_no_form_as_a_graph_yet():
    with pytest.raises(ValueError, match=r"expected wav2vec 2.0 or a recogniser on it, got Cpc"):
        Graph(small())


def test_masks_cover_frames_and_channels():
    model = small().eval()
    batch, mask = noise(), MaskConfig(time_prob=0.5, time_length=3, channel_prob=0.25, channel_length=3)
    (z, c), _ = model.encode(*batch, mask=mask, rng=Rng(0))
    (again, _), _ = model.encode(*batch, mask=mask, rng=Rng(0))
    (plain, unmasked), _ = model.encode(*batch)
    assert torch.equal(z, again)
    changed = z != plain
    assert (z[changed] == 0).all()
    assert (z == 0).all(-1).any(1).all()
    assert (z == 0).all(1).any(1).all()
    assert not torch.equal(c, unmasked)
    with pytest.raises(ValueError, match="pass rng"):
        model.encode(*batch, mask=mask)


def test_the_front_end_is_frozen_by_default():
    model = small()
    layers, _ = model.encode(*noise())
    layers[-1].square().sum().backward()
    assert all(p.grad is None for p in model.front.parameters())
    gradients = {}
    for scale in (1.0, 0.5):
        model.zero_grad()
        model.encode(*noise(), feature_gradient=scale)[0][-1].square().sum().backward()
        gradients[scale] = model.front.convs[0].weight.grad.clone()
    assert gradients[1.0].abs().max() > 0
    torch.testing.assert_close(gradients[0.5], 0.5 * gradients[1.0])


def test_frames_of_a_layer():
    model, batch = small(num_layers=2).eval(), noise()
    layers, _ = model.encode(*batch)
    assert len(layers) == 3
    assert torch.equal(model.extract_features(*batch).data, layers[2])
    assert torch.equal(model.extract_features(*batch, layer=1).data, layers[1])
    with pytest.raises(ValueError, match=r"no layer 3: this model has 0 .* to 2"):
        model.extract_features(*batch, layer=3)


def test_a_tiny_model_learns_to_predict_tones():
    """Accuracy is far above chance, and higher for near frames than for far ones."""
    torch.manual_seed(0)
    front = MelNetworkConfig(windows=LogMelConfig(num_mels=20, stack=2), dim=32)
    model = Cpc(sizes.tiny().model_copy(update={"front": front, "dim": 32, "num_steps": 8, "num_negatives": 32}))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    time = torch.arange(24_000) / 16_000
    pitches = 250 * 2 ** (torch.randint(8, (8, 16)) * 0.45).repeat_interleave(1500, dim=1)
    batch = WaveformBatch(0.3 * torch.sin(2 * math.pi * pitches * time), torch.full((8,), 24_000))
    for step in range(60):
        out = model.loss(batch, step=step, rng=Rng(0, step))
        optimizer.zero_grad()
        (out.total / out.count).backward()
        optimizer.step()
    steps = [float(out.terms[f"correct_{k}"] / out.count) for k in range(1, 9)]
    assert float(out.terms["contrastive"] / out.count) < 0.8 * model.chance_nats
    assert steps[0] > 5 / 33
    assert steps[0] > steps[3] > steps[7]
