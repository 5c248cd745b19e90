import math

import pytest
import torch
from torch.nn import functional

from sori.nn.quantize import GumbelQuantizer, gumbel_noise, k_means


@pytest.fixture
def quantizer() -> GumbelQuantizer:
    torch.manual_seed(0)
    return GumbelQuantizer(6, num_groups=2, num_codes=5, code_dim=8)


def test_likeliest_entry_by_loops(quantizer):
    x = torch.randn(2, 3, 6)
    out = quantizer(x)
    weight, bias = quantizer.logits.weight.double(), quantizer.logits.bias.double()
    for b in range(2):
        for t in range(3):
            logits = [
                sum(w * v for w, v in zip(row, x[b, t].double(), strict=True)) + o
                for row, o in zip(weight, bias, strict=True)
            ]
            best = [max(range(5), key=lambda v, g=g: logits[5 * g + v]) for g in range(2)]
            assert out.units[b, t].tolist() == best
            expected = torch.cat([quantizer.codebook[g, v] for g, v in enumerate(best)])
            assert torch.equal(out.vectors[b, t], expected)


def test_without_noise_only_the_chosen_entries_learn(quantizer):
    x = torch.randn(1, 3, 6, requires_grad=True)
    out = quantizer(x)
    out.vectors.sum().backward()
    assert x.grad is quantizer.logits.weight.grad is quantizer.logits.bias.grad is None
    times_chosen = torch.stack([torch.bincount(out.units[0, :, group], minlength=5) for group in range(2)])
    assert (times_chosen == 0).any()
    assert torch.equal(quantizer.codebook.grad, times_chosen[:, :, None].float().expand(2, 5, 4))


def test_average_use(quantizer):
    x = torch.randn(4, 7, 6)
    out = quantizer(x)
    soft = quantizer.logits(x).view(28, 2, 5).softmax(-1).mean(0)
    torch.testing.assert_close(out.probs, soft)
    for group in range(2):
        counts = torch.bincount(out.units[..., group].flatten(), minlength=5) / 28
        torch.testing.assert_close(out.hard_probs[group], counts)


def test_straight_through_gradient_is_that_of_torch(quantizer, monkeypatch):
    x = torch.randn(2, 3, 6)
    noise = gumbel_noise(2, 3, num_logits=10, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(2, 3, 8)
    out = quantizer(x, temperature=1.3, noise=noise)
    (out.vectors * weight).sum().backward()
    ours = [quantizer.logits.weight.grad.clone(), quantizer.codebook.grad.clone()]
    quantizer.zero_grad()

    # torch draws -log of an exponential: give it exp(-noise), so that it adds the same noise.
    def exponential_(tensor):
        return tensor.copy_((-noise).exp().view(tensor.shape))

    monkeypatch.setattr(torch.Tensor, "exponential_", exponential_)
    choice = functional.gumbel_softmax(quantizer.logits(x).view(2, 3, 2, 5), tau=1.3, hard=True)
    vectors = (choice.unsqueeze(-1) * quantizer.codebook).sum(-2).flatten(2)
    (vectors * weight).sum().backward()
    torch.testing.assert_close(out.vectors, vectors)
    torch.testing.assert_close(ours[0], quantizer.logits.weight.grad)
    torch.testing.assert_close(ours[1], quantizer.codebook.grad)


def test_chosen_entries_are_exact_in_training(quantizer):
    noise = gumbel_noise(1, 50, num_logits=10, generator=torch.Generator().manual_seed(1))
    out = quantizer(torch.randn(1, 50, 6), temperature=0.7, noise=noise)
    chosen = torch.stack([quantizer.codebook[g][out.units[..., g]] for g in range(2)], dim=2).flatten(2)
    torch.testing.assert_close(out.vectors, chosen, rtol=0, atol=1e-6)


def test_noise_is_gumbel():
    noise = gumbel_noise(10, 100, num_logits=200, generator=torch.Generator().manual_seed(0))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert noise.std().item() == pytest.approx(math.pi / math.sqrt(6), abs=0.01)
    assert noise.isfinite().all()


def test_choices_follow_softmax_of_the_logits(quantizer):
    x = torch.randn(1, 1, 6) * 0.2
    probs = quantizer(x).probs
    noise = gumbel_noise(1, 20_000, num_logits=10, generator=torch.Generator().manual_seed(0))
    drawn = quantizer(x.expand(1, 20_000, 6), temperature=2.0, noise=noise).hard_probs
    torch.testing.assert_close(drawn, probs, rtol=0, atol=0.015)


def test_float32_under_autocast(quantizer):
    x = torch.randn(2, 9, 6)
    with torch.autocast("cpu", torch.bfloat16):
        low = quantizer(x)
    torch.testing.assert_close(low.vectors, quantizer(x).vectors, rtol=0, atol=0)


def test_groups_must_divide():
    with pytest.raises(ValueError, match="cannot be divided"):
        GumbelQuantizer(6, num_groups=3, num_codes=5, code_dim=8)


def test_clusters_by_loops():
    torch.manual_seed(0)
    frames = torch.randn(200, 3)
    centres = k_means(frames, 7, generator=torch.Generator().manual_seed(0), num_rounds=100)
    members = [[] for _ in range(7)]
    for frame in frames:
        distances = [float(((frame - centre) ** 2).sum()) for centre in centres]
        members[distances.index(min(distances))].append(frame)
    for centre, own in zip(
        centres, members, strict=True
    ):  # at the end every centre is the mean of what is nearest to it
        torch.testing.assert_close(centre, torch.stack(own).mean(0), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="8 clusters need at least as many frames, got 7"):
        k_means(frames[:7], 8, generator=torch.Generator())


def test_initialised_entries_are_nearest_clusters_and_in_use():
    torch.manual_seed(0)
    frames = torch.randn(3000, 6) * torch.tensor([5.0, 1, 1, 1, 1, 0.2])
    quantizer = GumbelQuantizer(6, num_groups=2, num_codes=20, code_dim=8)
    before = quantizer(frames[None])
    emphasis = torch.tensor([[1.0, 1, 1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 1, 1, 1]])
    quantizer.start(frames, emphasis, sharpness=3.0, generator=torch.Generator().manual_seed(0))
    after = quantizer(frames[None])
    for group in range(2):
        factors = emphasis[group] / frames.std(0)
        centres = quantizer.logits.weight[20 * group : 20 * group + 20] / factors / 3.0
        distances = torch.cdist(frames * factors, centres).square()
        logits = quantizer.logits(frames)[:, 20 * group : 20 * group + 20]
        torch.testing.assert_close(logits.softmax(1), (-1.5 * distances).softmax(1), rtol=1e-3, atol=1e-4)
        nearest = torch.cdist(frames * factors, centres).argmin(1)
        assert (after.units[0, :, group] == nearest).float().mean() > 0.995
    use = -(after.hard_probs * (after.hard_probs + 1e-9).log()).sum(1)
    assert (use > math.log(17)).all()
    assert (use > -(before.hard_probs * (before.hard_probs + 1e-9).log()).sum(1)).all()
    torch.testing.assert_close(quantizer.codebook.std((1, 2)), torch.ones(2), rtol=1e-3, atol=0)
