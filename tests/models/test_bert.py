"""Tests of BERT: published sizes, initial losses, masks, padding, gradients and frequencies of the draws."""

import math

import pytest
import torch

from sori.core.batch import TokenBatch
from sori.core.seeds import Rng
from sori.models.bert import Bert, BertConfig, RandomDraws
from sori.nn.transformer import Block
from sori.recipes import bert as sizes
from sori.training.schedule import factor


def texts(config, *, num=6, num_tokens=24, seed=0):
    """Return pairs of random tokens, of unequal length if there is more than one."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(110, config.num_tokens, (num, num_tokens), generator=generator)
    lengths = torch.randint(num_tokens // 2, num_tokens + 1, (num,), generator=generator)
    lengths[0] = num_tokens
    place = torch.arange(num_tokens)
    ids[:, 0], ids[:, 5] = config.cls, config.sep
    ids = torch.where(place == lengths[:, None] - 1, config.sep, ids)
    ids = ids.masked_fill(place >= lengths[:, None], config.pad)
    parts = ((place > 5) & (place < lengths[:, None])).long()
    return TokenBatch(ids, parts, lengths, torch.randint(2, (num, 1), generator=generator))


def small(**changes):
    sizes_of = {"num_tokens": 200, "num_layers": 2, "dim": 32, "num_heads": 2, "ffn_dim": 64, "num_positions": 32}
    return Bert(BertConfig(**{**sizes_of, "init": "waves", **changes}))


@pytest.mark.parametrize(
    ("config", "encoder", "whole"),
    [
        (sizes.base(), 109_482_240, 110_106_428),
        (sizes.base().model_copy(update={"num_tokens": 28_996}), 108_310_272, 108_932_934),
        (sizes.large(), 335_141_888, 336_226_108),
        (sizes.large().model_copy(update={"num_tokens": 28_996}), 333_579_264, 334_661_958),
        (sizes.of_size(2, 128), 4_385_920, None),
        (sizes.of_size(4, 256), 11_170_560, None),
        (sizes.of_size(4, 512), 28_763_648, None),
        (sizes.of_size(8, 512), 41_373_184, None),
    ],
)
def test_published_sizes(config, encoder, whole):
    with torch.device("meta"):
        model = Bert(config)
    size = sum(p.numel() for p in model.parameters())
    heads = sum(p.numel() for part in model.OBJECTIVE for p in getattr(model, part).parameters())
    assert size - heads == encoder
    assert whole is None or size == whole
    if config == sizes.base():
        assert sum(p.numel() for p in model.transformer.blocks[0].parameters()) == 7_087_872


def test_the_block_is_that_of_wav2vec2():
    assert all(type(block) is Block for block in small().transformer.blocks)
    assert {m.eps for m in small().modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-12}


def test_initial_losses_are_at_chance():
    torch.manual_seed(0)
    model = Bert(BertConfig(num_layers=2, dim=128, num_heads=2, ffn_dim=512)).eval()
    found = model.loss(texts(model.config, num=32, num_tokens=64), step=0, rng=Rng(0))
    each = {name: float(term / found.count) for name, term in found.terms.items()}
    assert each["mlm"] == pytest.approx(math.log(30_522), abs=0.25)
    assert each["next"] == pytest.approx(math.log(2), abs=0.1)
    assert each["chance"] == pytest.approx(math.log(30_522))
    assert float(found.total.detach() / found.count) == pytest.approx(each["mlm"] + each["next"], rel=1e-6)


def test_weights_begin_within_two_deviations():
    weights = Bert(BertConfig(num_layers=1, num_tokens=2000, dim=128, num_heads=2, ffn_dim=256)).tokens.weight
    assert float(weights.detach().abs().max()) <= 0.04
    assert float(weights.detach().std()) == pytest.approx(0.02 * 0.88, rel=0.03)  # cut off at two of them


def test_frequencies_of_the_draw():
    model = small(num_tokens=2000)
    kept = masked = other = hidden = tokens = 0
    batch = texts(model.config, num=2000, num_tokens=128)
    for seed in range(3):
        draws = model.draw(batch, Rng(seed), torch.device("cpu"))
        special = (batch.ids == model.config.cls) | (batch.ids == model.config.sep) | (batch.ids == model.config.pad)
        assert not bool((draws.hidden & special).any())
        assert torch.equal(draws.ids[~draws.hidden], batch.ids[~draws.hidden])
        now, before = draws.ids[draws.hidden], batch.ids[draws.hidden]
        hidden, tokens = hidden + len(now), tokens + int(batch.lengths.sum())
        masked += int((now == model.config.mask).sum())
        kept += int((now == before).sum())
        other += int(((now != before) & (now != model.config.mask)).sum())
        wanted = torch.tensor([max(1, round(0.15 * n)) for n in batch.lengths.tolist()])
        assert torch.equal(draws.hidden.sum(1), wanted)
    assert hidden > 1e5 / 2
    assert hidden / tokens == pytest.approx(0.15, abs=0.003)
    for count, expected in ((masked, 0.8), (kept, 0.1), (other, 0.1)):
        assert count / hidden == pytest.approx(expected, abs=0.01)


def test_every_position_is_masked_equally_often():
    model = small()
    batch = texts(model.config, num=4000)
    times = model.draw(batch, Rng(1), torch.device("cpu")).hidden[batch.lengths == 24].float().mean(0)[1:-1]
    times = torch.cat([times[:4], times[5:]])  # without [SEP]
    assert float(times.std()) < 0.03


def test_at_least_one_and_at_most_max_hidden_are_masked():
    few = small(hidden_share=0.01).draw(texts(small().config), Rng(0), torch.device("cpu"))
    assert few.hidden.sum(1).tolist() == [1] * 6
    capped = small(hidden_share=0.9, max_hidden=3).draw(texts(small().config), Rng(0), torch.device("cpu"))
    assert capped.hidden.sum(1).tolist() == [3] * 6


def test_padding_does_not_change_the_output():
    model = small().eval()
    batch = texts(model.config)
    with torch.no_grad():
        together = model.context(batch.ids, batch.parts, batch.lengths)[-1]
        for row, length in enumerate(batch.lengths.tolist()):
            alone = model.context(
                batch.ids[row : row + 1, :length], batch.parts[row : row + 1, :length], torch.tensor([length])
            )
            torch.testing.assert_close(together[row, :length], alone[-1][0], rtol=1e-5, atol=1e-5)


def test_layers_are_normalised():
    model = small().eval()
    for parameter, value in (
        (model.transformer.blocks[1].ffn_norm.weight, 3.0),
        (model.transformer.blocks[1].ffn_norm.bias, 0.5),
    ):
        torch.nn.init.constant_(parameter, value)
    batch = texts(model.config)
    with torch.no_grad():
        last = model.context(batch.ids, batch.parts, batch.lengths)[-1]
    assert torch.allclose(last.mean(-1), torch.tensor(0.5), atol=1e-4)
    assert torch.allclose(last.std(-1, correction=0), torch.tensor(3.0), atol=1e-2)


def test_both_sides_are_seen():
    model = small().eval()
    embedded = model.tokens(texts(model.config, num=1).ids).detach().requires_grad_()
    model.transformer(embedded)[-1][0, 12, 0].backward()
    assert bool((embedded.grad[0].abs().sum(-1) > 0).all())


def gradient(model, parts):
    model.zero_grad()
    (sum(part.total for part in parts) / sum(part.count for part in parts)).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_cutting_a_batch_does_not_change_the_gradient():
    model = small().eval()
    batch = texts(model.config)
    draws = model.draw(batch, Rng(0), torch.device("cpu"))
    whole = gradient(model, [model.objective(batch, draws)])
    parts = [
        model.objective(TokenBatch(*(x[rows] for x in batch)), RandomDraws(*(x[rows] for x in draws)))
        for rows in (slice(0, 1), slice(1, 6))
    ]
    torch.testing.assert_close(gradient(model, parts), whole, rtol=1e-4, atol=1e-6)


def test_losses_train_every_parameter_and_come_from_the_generator():
    model = small(dropout=0.0, attention_dropout=0.0)
    batch = texts(model.config)
    one, again, other = (model.loss(batch, step=0, rng=Rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.total, again.total)
    assert not torch.equal(one.total, other.total)
    one.total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_without_the_second_task_only_masked_tokens_count():
    batch = texts(small().config)
    found = small(next_weight=0.0).loss(batch, step=0, rng=Rng(0))
    assert float(found.total.detach()) == pytest.approx(float(found.terms["mlm"]))


def test_bfloat16_stays_near_float32():
    model = small().eval()
    batch = texts(model.config)
    with torch.no_grad():
        exact = model.loss(batch, step=0, rng=Rng(0))
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.loss(batch, step=0, rng=Rng(0))
    assert float(rough.total) == pytest.approx(float(exact.total), rel=0.02)
    assert float(rough.total) != float(exact.total)


def test_a_text_that_is_too_long_is_refused():
    model = small(num_positions=16)
    with pytest.raises(ValueError, match="at most 16 tokens, got 24"):
        model.loss(texts(model.config), step=0, rng=Rng(0))


def test_pre_training_needs_both_heads():
    model = small()
    model.drop_absent({"pooler"})
    with pytest.raises(ValueError, match="no predictor, next_sentence"):
        model.loss(texts(model.config), step=0, rng=Rng(0))


@pytest.mark.parametrize("changes", [{"replaced_by": (0.8, 0.1, 0.2)}, {"mask": 300, "num_tokens": 200}])
def test_inconsistent_settings_are_refused(changes):
    with pytest.raises(ValueError, match=r"replaced_by|num_tokens"):
        BertConfig(**changes)


def test_published_rates():
    recipe = sizes.bert_base()
    rate = [recipe.optim.lr * factor(recipe.schedule, step, 1_000_000) for step in (5_000, 10_000, 505_000, 1_000_000)]
    assert rate == pytest.approx([5e-5, 1e-4, 5e-5, 0.0])
