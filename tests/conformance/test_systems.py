"""Tests of the same properties for every system that can be trained."""

import os
import signal

import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.audio import read
from sori.core.batch import TextBatch, WaveformBatch
from sori.core.seeds import Rng
from sori.models import factory
from sori.models.wav2vec2 import ConvConfig, Wav2Vec2
from sori.nn.mask import MaskConfig
from sori.recipes import sizes
from sori.recipes.recipe import Recipe
from sori.runs import run
from sori.text.vocabulary import Vocabulary
from sori.training.metrics import Reporter, read_metrics

SYSTEMS = ("cpc", "simclr", "wav2vec", "vq_wav2vec", "code_bert", "wav2vec2", "ctc")
FRONTS = {
    "log_mel": sizes.smoke().front,
    "conv_layer": ConvConfig(norm="layer", bias=True, normalize=True, dim=16),
    "conv_group": ConvConfig(norm="group", dim=16),
}
VOCABULARY = Vocabulary.fit(["abdelnos"])

CASES = [(name, front) for name in ("wav2vec2", "ctc") for front in FRONTS]
CASES += [("cpc", None), ("simclr", None), ("wav2vec", None), ("vq_wav2vec", None), ("code_bert", None)]
"""Every system with every front end it supports; None: the one of its smoke recipe."""

each_system = pytest.mark.parametrize("name", SYSTEMS)
each_case = pytest.mark.parametrize(("name", "front"), CASES)
each_front = pytest.mark.parametrize("front", FRONTS)


def build(name, front=None):
    """Return the smoke system of a kind, with any front end."""
    recipe = recipes.by_name(f"{name}_smoke")
    front = front or "log_mel"
    if name == "ctc":
        encoder = recipe.encoder.model_copy(update={"front": FRONTS[front]})
        config = recipe.system.model_copy(update={"feature_gradient": 1.0})
        return factory.build(config, encoder=encoder, vocabulary=VOCABULARY)
    if name == "wav2vec2":
        return factory.build(recipe.system.model_copy(update={"front": FRONTS[front]}))
    return factory.build(recipe.system)


@pytest.fixture(scope="module")
def waveforms(tone_corpus):
    """Return three recordings of unequal length, at least a second and a half, with their transcripts."""
    paths = sorted((tone_corpus / "audio" / "anna").glob("*.wav"))
    found = [(read(path), path.with_suffix(".txt").read_text().strip()) for path in paths]
    return [(waveform, text) for waveform, text in found if len(waveform) > 24_000][:3]


def batch_of(name, waveforms, *, num_samples=24_000):
    """Return a batch for the training of a system: equal crops, or whole utterances of unequal length."""
    if name != "ctc":
        crops = torch.stack([waveform[:num_samples] for waveform, _ in waveforms])
        return WaveformBatch(crops, torch.full((len(waveforms),), num_samples))
    lengths = torch.tensor([len(waveform) for waveform, _ in waveforms])
    labels = [torch.tensor(VOCABULARY.encode(text)) for _, text in waveforms]
    return TextBatch(
        torch.nn.utils.rnn.pad_sequence([waveform for waveform, _ in waveforms], batch_first=True),
        lengths,
        torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-1),
        torch.tensor([len(ids) for ids in labels]),
    )


def mean(part):
    return float(part.total.detach() / part.count)


@each_case
def test_losses_are_finite_and_train_every_trainable_parameter(name, front, waveforms):
    system = build(name, front)
    for step in range(2):
        part = system.loss(batch_of(name, waveforms), step=step, rng=Rng(0, step))
        assert part.total.dtype == torch.float32
        assert torch.isfinite(part.total)
        assert int(part.count) > 0
        assert all(not term.requires_grad and torch.isfinite(term) for term in part.terms.values())
        part.total.backward()
    gradients = {name: p.grad for name, p in system.named_parameters() if p.requires_grad}
    assert [name for name, gradient in gradients.items() if gradient is None or not bool(gradient.any())] == []
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients.values())


@each_case
def test_systems_that_say_so_use_every_parameter_in_every_micro_batch(name, front, waveforms):
    """DDP does not search for others there, and would wait for their gradients."""
    system = build(name, front)
    system.loss(batch_of(name, waveforms), step=0, rng=Rng(0)).total.backward()
    unused = [name for name, p in system.named_parameters() if p.requires_grad and p.grad is None]
    assert getattr(system, "uses_every_parameter", False) == (name not in {"ctc", "code_bert", "simclr"})
    assert not unused or not getattr(system, "uses_every_parameter", False)


def test_pretraining_loss_falls_below_chance(encoder_run):
    reports = [row for row in read_metrics(encoder_run / "metrics.jsonl") if row["kind"] == "train"]
    chance = Wav2Vec2(recipes.by_name("wav2vec2_smoke").system).chance_nats
    assert reports[-1]["contrastive"] < 0.85 * chance
    assert reports[-1]["contrastive"] < reports[0]["contrastive"]


@pytest.mark.parametrize("name", ["cpc"])
def test_other_pretraining_losses_fall_below_chance_and_recognisers_start_from_there(name, prepared_tones, tmp_path):
    recipe = recipes.by_name(f"{name}_smoke")
    run.train(recipe, into=tmp_path / "encoder", data=prepared_tones)
    reports, chance = rows(tmp_path / "encoder"), factory.build(recipe.system).chance_nats
    assert reports[0]["contrastive"] > reports[-1]["contrastive"]
    assert reports[-1]["contrastive"] < 0.85 * chance
    few = recipes.by_name("ctc_smoke").override({"train.num_steps": 2})
    run.train(few, into=tmp_path / "recogniser", data=prepared_tones, init=tmp_path / "encoder")
    encoder, recogniser = (store.load(tmp_path / folder) for folder in ("encoder", "recogniser"))
    assert factory.encoder_of(recogniser).config == encoder.config
    kept = {key: value for key, value in encoder.front.state_dict().items() if value.is_floating_point()}
    assert kept
    for key, value in factory.encoder_of(recogniser).front.state_dict().items():  # frozen by default
        assert torch.equal(value, kept[key])


@pytest.mark.parametrize(("name", "fraction"), [("wav2vec", 0.85), ("vq_wav2vec", 0.95)])
def test_loss_of_steps_ahead_falls_below_chance(name, fraction, prepared_tones, tmp_path):
    recipe = recipes.by_name(f"{name}_smoke")
    run.train(recipe, into=tmp_path, data=prepared_tones)
    reports = [row for row in read_metrics(tmp_path / "metrics.jsonl") if row["kind"] == "train"]
    assert reports[-1]["contrastive"] < fraction * reports[-1]["chance"]
    assert reports[-1]["correct"] > 1.3 / 11


def test_masked_units_are_predicted_and_recognisers_start_from_there(prepared_tones, tmp_path):
    run.train(recipes.by_name("vq_wav2vec_smoke"), into=tmp_path / "units", data=prepared_tones)
    recipe = recipes.by_name("code_bert_smoke")
    run.train(recipe, into=tmp_path / "encoder", data=prepared_tones, init=tmp_path / "units")
    reports, chance = rows(tmp_path / "encoder"), factory.build(recipe.system).chance_nats
    assert reports[-1]["contrastive"] < 0.8 * chance
    assert reports[-1]["correct"] > 0.2
    few = recipes.by_name("ctc_smoke").override({"train.num_steps": 2})
    run.train(few, into=tmp_path / "recogniser", data=prepared_tones, init=tmp_path / "encoder")
    encoder, recogniser = (store.load(tmp_path / folder) for folder in ("encoder", "recogniser"))
    kept = encoder.front.state_dict() | {"token_of": encoder.token_of}
    found = factory.encoder_of(recogniser)
    for key, value in (found.front.state_dict() | {"token_of": found.token_of}).items():
        assert torch.equal(value, kept[key])
    run.train(
        recipe.override({"train.num_steps": 2}), into=tmp_path / "on", data=prepared_tones, init=tmp_path / "encoder"
    )
    assert torch.equal(store.load(tmp_path / "on").token_of, encoder.token_of)


def test_cutting_a_batch_of_units_does_not_change_the_gradient(waveforms):
    system = build("code_bert").eval()
    batch = batch_of("code_bert", waveforms)
    draws = system.draw(system.features(*batch).lengths, Rng(0), torch.device("cpu"))
    whole = gradient(system, [system.objective(batch, draws)])
    halves = [system.objective(cut(batch, half), cut(draws, half)) for half in (slice(0, 2), slice(2, 3))]
    torch.testing.assert_close(gradient(system, halves), whole, rtol=1e-4, atol=1e-4)


def test_views_are_identified_and_recognisers_start_from_there(prepared_tones, tmp_path):
    recipe = recipes.by_name("simclr_smoke")
    run.train(recipe, into=tmp_path / "encoder", data=prepared_tones)
    reports = rows(tmp_path / "encoder")
    assert reports[0]["contrastive"] > reports[-1]["contrastive"]
    assert reports[-1]["contrastive"] < 0.9 * reports[-1]["chance"]  # 0.856 where the processor has AVX2 only
    few = recipes.by_name("ctc_smoke").override({"train.num_steps": 2})
    run.train(few, into=tmp_path / "recogniser", data=prepared_tones, init=tmp_path / "encoder")
    encoder = factory.encoder_of(store.load(tmp_path / "recogniser"))
    assert encoder.config == recipe.system
    assert not any(key.startswith("head.") for key in encoder.state_dict())


@pytest.mark.parametrize("name", ["wav2vec", "vq_wav2vec"])
def test_cutting_a_batch_of_steps_ahead_does_not_change_the_gradient(name, waveforms):
    config = recipes.by_name(f"{name}_smoke").system
    if name == "vq_wav2vec":  # the use of the codebook depends on the whole batch
        config = config.model_copy(update={"diversity_weight": 0.0})
    system = factory.build(config).eval()
    batch = batch_of(name, waveforms)
    draws = system.draw(system.features(*batch).lengths, Rng(0), torch.device("cpu"))
    extra = {"temperature": 1.0} if name == "vq_wav2vec" else {}
    whole = gradient(system, [system.objective(batch, draws, **extra)])
    parts = [(cut(batch, half), cut(draws, half)) for half in (slice(0, 2), slice(2, 3))]
    halves = [system.objective(*part, **extra) for part in parts]
    torch.testing.assert_close(gradient(system, halves), whole, rtol=1e-4, atol=1e-4)


def test_recognition_loss_falls_below_chance(recogniser_run):
    reports = [row for row in read_metrics(recogniser_run / "metrics.jsonl") if row["kind"] == "train"]
    assert reports[-1]["loss"] < 0.5 * reports[-1]["chance"]
    assert reports[-1]["loss"] < 0.5 * reports[0]["loss"]


def short_run(name, data, into, **changes):
    recipe = recipes.by_name(f"{name}_smoke").override({"train.num_steps": 6, "train.log_every": 2, **changes})
    run.train(recipe, into=into, data=data, init=units(into.parent / "units") if name == "code_bert" else None)
    return store.load(into).state_dict() if (into / "model").exists() else None


def units(into):
    """Return a model that produces units; create it if there is none yet."""
    if not into.exists():
        store.save(build("vq_wav2vec"), into)
    return into


def short_run_in_two_parts(name, data, into, monkeypatch):
    """Return the weights of a short run that SIGTERM has interrupted after three updates."""
    tick = Reporter.tick

    def interrupt_after_three(self, step):
        tick(self, step)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "tick", interrupt_after_three)
        assert short_run(name, data, into) is None
    return short_run(name, data, into)


@each_system
def test_the_seed_decides_everything_and_an_interruption_nothing(name, prepared_tones, tmp_path, monkeypatch):
    whole = short_run(name, prepared_tones, tmp_path / "whole")
    other = short_run(name, prepared_tones, tmp_path / "other", **{"train.seed": 1})
    assert any(not torch.equal(whole[key], other[key]) for key in whole)
    parts = short_run_in_two_parts(name, prepared_tones, tmp_path / "parts", monkeypatch)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    drawn = [{k: v for k, v in row.items() if k in {"step", "loss", "grad_norm"}} for row in rows(tmp_path / "whole")]
    assert drawn == [
        {k: v for k, v in row.items() if k in {"step", "loss", "grad_norm"}} for row in rows(tmp_path / "parts")
    ]


def rows(folder):
    return [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "train"]


@each_system
def test_configuration_survives_yaml(name, tmp_path):
    recipe = recipes.by_name(f"{name}_smoke")
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert Recipe.from_yaml(tmp_path / "r.yaml").system == recipe.system


@each_system
def test_saved_and_loaded_it_computes_the_same(name, waveforms, tmp_path):
    system = build(name).eval()
    store.save(system, tmp_path / "m")
    batch = batch_of(name, waveforms)
    with torch.no_grad():
        expected = system.loss(batch, step=3, rng=Rng(1))
        found = store.load(tmp_path / "m").loss(batch, step=3, rng=Rng(1))
    assert torch.equal(found.total, expected.total)


@each_front
def test_cutting_a_pretraining_batch_does_not_change_the_gradient(front, waveforms):
    # without the diversity term, which depends on the whole batch; draws are split like the batch
    changes = {"diversity_weight": 0.0, "visible_weight": 0.7}
    config = build("wav2vec2", front).config.model_copy(update=changes)
    torch.manual_seed(0)
    system = Wav2Vec2(config).eval()
    batch = batch_of("wav2vec2", waveforms)
    num_frames = system.features(*batch).lengths
    draws = system.draw(num_frames, Rng(0), torch.device("cpu"))
    whole = gradient(system, [system.objective(batch, draws, temperature=1.0)])
    parts = [(cut(batch, half), cut(draws, half)) for half in (slice(0, 2), slice(2, 3))]
    halves = [system.objective(*part, temperature=1.0) for part in parts]
    torch.testing.assert_close(gradient(system, halves), whole, rtol=1e-4, atol=1e-4)


@each_front
def test_cutting_a_fine_tuning_batch_does_not_change_the_gradient(front, waveforms):
    system = build("ctc", front).eval()
    whole = gradient(system, [system.loss(batch_of("ctc", waveforms), step=0, rng=Rng(0))])
    halves = [system.loss(batch_of("ctc", waveforms[half]), step=0, rng=Rng(0)) for half in (slice(0, 2), slice(2, 3))]
    torch.testing.assert_close(gradient(system, halves), whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


def cut(draws, rows):
    """Return the chosen rows of a tuple of tensors, tuples and None."""
    if draws is None or isinstance(draws, torch.Tensor):
        return None if draws is None else draws[rows]
    return type(draws)(*(cut(part, rows) for part in draws))


def gradient(system, parts):
    """Return the gradient of the sum of losses over the sum of counts, all parameters in one vector."""
    system.zero_grad()
    (sum(part.total for part in parts) / sum(part.count for part in parts)).backward()
    return torch.cat([p.grad.flatten() for p in system.parameters() if p.grad is not None])


@each_case
def test_padding_does_not_change_the_output(name, front, waveforms):
    system = build(name, front).eval()
    batch = batch_of("ctc", waveforms)
    with torch.no_grad():
        together = system.extract_features(batch.waveform, batch.lengths)
        for row, (waveform, _) in enumerate(waveforms):
            alone = system.extract_features(waveform[None], torch.tensor([len(waveform)]))
            assert int(alone.lengths) == int(together.lengths[row])
            torch.testing.assert_close(together.data[row, : int(alone.lengths)], alone.data[0], rtol=1e-5, atol=1e-5)


@each_system
def test_bfloat16_stays_near_float32(name, waveforms):
    system = build(name).eval()
    batch = batch_of(name, waveforms)
    with torch.no_grad():
        exact = mean(system.loss(batch, step=0, rng=Rng(0)))
        with torch.autocast("cpu", torch.bfloat16):
            rough = mean(system.loss(batch, step=0, rng=Rng(0)))
    # bfloat16 has 8 bits: each of a few layers rounds by up to 0.4 %
    assert rough == pytest.approx(exact, rel=0.02)
    assert rough != exact


@each_system
def test_all_randomness_comes_from_the_generator(name, waveforms):
    system = build(name)
    if name == "ctc":
        system.config = system.config.model_copy(update={"mask": MaskConfig(time_prob=0.5)})
    batch = batch_of(name, waveforms)
    first, again, other = (mean(system.loss(batch, step=0, rng=Rng(seed))) for seed in (0, 0, 1))
    assert first == again
    assert first != other
