"""Tests of the recogniser over wav2vec 2.0."""

import pytest
import torch

from sori.core.batch import TextBatch
from sori.core.seeds import Rng
from sori.models.ctc import Ctc, CtcConfig
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.conv import ConvConfig
from sori.nn.conv_blocks import ConvBlocksConfig
from sori.nn.mask import MaskConfig
from sori.nn.mel_conv import MelConvConfig
from sori.nn.spectral import LogMelConfig
from sori.recipes.sizes import smoke

FRONTS = {
    "log_mel": {},
    "conv_layer": {"front": ConvConfig(norm="layer", bias=True, dim=32, normalize=True)},
    "conv_group": {"front": ConvConfig(norm="group", dim=32), "pre_norm": False},
    "mel_conv": {
        "front": MelConvConfig(windows=LogMelConfig(num_mels=20), num_channels=4, dim=32),
        "conv_blocks": ConvBlocksConfig(kernel=5),
    },
}


def recogniser(front="log_mel", **config):
    return Ctc(CtcConfig(**config), Wav2Vec2(smoke().model_copy(update=FRONTS[front])), num_classes=7)


def batch_of(lengths, num_labels):
    generator = torch.Generator().manual_seed(1)
    waveform = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveform[row, :length] = 0.1 * torch.randn(length, generator=generator)
    labels = torch.full((len(lengths), max(num_labels)), -1)
    for row, num in enumerate(num_labels):
        labels[row, :num] = torch.randint(1, 7, (num,), generator=generator)
    return TextBatch(waveform, torch.tensor(lengths), labels, torch.tensor(num_labels))


@pytest.mark.parametrize("front", FRONTS)
def test_padding_changes_nothing(front):
    model = recogniser(front, upsample=2).eval()
    batch = batch_of([16_000, 7000, 4123], [9, 4, 2])
    together = model.loss(batch, step=0, rng=Rng(0))
    logits = model.logits(batch.waveform, batch.lengths)
    alone = 0.0
    for row, (length, num) in enumerate(zip(batch.lengths.tolist(), batch.label_lengths.tolist(), strict=True)):
        waveform, lengths = batch.waveform[row : row + 1, :length], batch.lengths[row : row + 1]
        single = model.logits(waveform, lengths)
        assert single.lengths == logits.lengths[row]
        torch.testing.assert_close(logits.data[row, : single.lengths], single.data[0], rtol=0, atol=1e-5)
        part = TextBatch(waveform, lengths, batch.labels[row : row + 1, :num], batch.label_lengths[row : row + 1])
        alone += model.loss(part, step=0, rng=Rng(0)).total.item()
    assert together.total.item() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize(("front", "gradient"), [("conv_layer", 0.0), ("conv_layer", 1.0), ("log_mel", 0.0)])
def test_which_parameters_are_trained_when(front, gradient):
    model = recogniser(
        front, freeze_steps=2, feature_gradient=gradient, mask=MaskConfig(channel_prob=0.5, channel_length=4)
    )
    batch = batch_of([8000, 7000], [3, 4])
    model.loss(batch, step=1, rng=Rng(0, 1)).total.backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {"head.weight", "head.bias"}
    model.loss(batch, step=2, rng=Rng(0, 2)).total.backward()
    learnt = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(n.startswith("encoder.transformer.") for n in learnt)
    assert any(n.startswith("encoder.front.") for n in learnt) == bool(gradient)


def test_loss_is_a_function_of_the_generator():
    model = recogniser(mask=MaskConfig(time_prob=0.5))
    batch = batch_of([8000, 7000], [3, 4])
    one, again, other = (model.loss(batch, step=0, rng=Rng(0, n)).total for n in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_half_precision_stays_near():
    model = recogniser().eval()
    batch = batch_of([16_000, 9000], [9, 4])
    exact = model.loss(batch, step=0, rng=Rng(0)).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.loss(batch, step=0, rng=Rng(0)).total
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=0.01)
