import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sori.nn.losses import (
    contrastive,
    diversity,
    info_nce,
    nt_xent,
    perplexity,
    step_ahead,
)


def by_loops(context, targets, negatives, units, *, temperature, equal):
    """Equation 3 of the paper, one candidate after the other, in float64."""
    context, targets = context.double(), targets.double()
    total, correct, fraction = 0.0, 0, 0.0
    for b in range(context.shape[0]):
        for t in range(context.shape[1]):

            def logit(j, b=b, t=t):
                c, q = context[b, t], targets[b, j]
                return float(c @ q / (c.norm() * q.norm())) / temperature

            right, others, num_equal = logit(t), [], 0
            for j in negatives[b, t].tolist():
                if units[b, j].tolist() != units[b, t].tolist():
                    others.append(logit(j))
                else:
                    num_equal += 1
                    others.append(-math.inf if equal == "drop" else right)
            total -= math.log(math.exp(right) / (math.exp(right) + sum(map(math.exp, others))))
            correct += right >= max(others) and not right <= min(others)
            fraction += num_equal / len(others)
    return total, correct, fraction


def example(num_codes, seed=0):
    torch.manual_seed(seed)
    units = torch.randint(num_codes, (2, 9, 2))
    book = torch.randn(2, num_codes, 4)
    targets = torch.cat([book[g][units[..., g]] for g in range(2)], dim=-1)
    negatives = torch.randint(8, (2, 9, 6))
    negatives = negatives + (negatives >= torch.arange(9)[:, None])
    return torch.randn(2, 9, 8), targets, negatives, units


@pytest.mark.parametrize("equal", ["drop", "keep"])
@pytest.mark.parametrize("num_codes", [2, 3, 50])
def test_contrast_by_loops(equal, num_codes):
    data = example(num_codes)
    ours = contrastive(*data, temperature=0.1, equal=equal)
    total, correct, fraction = by_loops(*data, temperature=0.1, equal=equal)
    assert ours.loss.item() == pytest.approx(total, rel=1e-5)
    assert ours.num_correct.item() == correct
    assert ours.equal_fraction.item() == pytest.approx(fraction, rel=1e-6)
    assert (fraction > 0) == (num_codes < 50)


def collapsed(num_negatives=100):
    torch.manual_seed(0)
    context, target = torch.randn(2, 30, 16), torch.randn(16).expand(2, 30, 16)
    negatives = torch.randint(29, (2, 30, num_negatives))
    negatives = negatives + (negatives >= torch.arange(30)[:, None])
    return context, target, negatives


def test_all_equal_logits_score_chance_and_count_as_wrong():
    context, target, negatives = collapsed()
    different = torch.arange(60).view(2, 30, 1)
    out = contrastive(context, target, negatives, different, temperature=0.1, equal="drop")
    assert out.loss.item() / 60 == pytest.approx(math.log(101), abs=1e-5)
    # Equal vectors under different units: rounding of the cosine may tell them apart, so equality is made exact here.
    zero = contrastive(torch.zeros_like(context), target, negatives, different, temperature=0.1, equal="drop")
    assert zero.loss.item() / 60 == pytest.approx(math.log(101), abs=1e-6)
    assert zero.num_correct == 0


def test_a_collapsed_codebook_scores_zero_when_equals_are_dropped():
    context, target, negatives = collapsed()
    same = torch.zeros(2, 30, 2, dtype=torch.long)
    out = contrastive(context, target, negatives, same, temperature=0.1, equal="drop")
    assert out.loss.item() == 0
    assert out.equal_fraction == 60
    assert out.num_correct == 60


def test_a_collapsed_codebook_scores_chance_when_equals_are_kept():
    context, target, negatives = collapsed()
    context.requires_grad_()
    same = torch.zeros(2, 30, 2, dtype=torch.long)
    out = contrastive(context, target, negatives, same, temperature=0.1, equal="keep")
    assert out.loss.item() / 60 == pytest.approx(math.log(101), abs=1e-6)
    assert out.num_correct == 0
    out.loss.backward()
    assert context.grad.abs().max() < 1e-5  # nothing to gain, but for rounding


def test_equal_units_tie_despite_rounding_of_their_vectors():
    context, target, negatives = collapsed()
    rounded = target + 1e-3 * torch.randn(2, 30, 16)
    out = contrastive(
        context, rounded, negatives, torch.zeros(2, 30, 2, dtype=torch.long), temperature=0.1, equal="keep"
    )
    assert out.loss.item() / 60 == pytest.approx(math.log(101), abs=1e-6)
    assert out.num_correct == 0


def test_gradient_flows_to_predictions_and_targets():
    context, targets, negatives, units = example(3)
    context, targets = context.double().requires_grad_(), targets.double().requires_grad_()
    # float32 inside: a coarse step is enough to see a wrong sign or factor.
    out = contrastive(context, targets, negatives, units, temperature=0.5, equal="drop")
    out.loss.backward()
    for tensor in (context, targets):
        direction = torch.randn_like(tensor)
        with torch.no_grad():
            losses = []
            for sign in (1, -1):
                moved = [t + sign * 0.01 * direction if t is tensor else t for t in (context, targets)]
                losses.append(contrastive(*moved, negatives, units, temperature=0.5, equal="drop").loss.item())
        assert (losses[0] - losses[1]) / 0.02 == pytest.approx((tensor.grad * direction).sum().item(), rel=0.01)


def test_diversity_at_its_ends():
    uniform = torch.full((2, 320), 1 / 320)
    one_hot = torch.nn.functional.one_hot(torch.tensor([3, 7]), 320).float()
    assert perplexity(uniform).item() == pytest.approx(640, rel=1e-4)
    assert perplexity(one_hot).item() == pytest.approx(2, rel=1e-5)
    assert diversity(uniform).item() == pytest.approx(0, abs=1e-4)
    assert diversity(one_hot).item() == pytest.approx(0.996875, abs=1e-6)


def test_perplexity_by_loops():
    torch.manual_seed(0)
    probs = torch.randn(2, 11).softmax(-1)
    expected = sum(math.exp(-sum(p * math.log(p + 1e-7) for p in row)) for row in probs.tolist())
    assert perplexity(probs).item() == pytest.approx(expected, rel=1e-6)


def info_nce_by_loops(predictions, targets, positives, negatives):
    """Equation 4 of CPC, one candidate after the other; logits are means over the dimensions."""
    total, correct = 0.0, torch.zeros(predictions.shape[1], dtype=torch.float64)
    for g, steps in enumerate(predictions):
        for k, positions in enumerate(steps):
            for t, prediction in enumerate(positions):
                drawn = [int(positives[k, t]), *negatives[g, t].tolist()]
                scores = [float((prediction * targets[g, j]).mean()) for j in drawn]
                total -= scores[0] - math.log(sum(map(math.exp, scores)))
                if scores[0] == max(scores):
                    correct[k] += 1 / sum(score == scores[0] for score in scores)
    return total, correct


def steps_ahead(dtype=torch.float64):
    torch.manual_seed(0)
    positives = torch.arange(5) + torch.arange(1, 4)[:, None]
    predictions, targets = torch.randn(2, 3, 5, 6, dtype=dtype), torch.randn(2, 8, 6, dtype=dtype)
    return 3 * predictions, targets, positives, torch.randint(8, (2, 5, 7))


def test_info_nce_by_loops():
    data = steps_ahead()
    total, correct = info_nce_by_loops(*data)
    ours = info_nce(*data)
    assert ours.loss.item() == pytest.approx(total, abs=1e-10)
    torch.testing.assert_close(ours.num_correct.double(), correct)
    assert 0 < correct.sum() < 30
    single = info_nce(*(x.float() if x.is_floating_point() else x for x in data))
    assert single.loss.dtype == torch.float32
    assert single.loss.item() == pytest.approx(total, rel=1e-5)


def test_info_nce_has_the_right_gradient():
    predictions, targets, *draws = steps_ahead()
    inputs = (predictions.requires_grad_(), targets.requires_grad_())
    assert torch.autograd.gradcheck(lambda *x: info_nce(*x, *draws).loss, inputs)


def test_info_nce_is_float32_under_autocast():
    data = [x.float() if x.is_floating_point() else x for x in steps_ahead()]
    exact = info_nce(*data)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(*data).loss, exact.loss)
        half = info_nce(data[0].bfloat16(), *data[1:])
    assert half.loss.dtype == torch.float32


def test_cpc_equal_logits_score_chance_and_find_one_in_129():
    targets, positives = torch.randn(2, 50, 4), torch.arange(40) + torch.arange(1, 4)[:, None]
    out = info_nce(torch.zeros(2, 3, 40, 4), targets, positives, torch.randint(50, (2, 40, 128)))
    assert out.loss.item() / 240 == pytest.approx(math.log(129), abs=1e-5)
    assert math.log(129) == pytest.approx(4.8598, abs=1e-4)
    torch.testing.assert_close(out.num_correct / 80, torch.full((3,), 1 / 129))


def test_a_target_among_its_own_distractors_is_a_tie():
    targets = torch.eye(6)[None]
    positives = torch.tensor([[2]])
    negatives = torch.tensor([[[0, 2, 4, 2]]])
    out = info_nce(100 * targets[:, None, 2:3], targets, positives, negatives)
    assert out.num_correct.tolist() == [pytest.approx(1 / 3)]
    assert out.loss.item() == pytest.approx(math.log(3), abs=1e-5)


def ahead_by_loops(predictions, targets, lengths, negatives, *, offset):
    """Equation 1 of wav2vec, one pair after the other, in float64."""
    total, num_steps = 0.0, predictions.shape[2]
    pairs, correct = [0] * num_steps, [0] * num_steps
    for b, length in enumerate(lengths.tolist()):
        for t in range(length):
            for k in range(num_steps):
                place = t + offset + k
                if place >= length:
                    continue
                right = float(predictions[b, t, k] @ targets[b, place])
                others = [float(predictions[b, t, k] @ targets[b, j]) for j in negatives[b, place].tolist()]
                total -= math.log(1 / (1 + math.exp(-right)))
                total -= sum(math.log(1 / (1 + math.exp(other))) for other in others)
                pairs[k] += 1
                correct[k] += right > max(others)
    return total, pairs, correct


def ahead_example(lengths=(9, 6), num_steps=4, num_negatives=3):
    generator = torch.Generator().manual_seed(0)
    shape = (len(lengths), max(lengths))
    predictions = torch.randn(*shape, num_steps, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(*shape, 5, generator=generator, dtype=torch.float64)
    negatives = torch.stack(
        [torch.randint(length, (shape[1], num_negatives), generator=generator) for length in lengths]
    )
    return predictions, targets, torch.tensor(lengths), negatives


@pytest.mark.parametrize(("lengths", "offset"), [((9, 9), 3), ((9, 6), 1), ((9, 4), 3), ((5, 4), 3), ((9, 2), 8)])
def test_steps_ahead_by_loops(lengths, offset):
    example = ahead_example(lengths)
    found = step_ahead(*example, offset=offset)
    total, pairs, correct = ahead_by_loops(*example, offset=offset)
    assert found.loss.item() == pytest.approx(total, rel=1e-12, abs=1e-10)
    assert found.pairs.tolist() == pairs
    assert found.correct.tolist() == correct
    predictions, targets, *rest = example
    low = step_ahead(predictions.float(), targets.float(), *rest, offset=offset)
    assert low.loss.dtype == torch.float32
    assert low.loss.item() == pytest.approx(total, rel=1e-5)


def test_gradients_of_steps_ahead():
    predictions, targets, lengths, negatives = ahead_example((7, 5))
    inputs = (predictions.requires_grad_(), targets.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, z: step_ahead(p, z, lengths, negatives, offset=2).loss, inputs)


def test_wav2vec_zero_scores_cost_eleven_bits():
    _, targets, lengths, _ = ahead_example((9, 6))
    negatives = torch.zeros(2, 9, 10, dtype=torch.long)
    found = step_ahead(torch.zeros(2, 9, 4, 5), targets.float(), lengths, negatives, offset=3)
    assert found.loss.item() / int(found.pairs.sum()) == pytest.approx(11 * math.log(2), rel=1e-6)
    assert int(found.correct.sum()) == 0


def test_scores_are_float32_under_autocast():
    predictions, targets, lengths, negatives = ahead_example()
    example = (100 * predictions.float(), targets.float(), lengths, negatives)
    with torch.autocast("cpu", torch.bfloat16):
        low = step_ahead(*example, offset=2).loss
    assert torch.equal(low, step_ahead(*example, offset=2).loss)


def test_a_clip_without_a_frame_to_predict_is_refused():
    with pytest.raises(ValueError, match="is 9 frames ahead, but the longest clip has only 9 frames"):
        step_ahead(*ahead_example(), offset=9)


def nt_xent_by_loops(views, temperature):
    """Equation 1 of the paper, one candidate after the other: the mean over all ordered positive pairs."""
    z = [view.tolist() for pair in views for view in pair]  # interleaved, as in the paper

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    def pair_loss(i, j):
        terms = [math.exp(cosine(z[i], z[k]) / temperature) for k in range(len(z)) if k != i]
        return -math.log(math.exp(cosine(z[i], z[j]) / temperature) / sum(terms))

    pairs = [(2 * k, 2 * k + 1) for k in range(len(z) // 2)]
    return sum(pair_loss(i, j) + pair_loss(j, i) for i, j in pairs) / len(z)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_views_by_loops(temperature):
    views = torch.randn(7, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views[:, 1] += views[:, 0]
    found = nt_xent(views, views, temperature=temperature)
    expected = nt_xent_by_loops(views, temperature)
    assert found.loss.item() / 14 == pytest.approx(expected, rel=1e-10)
    rough = nt_xent(views.float(), views.float(), temperature=temperature)
    assert rough.loss.item() / 14 == pytest.approx(expected, rel=1e-5)
    assert 0 < float(found.num_correct) < 14


def test_views_are_found_when_they_are_nearest():
    views = torch.eye(6)[:, None].repeat(1, 2, 1)
    assert float(nt_xent(views, views, temperature=0.5).num_correct) == 12
    views[0, 1] = views[1, 1] = torch.eye(6)[2]  # the second views of 0 and 1 equal both of 2
    # The first views of 0 and 1 are equally far from everything; both views of 2 have three neighbours.
    assert float(nt_xent(views, views, temperature=0.5).num_correct) == pytest.approx(2 / 11 + 2 / 3 + 6)


def test_views_are_compared_in_float32_under_autocast():
    views = torch.randn(9, 2, 5, generator=torch.Generator().manual_seed(0))
    exact = nt_xent(views, views, temperature=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nt_xent(views, views, temperature=0.1).loss, exact.loss)


@given(st.integers(2, 6), st.floats(0.05, 2.0), st.integers(0, 1000))
def test_views_have_bounds(num, temperature, seed):
    """Cosines are between -1 and 1, so a probability is at least e^(-2 / tau) times chance."""
    views = torch.randn(num, 2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean = nt_xent(views, 100 * views, temperature=temperature).loss.item() / (2 * num)
    others = 2 * num - 2
    assert math.log1p(others * math.exp(-2 / temperature)) - 1e-9 <= mean
    assert mean <= math.log1p(others * math.exp(2 / temperature)) + 1e-9


def test_views_in_parts_are_the_whole_when_all_are_candidates():
    """Two processes each score their own views against those of both."""
    views = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = nt_xent(views, views, temperature=0.1).loss
    parts = [nt_xent(views[:2], views, temperature=0.1), nt_xent(views[2:], views, temperature=0.1, offset=2)]
    torch.testing.assert_close(sum(part.loss for part in parts), whole, rtol=1e-12, atol=0)
