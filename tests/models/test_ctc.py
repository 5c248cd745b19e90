import math
from types import SimpleNamespace

import pytest
import torch
from tests.reference.ctc import enumerated_loss, forward_loss
from torch import nn
from torch.nn import functional as F  # noqa: N812

from sori.core.batch import TextBatch
from sori.core.seeds import Rng
from sori.core.shapes import Frames
from sori.models.ctc import Ctc, CtcConfig, chance, ctc_loss, num_required_frames
from sori.nn.mask import MaskConfig
from sori.text.vocabulary import Vocabulary


class Windows(nn.Module):
    """An encoder without context: windows of 320 samples, two linear layers; applies the given mask."""

    hop_samples = 320

    def __init__(self, dim=24):
        super().__init__()
        self.config = SimpleNamespace(dim=dim, num_layers=1)
        self.below = nn.Linear(320, dim)
        self.above = nn.Linear(dim, dim)
        self.masks = []

    def encode(self, waveform, lengths, *, mask=None, rng=None, feature_gradient=0.0):  # noqa: ARG002
        self.masks.append(mask)
        cut = waveform[:, : waveform.shape[1] // 320 * 320]
        first = self.below(cut.unflatten(1, (-1, 320))).tanh()
        return [first, self.above(first).tanh()], lengths // 320

    def extract_features(self, waveform, lengths, *, layer=None):
        layers, num_frames = self.encode(waveform, lengths)
        return Frames(layers[-1 if layer is None else layer], num_frames)


def batch_of(lengths, labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveform[row, :length] = torch.randn(length, generator=generator)
    padded = torch.full((len(labels), max(map(len, labels))), -1)
    for row, ids in enumerate(labels):
        padded[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    return TextBatch(waveform, torch.tensor(lengths), padded, torch.tensor([len(ids) for ids in labels]))


def random_logits(num_frames, num_classes, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_frames, num_classes, generator=generator, dtype=torch.float64) * 2


@pytest.mark.parametrize(
    ("num_frames", "labels"),
    [(1, []), (1, [1]), (3, [1, 1]), (4, [1, 2, 1]), (5, [2, 2]), (6, [1, 2, 2]), (6, []), (7, [2, 1, 1, 2])],
)
def test_loss_equals_the_sum_over_all_alignments(num_frames, labels):
    logits = random_logits(num_frames, 3, seed=num_frames)
    log_probs = logits.log_softmax(-1).tolist()
    expected = enumerated_loss(log_probs, labels)
    assert forward_loss(log_probs, labels) == pytest.approx(expected, abs=1e-10)
    ours = ctc_loss(
        Frames(logits.float()[None], torch.tensor([num_frames])),
        torch.tensor([labels], dtype=torch.long).view(1, -1),
        torch.tensor([len(labels)]),
    )
    assert ours.item() == pytest.approx(expected, abs=1e-5)


def test_batched_loss_equals_the_float64_recursion():
    lengths, num_classes = [50, 31, 12], 9
    generator = torch.Generator().manual_seed(1)
    labels = [torch.randint(1, num_classes, (n,), generator=generator).tolist() for n in (20, 9, 3)]
    data = torch.full((3, 50, num_classes), 1e4)  # padding holds nonsense
    for row, length in enumerate(lengths):
        data[row, :length] = random_logits(length, num_classes, seed=row).float()
    batch = batch_of([1, 1, 1], labels)
    ours = ctc_loss(Frames(data, torch.tensor(lengths)), batch.labels, batch.label_lengths)
    for row, length in enumerate(lengths):
        expected = forward_loss(data[row, :length].double().log_softmax(-1).tolist(), labels[row])
        assert ours[row].item() == pytest.approx(expected, rel=1e-5)


def test_loss_and_gradient_equal_torch_in_float64():
    logits = random_logits(20, 5, seed=3)
    labels = torch.tensor([[1, 1, 4, 2, 2]])
    single = logits.float()[None].requires_grad_()
    ctc_loss(Frames(single, torch.tensor([20])), labels, torch.tensor([5])).sum().backward()
    double = logits[None].clone().requires_grad_()
    F.ctc_loss(
        double.log_softmax(-1).transpose(0, 1), labels, torch.tensor([20]), torch.tensor([5]), reduction="sum"
    ).backward()
    torch.testing.assert_close(single.grad, double.grad.float(), rtol=1e-4, atol=1e-6)
    step = torch.zeros_like(logits)
    step[7, 2] = 1e-4  # the same derivative by finite differences of the plain recursion
    up, down = (forward_loss((logits + s * step).log_softmax(-1).tolist(), [1, 1, 4, 2, 2]) for s in (1, -1))
    assert single.grad[0, 7, 2].item() == pytest.approx((up - down) / 2e-4, abs=1e-4)


def test_half_precision_logits_are_scored_in_float32():
    logits = random_logits(300, 40, seed=5).bfloat16()[None]
    labels = torch.arange(1, 31)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = ctc_loss(Frames(logits, torch.tensor([300])), labels, torch.tensor([30]))
    assert ours.dtype == torch.float32
    expected = forward_loss(logits[0].double().log_softmax(-1).tolist(), labels[0].tolist())
    assert ours.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [1, 2, 2, 2, 1], list(range(1, 9))])
def test_chance_is_the_loss_of_equal_logits(labels):
    frames = Frames(torch.zeros(1, 12, 9), torch.tensor([12]))
    ids, num = torch.tensor([labels], dtype=torch.long).view(1, -1), torch.tensor([len(labels)])
    expected = ctc_loss(frames, ids, num).item()
    assert chance(frames, ids, num).item() == pytest.approx(expected, rel=1e-5)


def test_chance_of_what_cannot_be_aligned_is_zero():
    frames = Frames(torch.zeros(1, 3, 4), torch.tensor([3]))
    assert chance(frames, torch.tensor([[1, 1, 2]]), torch.tensor([3])).item() == 0


def test_required_frames_count_adjacent_repeats_only():
    batch = batch_of([1] * 4, [[1, 2, 1, 2], [1, 1, 1], [], [3, 3]])
    assert num_required_frames(batch.labels, batch.label_lengths).tolist() == [4, 5, 0, 3]


def test_infinite_losses_are_counted_and_have_no_gradient():
    model = Ctc(CtcConfig(), Windows(), num_classes=4)
    short = batch_of([960], [[1, 1, 2]])  # three frames, four needed
    loss = model.loss(short, step=0, rng=Rng(0))
    assert loss.total.item() == 0
    assert loss.terms["infinite"].item() == 1
    assert loss.count.item() == 1
    loss.total.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    assert model.loss(batch_of([1280], [[1, 1, 2]]), step=0, rng=Rng(0)).terms["infinite"].item() == 0


def test_batch_equals_one_by_one():
    model = Ctc(CtcConfig(upsample=2), Windows(), num_classes=6).eval()
    lengths, labels = [4000, 2500, 9000], [[1, 2, 2], [5], [3, 3, 4, 1, 2, 5, 5]]
    together = batch_of(lengths, labels)
    whole = model.loss(together, step=0, rng=Rng(0))
    logits = model.logits(together.waveform, together.lengths)
    assert logits.lengths.tolist() == [24, 14, 56]
    parts = []
    for row, length in enumerate(lengths):
        alone = TextBatch(
            together.waveform[row : row + 1, :length],
            together.lengths[row : row + 1],
            together.labels[row : row + 1, : len(labels[row])],
            together.label_lengths[row : row + 1],
        )
        parts.append(model.loss(alone, step=0, rng=Rng(0)))
        single = model.logits(alone.waveform, alone.lengths).data[0]
        torch.testing.assert_close(logits.data[row, : len(single)], single, rtol=0, atol=1e-5)
    assert whole.total.item() == pytest.approx(sum(p.total.item() for p in parts), rel=1e-5)
    for name, value in whole.terms.items():
        assert value.item() == pytest.approx(sum(p.terms[name].item() for p in parts), rel=1e-5), name


def test_terms_against_plain_numbers():
    model = Ctc(CtcConfig(), Windows(), num_classes=4).eval()
    with torch.no_grad():
        model.head.weight.zero_()
    batch = batch_of([3200, 1600], [[1, 2, 2], []])
    loss = model.loss(batch, step=0, rng=Rng(0))
    assert loss.total.item() == pytest.approx(loss.terms["chance"].item(), rel=1e-5)
    assert loss.terms["blank_share"].item() == 2  # ties go to class 0
    with torch.no_grad():
        model.head.bias[1] = 1
    assert model.loss(batch, step=0, rng=Rng(0)).terms["blank_share"].item() == 0
    one = model.loss(batch_of([3200], [[1, 2, 2]]), step=0, rng=Rng(0))
    assert one.terms["per_label"].item() == pytest.approx(one.total.item() / 3)


def test_encoder_is_trained_only_after_the_frozen_phase():
    model = Ctc(CtcConfig(freeze_steps=3), Windows(), num_classes=6)
    batch = batch_of([6400], [[1, 2, 3]])
    model.loss(batch, step=2, rng=Rng(0)).total.backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad.any() for p in model.head.parameters())
    model.loss(batch, step=3, rng=Rng(0)).total.backward()
    assert all(p.grad.any() for p in model.encoder.parameters())


def test_masks_in_training_only():
    mask = MaskConfig(time_prob=0.5)
    encoder = Windows()
    model = Ctc(CtcConfig(mask=mask), encoder, num_classes=6)
    batch = batch_of([6400], [[1]])
    model.loss(batch, step=0, rng=Rng(0))
    model.eval()
    model.loss(batch, step=0, rng=Rng(0))
    model.logits(batch.waveform, batch.lengths)
    assert encoder.masks == [mask, None, None]


def test_head_starts_at_xavier_and_zero():
    model = Ctc(CtcConfig(), Windows(dim=600), num_classes=200)
    limit = math.sqrt(6 / (600 + 200))
    assert not model.head.bias.any()
    assert 0.98 * limit < model.head.weight.abs().max().item() <= limit


@pytest.mark.parametrize("upsample", [1, 2])
def test_the_blank_can_start_with_a_given_probability(upsample):
    model = Ctc(CtcConfig(first_blank=0.5, upsample=upsample), Windows(dim=4), num_classes=6)
    with torch.no_grad():
        model.head.weight.zero_()
    probabilities = model.logits(torch.zeros(1, 640), torch.tensor([640])).data.softmax(-1)
    torch.testing.assert_close(probabilities[..., 0], torch.full_like(probabilities[..., 0], 0.5))
    torch.testing.assert_close(probabilities[..., 1:], torch.full_like(probabilities[..., 1:], 0.1))
    assert "blank 6 times less likely" in model.recover(rng=Rng(0))  # leaving the plateau needs the opposite
    assert model.head.bias.view(upsample, 6)[:, 0].tolist() == pytest.approx([-math.log(6)] * upsample)


def test_upsampled_logits_keep_the_order_of_time():
    encoder = Windows(dim=4)
    model = Ctc(CtcConfig(upsample=2), encoder, num_classes=3)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([1.0, 2, 3, 4, 5, 6]))
    logits = model.logits(torch.zeros(1, 640), torch.tensor([640]))
    assert logits.data[0].tolist() == [[1, 2, 3], [4, 5, 6]] * 2
    assert model.hop_samples == 320
    assert model.logit_hop_samples == 160


def test_frames_are_the_encoder_s():
    encoder = Windows()
    model = Ctc(CtcConfig(), encoder, num_classes=3)
    batch = batch_of([6400, 3200], [[1], [1]])
    for layer in (None, 0):
        torch.testing.assert_close(
            model.extract_features(batch.waveform, batch.lengths, layer=layer),
            encoder.extract_features(batch.waveform, batch.lengths, layer=layer),
        )


def train(model, batch, num_steps):
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(num_steps):
        optimiser.zero_grad()
        loss = model.loss(batch, step=step, rng=Rng(0, step))
        (loss.total / loss.count).backward()
        optimiser.step()
    return loss


def test_learns_and_recovers_from_the_plateau():
    batch = batch_of([3200] * 6, [[1, 2], [3], [2, 4, 1], [4, 4], [1, 3], [5, 2]])
    torch.manual_seed(0)
    stuck = Ctc(CtcConfig(), Windows(), num_classes=6)
    with torch.no_grad():  # a saturated blank: no vector can outvote it
        stuck.head.weight.mul_(0.01)
        stuck.head.bias[0] = 15
    before = stuck.loss(batch, step=0, rng=Rng(0))
    assert before.terms["blank_share"].item() / 6 == 1
    weights = {name: value.clone() for name, value in stuck.state_dict().items()}
    assert train(stuck, batch, 60).terms["blank_share"].item() / 6 > 0.95

    stuck.load_state_dict(weights)
    assert "blank 6 times less likely" in stuck.recover(rng=Rng(0))
    assert all(torch.equal(stuck.state_dict()[name], weights[name]) for name in weights if "encoder" in name)
    after = stuck.loss(batch, step=0, rng=Rng(0))
    assert after.terms["blank_share"].item() / 6 < 0.5
    learnt = train(stuck, batch, 60)
    assert learnt.total.item() < 0.2 * before.terms["chance"].item()


def test_recovery_is_a_function_of_the_generator():
    one, two = (Ctc(CtcConfig(), Windows(), num_classes=6) for _ in range(2))
    one.recover(rng=Rng(1, 7))
    two.recover(rng=Rng(1, 7))
    assert torch.equal(one.head.weight, two.head.weight)
    two.recover(rng=Rng(1, 8))
    assert not torch.equal(one.head.weight, two.head.weight)


def test_learning_rates_differ_by_part():
    model = Ctc(CtcConfig(encoder_lr_factor=0.1), Windows(), num_classes=6)
    assert model.lr_factors() == {"encoder": 0.1}
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"encoder", "head"}


def standardise(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


def test_mix_is_a_weighted_mean_of_normalised_layers():
    encoder = Windows()
    model = Ctc(CtcConfig(read="mix"), encoder, num_classes=6)
    batch = batch_of([6400, 3200], [[1, 2], [3]])
    with torch.no_grad():
        model.layer_weights.copy_(torch.tensor([0.0, math.log(3)]))
        layers = [layer.double() for layer in encoder.encode(batch.waveform, batch.lengths)[0]]
        low, high = map(standardise, layers)
        mean = standardise(0.25 * low + 0.75 * high)
        expected = mean @ model.head.weight.double().T
        logits = model.logits(batch.waveform, batch.lengths).data
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
    model.loss(batch, step=0, rng=Rng(0)).total.backward()
    assert model.layer_weights.grad.abs().min() > 0


def recogniser(*symbols, upsample=1):
    model = Ctc(CtcConfig(upsample=upsample), Windows(), num_classes=len(symbols))
    model.vocabulary = Vocabulary(symbols=symbols)
    return model


def test_classes_are_adopted_by_symbol_in_any_case_and_equal_ones_first():
    public = recogniser("<pad>", "|", "c", "E", "A", "a", upsample=2)
    ours = recogniser("<blank>", "|", "a", "b", "e", "C", upsample=2)
    before = ours.head.weight.clone()
    with torch.no_grad():
        public.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        public.head.bias.normal_(generator=torch.Generator().manual_seed(1))
    assert ours.adopt_classes(public) == ["<blank>", "|", "a", "e", "C"]
    for part in range(2):  # of each vector, two distributions
        for new, old in ((0, 0), (1, 1), (2, 5), (4, 3), (5, 2)):
            assert torch.equal(ours.head.weight[6 * part + new], public.head.weight[6 * part + old])
            assert ours.head.bias[6 * part + new] == public.head.bias[6 * part + old]
        assert torch.equal(ours.head.weight[6 * part + 3], before[6 * part + 3])


def test_no_class_is_adopted_from_another_number_of_distributions():
    ours = recogniser("<blank>", "a", upsample=2)
    before = ours.head.weight.clone()
    assert ours.adopt_classes(recogniser("<blank>", "a")) == []
    assert torch.equal(ours.head.weight, before)


def test_configuration_round_trip():
    config = CtcConfig(freeze_steps=7, mask=MaskConfig(time_prob=0.3))
    assert CtcConfig.model_validate(config.model_dump()) == config
