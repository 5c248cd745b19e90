"""The lower blocks of an encoder, computed once, and the upper ones, trained on their output."""

import pytest
import torch

from sori.core.batch import FrameBatch, TextBatch
from sori.core.seeds import Rng
from sori.core.shapes import Frames
from sori.models.cpc import Cpc, CpcConfig
from sori.models.ctc import Ctc, CtcConfig
from sori.models.encoders import build
from sori.nn import frozen_blocks
from sori.nn.conv import ConvConfig
from sori.nn.conv_blocks import ConvBlocksConfig
from sori.nn.mask import MaskConfig
from sori.nn.mel_conv import MelConvConfig
from sori.nn.spectral import LogMelConfig
from sori.recipes.sizes import smoke

FRONTS = {
    "log_mel": {},
    "conv_layer": {"front": ConvConfig(norm="layer", bias=True, dim=32, normalize=True), "position_norm": False},
    "conv_group": {"front": ConvConfig(norm="group", dim=32), "pre_norm": False, "position_norm": False},
    "mel_conv": {
        "front": MelConvConfig(windows=LogMelConfig(num_mels=20), num_channels=4, dim=32),
        "conv_blocks": ConvBlocksConfig(kernel=5),
        "position_norm": False,
    },
}
MASK = MaskConfig(time_prob=0.5, time_length=3, channel_prob=0.3, channel_length=4)
RATES = {"dropout": 0.3, "input_dropout": 0.3, "activation_dropout": 0.3}


def recogniser(front="log_mel", **settings):
    """Return a recogniser with four blocks, two of them frozen, unless the settings say otherwise."""
    torch.manual_seed(0)
    encoder = {name: settings.pop(name) for name in (*RATES, "layerdrop") if name in settings}
    config = smoke().model_copy(update={"num_layers": 4, **FRONTS[front], **encoder})
    return Ctc(
        CtcConfig(**{"frozen_blocks": 2, "mask": MASK, **settings}), build(config, objective=False), num_classes=7
    )


def batch_of(lengths=(16_000, 7000, 4123), num_labels=(9, 4, 2)):
    generator = torch.Generator().manual_seed(1)
    waveform = torch.zeros(len(lengths), max(lengths))
    labels = torch.full((len(lengths), max(num_labels)), -1)
    for row, (length, num) in enumerate(zip(lengths, num_labels, strict=True)):
        waveform[row, :length] = 0.1 * torch.randn(length, generator=generator)
        labels[row, :num] = torch.randint(1, 7, (num,), generator=generator)
    return TextBatch(waveform, torch.tensor(lengths), labels, torch.tensor(num_labels))


def as_frames(model, batch):
    """Return the batch as the cache would: each utterance computed alone, then padded with zeros."""
    each = [
        model.frozen_frames(batch.waveform[row : row + 1, :length], batch.lengths[row : row + 1]).data[0]
        for row, length in enumerate(batch.lengths.tolist())
    ]
    padded = torch.nn.utils.rnn.pad_sequence(each, batch_first=True)
    return FrameBatch(padded, torch.tensor([len(one) for one in each]), *batch[1:])


@pytest.mark.parametrize("front", FRONTS)
@torch.no_grad()  # the blocks with and without gradients can differ in the last bit; on an AMD EPYC they do
def test_the_two_parts_together_are_the_encoder(front):
    model = recogniser(front).eval()
    waveform, lengths = batch_of()[:2]
    layers, num_frames = model.encoder.encode(waveform, lengths)
    real = torch.arange(layers[0].shape[1]) < num_frames[:, None]
    frames = model.frozen_frames(waveform, lengths)
    assert torch.equal(frames.data[real], layers[2].bfloat16()[real])
    whole = Frames(layers[2], num_frames)
    upper = frozen_blocks.upper(model.encoder, whole, num_blocks=2, mask=None, rng=None)
    assert len(upper) == 3
    assert all(torch.equal(one[real], other[real]) for one, other in zip(upper, layers[2:], strict=True))


@pytest.mark.parametrize("front", FRONTS)
def test_kept_frames_give_the_loss_of_the_waveform(front):
    """In training, with dropout and layerdrop in the upper blocks; what is frozen has none."""
    layerdrop = {} if front == "mel_conv" else {"layerdrop": 0.5}
    model = recogniser(front, **RATES, **layerdrop).train()
    batch = batch_of((16_000, 16_000), (9, 4))  # without padding, the cache changes not even the rounding
    frames = FrameBatch(*model.frozen_frames(batch.waveform, batch.lengths), *batch[1:])
    assert frames.seconds == batch.seconds
    losses, gradients = [], []
    for one in (batch, frames):
        torch.manual_seed(5)
        model.zero_grad()
        loss = model.loss(one, step=0, rng=Rng(3)).total
        loss.backward()
        losses.append(loss)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert torch.equal(*losses)
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    torch.manual_seed(6)
    assert not torch.equal(model.loss(frames, step=0, rng=Rng(3)).total, losses[0])  # dropout acts above


@pytest.mark.parametrize("front", FRONTS)
def test_padding_and_the_cut_into_batches_change_nothing(front):
    model = recogniser(front).eval()
    batch = batch_of()
    together = model.loss(as_frames(model, batch), step=0, rng=Rng(0)).total.item()
    alone = 0.0
    for row in range(3):
        length, num = batch.lengths[row], batch.label_lengths[row]
        part = TextBatch(
            batch.waveform[row : row + 1, :length], length[None], batch.labels[row : row + 1, :num], num[None]
        )
        alone += model.loss(part, step=0, rng=Rng(0)).total.item()
    assert together == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("front", FRONTS)
def test_only_the_upper_blocks_and_the_head_are_trained(front):
    model = recogniser(front, feature_gradient=1.0)
    model.loss(batch_of(), step=0, rng=Rng(0)).total.backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in model.named_parameters() if p.grad is not None}
    blocks = {name.split(".")[3] for name in trained if name.startswith("encoder.transformer.blocks.")}
    assert blocks == {"2", "3"}
    rest = {name for name in trained if ".blocks." not in name}
    final = {"encoder.transformer.norm.weight", "encoder.transformer.norm.bias"} if front != "conv_group" else set()
    assert rest == {"head.weight", "head.bias"} | final


def test_masked_frames_are_zero_after_the_frozen_blocks():
    model = recogniser().train()
    frames = model.frozen_frames(*batch_of()[:2])
    first = frozen_blocks.upper(model.encoder, frames, num_blocks=2, mask=MASK, rng=Rng(1))[0]
    masked = (first == 0).all(2)
    assert 0.2 < masked[0].float().mean() < 0.8
    kept = frames.data.float()[~masked]
    hidden_channels = (first[~masked] == 0) & (kept != 0)
    assert 0.05 < hidden_channels.float().mean() < 0.6
    assert torch.equal(first[~masked][~hidden_channels], kept[~hidden_channels])


def test_what_cannot_be_frozen_is_refused():
    with pytest.raises(ValueError, match=r"at most 4 frozen blocks, .* got system.frozen_blocks 5"):
        recogniser(frozen_blocks=5)
    with pytest.raises(ValueError, match=r"expected a wav2vec 2.0 with system.frozen_blocks, got a Cpc"):
        Ctc(CtcConfig(frozen_blocks=1), Cpc(CpcConfig()), num_classes=7)
    with pytest.raises(ValueError, match="frozen_blocks requires read last"):
        CtcConfig(frozen_blocks=1, read="mix")
