import math

import pytest
import torch

from sori.core.batch import WaveformBatch
from sori.core.seeds import Rng
from sori.models.wav2vec2 import PredictionTargets, Wav2Vec2, Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.losses import perplexity
from sori.nn.mask import MaskConfig, masked_positions, span_mask
from sori.nn.negatives import within_utterance
from sori.recipes import sizes

CONV = {
    "group": ConvConfig(dim=16),
    "layer": ConvConfig(dim=16, norm="layer", bias=True, normalize=True),
}

CPU = torch.device("cpu")


def smoke(front: str = "log_mel", **changes) -> Wav2Vec2:
    torch.manual_seed(0)
    config = sizes.smoke().model_copy(update={"visible_weight": 0.0} | changes)
    if front in CONV:
        config = config.model_copy(update={"front": CONV[front]})
    return Wav2Vec2(config)


def noise_batch(batch_size=2, samples=24_000, seed=0) -> WaveformBatch:
    waveform = 0.1 * torch.randn(batch_size, samples, generator=torch.Generator().manual_seed(seed))
    return WaveformBatch(waveform, torch.tensor([samples] * batch_size))


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("base", 95_044_608),
        ("large", 317_380_864),
        ("lv60k", 317_390_592),
        ("xlsr_300m", 317_390_592),
        ("xlsr_1b", 965_514_752),
        ("xlsr_2b", 2_162_932_352),
    ],
)
def test_parameter_counts(name, total):
    with torch.device("meta"):
        model = Wav2Vec2(getattr(sizes, name)())
    assert sum(p.numel() for p in model.parameters()) == total


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("base", 94_371_712),
        ("large", 315_428_992),
        ("lv60k", 315_438_720),
        ("xlsr_1b", 962_497_408),
        ("xlsr_2b", 2_159_259_648),
    ],
)
def test_parameter_counts_without_quantiser_and_heads(name, encoder):
    with torch.device("meta"):
        model = Wav2Vec2(getattr(sizes, name)())
    heads = (model.quantizer, model.project_codes, model.project_context)
    assert sum(p.numel() for p in model.parameters()) - sum(p.numel() for h in heads for p in h.parameters()) == encoder


@pytest.mark.parametrize(
    "name", ["base", "large", "lv60k", "xlsr_300m", "xlsr_1b", "xlsr_2b", "tiny", "small", "smoke"]
)
def test_presets_survive_a_round_trip_through_data(name):
    config = getattr(sizes, name)()
    assert Wav2Vec2Config.from_data(config.model_dump(mode="json"), origin="here") == config


@pytest.mark.parametrize("name", ["base", "lv60k"])
def test_loss_of_random_weights_is_near_chance(name):
    """Use three of the blocks: the published figure holds for all depths, within the range."""
    torch.manual_seed(0)
    model = Wav2Vec2(getattr(sizes, name)().model_copy(update={"num_layers": 3}))
    with torch.no_grad():
        out = model.loss(noise_batch(2, 80_000), step=0, rng=Rng(0))
    per_frame = {key: value.item() / out.count.item() for key, value in out.terms.items()}
    assert 4.5 < per_frame["contrastive"] < 4.8
    if name == "base":
        assert 80 < per_frame["prob_perplexity"] < 125
        assert 70 < per_frame["code_perplexity"] < 125


@pytest.mark.slow
def test_loss_of_base_with_four_times_ten_seconds():
    torch.manual_seed(0)
    model = Wav2Vec2(sizes.base())
    with torch.no_grad():
        out = model.loss(noise_batch(4, 160_000), step=0, rng=Rng(0))
    assert 4.5 < out.terms["contrastive"].item() / out.count.item() < 4.8
    assert 80 < out.terms["prob_perplexity"].item() / out.count.item() < 180


def test_temperature_decays_to_its_floor():
    model = smoke(gumbel_decay=0.999995)
    assert model.gumbel_temperature(0) == 2
    assert model.gumbel_temperature(100_000) == pytest.approx(1.2131, abs=1e-4)
    assert model.gumbel_temperature(277_257) > 0.5
    assert model.gumbel_temperature(277_260) == 0.5
    assert model.gumbel_temperature(277_258) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("front", ["group", "layer", "log_mel"])
def test_padding_changes_nothing(front):
    model = smoke(front).eval()
    lengths = torch.tensor([9000, 5555, 1600])
    waveform = torch.randn(3, 9000) + 0.2
    for row, length in zip(waveform, lengths, strict=True):
        row[length:] = 0
    together, frame_lengths = model.encode(waveform, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone, _ = model.encode(waveform[i : i + 1, :length], lengths[i : i + 1])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i, : frame_lengths[i]], b[0], rtol=0, atol=1e-5)


def gradient_of_front(model: Wav2Vec2) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.front.parameters()]


def test_gradient_into_the_front_end_is_scaled():
    gradients = {}
    for scale in (1.0, 0.1):
        model = smoke("layer", feature_gradient=scale)
        model.loss(noise_batch(), step=0, rng=Rng(0)).total.backward()
        gradients[scale] = gradient_of_front(model)
    assert all(g.abs().sum() > 0 for g in gradients[1.0])
    for full, scaled in zip(gradients[1.0], gradients[0.1], strict=True):
        torch.testing.assert_close(scaled, 0.1 * full, rtol=0, atol=1e-3 * scaled.abs().max().item())


def test_front_end_is_frozen_in_fine_tuning():
    model = smoke("layer")
    layers, _ = model.encode(*noise_batch(), mask=MaskConfig(), rng=Rng(0))
    layers[-1].square().sum().backward()
    assert all(p.grad is None for p in model.front.parameters())
    assert model.projection.weight.grad.abs().sum() > 0
    assert model.mask_vector.grad.abs().sum() > 0
    layers, _ = model.encode(*noise_batch(), feature_gradient=0.5)
    layers[-1].square().sum().backward()
    assert all(g.abs().sum() > 0 for g in gradient_of_front(model))


@pytest.mark.parametrize(("name", "clips", "updates"), [("tiny", 16, 45), ("tiny_attention", 32, 30)])
def test_a_tiny_model_learns_some_clips(name, clips, updates):
    """Accuracy of more than ten times chance, and a codebook in use, on fixed artificial clips."""
    torch.manual_seed(0)
    size = {"dim": 64, "num_layers": 1, "num_heads": 2, "ffn_dim": 256, "position_groups": 4}
    model = Wav2Vec2(getattr(sizes, name)().model_copy(update=size))
    batch = babble(clips, 32_000)
    model.start_codebook([batch], Rng(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    accuracy = []
    for step in range(updates):
        out = model.loss(batch, step=step, rng=Rng(0, step))
        optimizer.zero_grad()
        (out.total / out.count).backward()
        optimizer.step()
        accuracy.append(float(out.terms["correct"] / out.count))
    assert accuracy[0] < 8 / 101
    assert accuracy[-1] > 10 / 101
    assert out.terms["contrastive"] / out.count < math.log(101) - 0.5
    assert out.terms["code_perplexity"] / out.count > 10


def babble(batch_size: int, samples: int, seed: int = 0) -> WaveformBatch:
    """Return random sequences of six tone pairs of 0.1 to 0.3 s, predictable from their context."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16_000
    waveform = 0.01 * torch.randn(batch_size, samples, generator=generator)
    for row in waveform:
        start = 0
        while start < samples:
            length = int(torch.randint(1600, 4800, (), generator=generator))
            unit = int(torch.randint(6, (), generator=generator))
            part = time[start : start + length]
            for hertz in (250 + 110 * unit, 2600 - 290 * unit):
                row[start : start + length] += 0.1 * torch.sin(2 * math.pi * hertz * part)
            start += length
    return WaveformBatch(waveform, torch.full((batch_size,), samples))


def contrast_by_parts(model: Wav2Vec2, batch: WaveformBatch, masked: torch.Tensor, chosen: PredictionTargets) -> float:
    """Return the contrastive loss of the chosen frames from the public parts, computed frame by frame in float64."""
    frames = model.features(*batch)
    context = model.project_context(model.context(frames, masked=masked)[-1]).double()
    normed = model.feature_norm(frames.data)
    out = model.quantizer(torch.stack([row[places] for row, places in zip(normed, chosen.positions, strict=True)]))
    targets = model.project_codes(out.vectors).double()
    total = 0.0
    for b, positions in enumerate(chosen.positions.tolist()):
        for rank, t in enumerate(positions):
            cosines = torch.cosine_similarity(context[b, t], targets[b], dim=-1) / 0.1
            candidates = [cosines[rank]]
            for j in chosen.negatives[b, rank].tolist():
                same = torch.equal(out.units[b, j], out.units[b, rank])
                candidates.append(cosines[rank] if same else cosines[j])
            total += float(torch.stack(candidates).logsumexp(0) - cosines[rank])
    return total


def diversity_by_parts(model: Wav2Vec2, batch: WaveformBatch, masked: torch.Tensor) -> float:
    normed = model.feature_norm(model.features(*batch).data)
    probs = model.quantizer.logits(normed[masked]).unflatten(-1, (2, -1)).softmax(-1).mean(0)
    return float(1 - perplexity(probs) / probs.numel())


@pytest.mark.parametrize("visible_weight", [0.0, 0.7])
def test_loss_by_parts(visible_weight):
    model = smoke(visible_weight=visible_weight).eval()
    batch = noise_batch()
    out = model.loss(batch, step=0, rng=Rng(5))
    draws = model.draw(torch.tensor([74, 74]), Rng(5), CPU)
    count = draws.hidden.positions.numel()
    with torch.no_grad():
        total = contrast_by_parts(model, batch, draws.masked, draws.hidden)
        total += count * 0.1 * diversity_by_parts(model, batch, draws.masked)
        assert (draws.visible is None) == (visible_weight == 0)
        if draws.visible is not None:
            total += 0.7 * contrast_by_parts(model, batch, draws.masked, draws.visible)
    assert out.count == count
    assert out.total.item() == pytest.approx(total, rel=1e-5)


def test_visible_frames_are_those_not_masked():
    draws = smoke(visible_weight=1.0).draw(torch.tensor([120, 80]), Rng(3), CPU)
    assert torch.equal(draws.hidden.positions, smoke().draw(torch.tensor([120, 80]), Rng(3), CPU).hidden.positions)
    fewest = 80 - int(draws.masked[1].sum())
    assert draws.visible.positions.shape == (2, fewest)
    for masked, places, length in zip(draws.masked, draws.visible.positions, (120, 80), strict=True):
        assert not masked[places].any()
        assert places.max() < length
        assert len(places.unique()) == fewest


def test_only_the_context_is_warped():
    model = tinier(warp=0.2, visible_weight=0.0)
    batch = noise_batch(2, 32_000)
    lengths = model.features(*batch).lengths
    draws = model.draw(lengths, Rng(0), CPU)
    assert ((draws.warp - 1).abs() <= 0.2).all()
    assert draws.warp.unique().numel() == 2
    seen = []
    model.quantizer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    warped = model.objective(batch, draws, temperature=1.0)
    plain = model.objective(batch, draws._replace(warp=None), temperature=1.0)
    assert torch.equal(seen[0], seen[1])
    assert warped.total != plain.total
    assert model.eval().draw(lengths, Rng(0), CPU).warp is None


def test_warp_needs_targets_of_their_own():
    for changes in ({"warp": 0.1}, {"warp": 0.1, "front": sizes.base().front.model_dump(), "targets": None}):
        with pytest.raises(ValueError, match="unwarped targets"):
            Wav2Vec2Config.from_data({**sizes.smoke().model_dump(), **changes}, origin="here")


def test_feature_penalty_is_the_mean_square_of_raw_features():
    model = smoke("layer", feature_penalty=10.0)
    batch = noise_batch()
    out = model.loss(batch, step=0, rng=Rng(0))
    penalty = out.count * model.features(*batch).data.square().mean()
    torch.testing.assert_close(out.terms["feature_penalty"], penalty.detach())
    expected = out.terms["contrastive"] + 0.1 * out.terms["diversity"] + 10 * out.terms["feature_penalty"]
    torch.testing.assert_close(out.total.detach(), expected)


def test_features_without_parameters_cannot_be_penalised():
    with pytest.raises(ValueError, match="no effect on a front end without parameters"):
        Wav2Vec2Config.from_data({**sizes.tiny_attention().model_dump(), "feature_penalty": 1.0}, origin="here")


def test_loss_is_a_function_of_its_generators():
    model = smoke(layerdrop=0.5)
    values = [model.loss(noise_batch(), step=0, rng=Rng(0, 0, part)).total.item() for part in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_draws_keep_the_rules_of_the_objective():
    model = smoke()
    lengths = torch.tensor([120, 80])
    draws = model.draw(lengths, Rng(3), CPU)
    host = Rng(3)
    expected = span_mask(lengths, prob=0.65, span=7, min_spans=2, equal_counts=True, generator=host["mask"])
    assert torch.equal(draws.masked, expected)
    assert torch.equal(draws.hidden.positions, masked_positions(expected))
    negatives = within_utterance(*draws.hidden.positions.shape, num_negatives=10, generator=host["negatives"])
    assert torch.equal(draws.hidden.negatives, negatives)
    assert model.eval().draw(lengths, Rng(3), CPU).hidden.noise is None


def test_collapse_scores_chance_in_our_sizes_and_zero_in_the_published():
    for equal, expected in (("keep", math.log(11)), ("drop", 0.0)):
        model = smoke(equal_distractors=equal, diversity_weight=0.0).eval()
        with torch.no_grad():
            model.quantizer.logits.weight.zero_()
        out = model.loss(noise_batch(), step=0, rng=Rng(0))
        assert out.total.item() / out.count.item() == pytest.approx(expected, abs=1e-5)
        assert out.terms["equal_share"] == out.count
        assert out.terms["code_perplexity"].item() / out.count.item() == pytest.approx(2, abs=1e-4)


def test_masks_cover_frames_and_channels():
    model = smoke().eval()
    waveform, lengths = noise_batch()
    masked = torch.zeros(2, 74, dtype=torch.bool)
    masked[0, 10:20] = True
    channels = torch.zeros(2, 32, dtype=torch.bool)
    channels[1, 4:8] = True
    seen = []
    model.positions.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.context(model.features(waveform, lengths), masked=masked, channels=channels)
    x = seen[0]
    assert (x[0, 10:20] == model.mask_vector).all()
    assert not (x[0, 20] == model.mask_vector).any()
    assert (x[1, :, 4:8] == 0).all()
    assert (x[0, :, 4:8] != 0).all()


def test_encode_draws_masks_for_fine_tuning():
    model = smoke(dropout=0.0)
    batch = noise_batch(2)
    mask = MaskConfig(time_prob=0.5, channel_prob=0.25, channel_length=8)
    a, lengths = model.encode(*batch, mask=mask, rng=Rng(0))
    b, _ = model.encode(*batch, mask=mask, rng=Rng(0))
    c, _ = model.encode(*batch, mask=mask, rng=Rng(1))
    assert len(a) == 3
    assert lengths.tolist() == [74, 74]
    assert torch.equal(a[-1], b[-1])
    assert not torch.equal(a[-1], c[-1])
    with pytest.raises(ValueError, match="pass rng"):
        model.encode(*batch, mask=mask)


def test_frames_of_a_layer():
    model = smoke().eval()
    batch = noise_batch()
    layers, _ = model.encode(*batch)
    assert torch.equal(model.extract_features(*batch).data, layers[2])
    assert torch.equal(model.extract_features(*batch, layer=0).data, layers[0])
    assert model.extract_features(*batch).lengths.tolist() == [74, 74]
    with pytest.raises(ValueError, match=r"no layer 3: this model has 0 .* to 2"):
        model.extract_features(*batch, layer=3)


def test_targets_replace_the_features():
    model = tinier().eval()
    batch = noise_batch(2, 32_000)
    draws = model.draw(model.features(*batch).lengths, Rng(0), CPU)
    seen = []
    model.quantizer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.objective(batch, draws, temperature=1.0)
    targets = model.targets(*batch).data
    for b in range(2):
        assert torch.equal(seen[0][b], targets[b][draws.masked[b]])


def test_targets_need_the_windows_of_the_front_end():
    data = sizes.tiny().model_dump()
    data["targets"]["windows"]["stack"] = 4
    with pytest.raises(ValueError, match="same windows as the front end"):
        Wav2Vec2Config.from_data(data, origin="here")
    with pytest.raises(ValueError, match="one row for each of 3 codebooks"):
        Wav2Vec2Config.from_data({**sizes.tiny().model_dump(), "num_groups": 3}, origin="here")


def test_units_start_as_clusters_of_the_targets():
    model = tinier()
    before = model.loss(babble(4, 64_000), step=0, rng=Rng(0))
    model.start_codebook((babble(4, 64_000, seed) for seed in range(3)), Rng(0))
    again = tinier()
    again.start_codebook((babble(4, 64_000, seed) for seed in range(3)), Rng(0))
    assert torch.equal(model.quantizer.codebook, again.quantizer.codebook)
    after = model.loss(babble(4, 64_000), step=0, rng=Rng(0))
    use = [float(out.terms["prob_perplexity"] / out.count) for out in (before, after)]
    assert use[1] > use[0]
    assert use[1] > 20
    with pytest.raises(ValueError, match="requires a model with `targets`"):
        smoke().start_codebook([], Rng(0))


def tinier(**changes: object) -> Wav2Vec2:
    """Return the layout of `tiny_attention`, but smaller."""
    torch.manual_seed(0)
    size = changes | {"dim": 32, "num_layers": 1, "num_heads": 2, "ffn_dim": 64, "position_groups": 4, "num_codes": 20}
    return Wav2Vec2(sizes.tiny_attention().model_copy(update=size))


def test_too_short_input_is_refused():
    model = smoke()
    assert (model.field_samples, model.hop_samples) == (560, 320)
    with pytest.raises(ValueError, match="559 samples is shorter than one frame"):
        model.extract_features(torch.randn(1, 559), torch.tensor([559]))


def test_bfloat16_autocast_stays_close():
    model = smoke("layer").eval()
    batch = noise_batch()
    with torch.no_grad():
        full = model.loss(batch, step=0, rng=Rng(0))
        with torch.autocast("cpu", torch.bfloat16):
            low = model.loss(batch, step=0, rng=Rng(0))
    assert low.total.dtype == torch.float32
    assert low.total.item() == pytest.approx(full.total.item(), rel=0.02)
