import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sori import recipes
from sori.core.batch import WaveformBatch
from sori.core.seeds import Rng
from sori.core.shapes import Frames
from sori.models import encoders, factory
from sori.models.code_bert import UNKNOWN, CodeBert, RandomDraws
from sori.models.ctc import CtcConfig
from sori.models.encoders import VqCodeBertConfig
from sori.models.vq_wav2vec import VqWav2Vec
from sori.nn.mask import MaskConfig, span_mask
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

CPU = torch.device("cpu")


def toy(**changes) -> CodeBert:
    torch.manual_seed(0)
    config = recipes.by_name("code_bert_smoke").system.model_copy(update=changes)
    return encoders.build(config)


def noise(*samples, seed=0) -> WaveformBatch:
    generator = torch.Generator().manual_seed(seed)
    waveforms = [0.1 * torch.randn(count, generator=generator) for count in samples]
    return WaveformBatch(nn.utils.rnn.pad_sequence(waveforms, batch_first=True), torch.tensor(samples))


def drawn(model, batch, seed=0) -> RandomDraws:
    return model.draw(model.features(*batch).lengths, Rng(seed), CPU)


def test_words_are_numbers_of_tuples():
    model = toy(num_tokens=64)  # 8 x 8 tuples, all of them words
    batch = noise(8_000, 6_000)
    codes, lengths = model.units(*batch)
    words, word_lengths = model.tokens(*batch)
    assert torch.equal(lengths, word_lengths)
    for row, count in enumerate(lengths.tolist()):
        for frame in range(words.shape[1]):
            i, j = codes[row, frame].tolist()
            assert int(words[row, frame]) == (1 + 8 * i + j if frame < count else UNKNOWN)
    assert len(codes.unique()) > 3


def test_every_pair_of_the_published_entries_has_a_number_of_its_own():
    with torch.device("meta"):
        model = encoders.build(recipes.by_name("code_bert_base").system)
    pairs = torch.cartesian_prod(torch.arange(320), torch.arange(320))
    assert torch.equal(model._numbers(pairs[None])[0], torch.arange(320 * 320))


def test_the_most_frequent_tuples_become_words_and_the_others_one():
    model = toy(num_tokens=3)
    counts = torch.zeros(64, dtype=torch.long)
    counts[torch.tensor([5, 9, 17, 40])] = torch.tensor([10, 30, 10, 1])
    assert model.choose_words(counts) == pytest.approx(50 / 51)
    expected = torch.zeros(64, dtype=torch.long)
    expected[torch.tensor([9, 5, 17])] = torch.tensor([1, 2, 3])
    assert torch.equal(model.token_of, expected)


def test_tuples_that_never_occur_are_unknown():
    model = toy(num_tokens=10)
    counts = torch.zeros(64, dtype=torch.long)
    counts[7] = 4
    assert model.choose_words(counts) == 1
    assert model.token_of.nonzero().flatten().tolist() == [7]


def test_counts_are_those_of_the_real_frames():
    model = toy()
    batch = noise(8_000, 5_000)
    counts = model.count_tuples([batch, batch])
    codes, lengths = model.units(*batch)
    expected = torch.zeros(64, dtype=torch.long)
    for row, count in zip(codes, lengths.tolist(), strict=True):
        for i, j in row[:count].tolist():
            expected[8 * i + j] += 2
    assert torch.equal(counts, expected)


def slow_loss(model, batch, draws) -> torch.Tensor:
    """Return the sum over chosen frames of -log softmax(decoder(context))[word], computed frame by frame."""
    total = torch.zeros((), dtype=torch.float64)
    for row, count in enumerate(model.units(*batch).lengths.tolist()):
        words = [int(w) for w in model.tokens(*batch)[0][row, :count]]
        vectors = []
        for t, word in enumerate(words):
            vector = model.words.weight[word]
            if draws.masked[row, t]:
                vector = model.mask_vector
            elif draws.swapped[row, t] >= 0:
                vector = model.words.weight[int(draws.swapped[row, t])]
            vectors.append(vector)
        x = torch.stack(vectors)[None]
        x = model.position_norm(x + model.positions(x))
        top = model.transformer(x)[-1][0]
        for t, word in enumerate(words):
            if draws.chosen[row, t]:
                h = functional.layer_norm(
                    functional.gelu(model.head.dense.weight @ top[t] + model.head.dense.bias),
                    (len(top[t]),),
                    model.head.norm.weight,
                    model.head.norm.bias,
                )
                logits = model.words.weight @ h + model.head.bias
                total += torch.logsumexp(logits, 0) - logits[word]
    return total


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_loss_is_that_of_a_slow_reference(pre_norm):
    model = toy(pre_norm=pre_norm, kept_share=0.2, swapped_share=0.3).eval()
    nn.init.normal_(model.head.bias)
    model.choose_words(model.count_tuples([noise(16_000, seed=3)]))
    batch = noise(20_000, 14_000)
    batch = batch._replace(waveform=batch.waveform.double())
    model.double()
    draws = drawn(model, batch)
    assert bool(draws.masked.any())
    assert bool((draws.swapped >= 0).any())
    found = model.objective(batch, draws)
    assert int(found.count) == int(draws.chosen.sum())
    torch.testing.assert_close(found.total, slow_loss(model, batch, draws), rtol=1e-10, atol=1e-10)


def test_equal_logits_cost_chance():
    model = toy()
    for parameter in model.head.parameters():
        nn.init.zeros_(parameter)
    out = model.loss(noise(32_000), step=0, rng=Rng(0))
    assert float(out.total.detach() / out.count) == pytest.approx(model.chance_nats, rel=1e-5)
    assert model.chance_nats == pytest.approx(math.log(41))


def test_spans_cover_forty_percent_and_words_are_replaced_80_10_10():
    model = toy(mask=MaskConfig(time_prob=0.5, time_length=10))
    draws = model.draw(torch.full((200,), 512), Rng(0), CPU)
    chosen = int(draws.chosen.sum())
    assert chosen / draws.chosen.numel() == pytest.approx(1 - 0.95**10, abs=0.01)
    swapped = draws.swapped >= 0
    assert not bool((draws.masked & swapped).any())
    assert not bool(((draws.masked | swapped) & ~draws.chosen).any())
    assert int(draws.masked.sum()) / chosen == pytest.approx(0.8, abs=0.01)
    assert int(swapped.sum()) / chosen == pytest.approx(0.1, abs=0.01)
    shown = draws.swapped[swapped]
    assert int(shown.min()) == 1
    assert int(shown.max()) == model.num_words - 1
    fraction = torch.bincount(shown, minlength=41)[1:] / len(shown)
    assert float(fraction.max()) < 2 * float(fraction.min())  # equal chances for all words, and none for the unknown


def test_the_spans_are_those_of_the_leaf():
    model = toy()
    lengths = torch.tensor([300, 120])
    expected = span_mask(lengths, prob=0.3, span=3, min_spans=1, equal_counts=False, generator=Rng(4, 2)["mask"])
    assert torch.equal(model.draw(lengths, Rng(4, 2), CPU).chosen, expected)


def test_units_are_never_trained_and_never_noisy():
    model = toy().train()
    assert model.training
    assert not model.front.training
    before = {name: tensor.clone() for name, tensor in model.front.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.loss(noise(32_000), step=0, rng=Rng(0)).total.backward()
    optimizer.step()
    assert all(p.grad is None for p in model.front.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.front.state_dict().items())
    assert all(bool(p.grad.any()) for p in model.parameters() if p.requires_grad)


def test_units_are_those_of_the_model_they_come_from_in_any_precision():
    vq = factory.build(recipes.by_name("vq_wav2vec_smoke").system).eval()
    model = toy()
    encoders.take_units(model, vq.state_dict(), vq.config)
    batch = noise(240_000, 170_000)
    expected = vq.units(*batch)
    assert torch.equal(model.units(*batch).data, expected.data)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(model.front.units(*batch).data, expected.data)
        assert torch.equal(model.units(*batch).data, expected.data)
    assert not hasattr(model.front, "aggregator")


def test_units_of_another_kind_are_refused():
    model = toy()
    other = recipes.by_name("vq_wav2vec_smoke").system.model_copy(update={"num_codes": 9})
    with pytest.raises(ValueError, match="expected a vq_wav2vec whose settings are those"):
        encoders.take_units(model, VqWav2Vec(other).state_dict(), other)
    with pytest.raises(ValueError, match="start BERT over units from the vq-wav2vec"):
        encoders.take_units(model, {}, recipes.by_name("cpc_smoke").system)


def test_a_random_initialisation_keeps_units_and_vocabulary():
    model = toy()
    model.choose_words(model.count_tuples([noise(32_000)]))
    fresh = encoders.random_initialisation(model).eval()
    batch = noise(20_000)
    assert torch.equal(fresh.tokens(*batch)[0], model.tokens(*batch)[0])
    assert not torch.equal(fresh.words.weight, model.words.weight)
    assert not hasattr(fresh, "head")


def test_too_many_tuples_are_refused():
    units = recipes.by_name("vq_wav2vec_smoke").system.model_copy(update={"num_groups": 4, "num_codes": 320})
    with pytest.raises(ValueError, match="cannot be numbered"):
        encoders.build(recipes.by_name("code_bert_smoke").system.model_copy(update={"units": units}))
    with pytest.raises(ValueError, match="sum must be 1 or less"):
        VqCodeBertConfig(units=units, kept_share=0.6, swapped_share=0.5)


def test_a_masked_word_does_not_leak():
    model = toy().eval()
    frames = model.features(*noise(32_000))
    masked = torch.zeros(frames.data.shape[:2], dtype=torch.bool)
    masked[0, 20] = True
    changed = frames.data.clone()
    changed[0, 20] += 5
    for ours, theirs in zip(
        model.context(frames, masked=masked), model.context(Frames(changed, frames.lengths), masked=masked), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_fine_tuning_masks_frames_and_channels_and_keeps_units():
    config = recipes.by_name("code_bert_smoke").system.model_copy(update={"dropout": 0.0})
    vocabulary = Vocabulary.fit(["ab"])
    system = factory.build(CtcConfig(feature_gradient=1.0), encoder=config, vocabulary=vocabulary)
    assert not any(p.requires_grad for p in system.encoder.front.parameters())
    assert not hasattr(system.encoder, "head")
    batch, mask = noise(32_000), MaskConfig(time_prob=0.4, time_length=5, channel_prob=0.4, channel_length=4)
    shown, _ = system.encoder.encode(*batch)
    hidden, _ = system.encoder.encode(*batch, mask=mask, rng=Rng(0))
    assert not torch.equal(shown[-1], hidden[-1])
    with pytest.raises(ValueError, match="drawn at random"):
        system.encoder.encode(*batch, mask=mask)
    with pytest.raises(ValueError, match="no output layer"):
        system.encoder.loss(batch, step=0, rng=Rng(0))
    with pytest.raises(ValueError, match="there is no layer 3"):
        system.encoder.extract_features(*batch, layer=3)


def test_published_sizes():
    """A RoBERTa base without positions: 85.1 M in blocks, 13,501 words of 768; the rest positions and output layer."""
    with torch.device("meta"):
        model = encoders.build(recipes.by_name("code_bert_base").system)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["transformer"] == 12 * 7_087_872 + 2 * 768
    assert count["words"] == 13_501 * 768
    assert count["head"] == 768 * 768 + 768 + 2 * 768 + 13_501
    assert model.num_words == 13_501
    assert (model.hop_samples, model.field_samples) == (160, 465)


def test_recipes_use_whole_utterances_and_mask_as_published():
    base = recipes.by_name("code_bert_base")
    assert (base.system.mask.time_prob, base.system.mask.time_length) == (0.5, 10)
    tokens = base.data.batch_seconds * 100 * base.train.num_accumulate
    assert tokens == pytest.approx(393_216, rel=0.001)
    assert recipes.by_name("code_bert_small").system.dim == 512
    assert sizes.base().dim == base.system.dim
