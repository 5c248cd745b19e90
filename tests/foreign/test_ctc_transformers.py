"""Tests that the same weights in transformers give the same CTC logits, loss and gradients."""

import pytest
import torch
from tests.foreign.test_wav2vec2_transformers import foreign_config, layout, pair
from torch import nn
from torch.nn import functional

from sori.core.batch import TextBatch
from sori.core.seeds import Rng
from sori.models.ctc import Ctc, CtcConfig

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.foreign

NUM_CLASSES = 32


def recognisers(name, *, narrow=True):
    """Return both models with the same random weights, in eval mode but with gradients."""
    config = layout(name, narrow=narrow)
    encoder, pretrained = pair(config)
    about = foreign_config(config)
    about.vocab_size, about.pad_token_id, about.ctc_loss_reduction = NUM_CLASSES, 0, "sum"
    theirs = transformers.Wav2Vec2ForCTC(about).eval()
    theirs.wav2vec2.load_state_dict(pretrained.wav2vec2.state_dict())
    ours = Ctc(CtcConfig(feature_gradient=1.0), encoder, num_classes=NUM_CLASSES).eval()
    nn.init.normal_(ours.head.bias)
    theirs.lm_head.load_state_dict(ours.head.state_dict())
    return ours, theirs


def utterances(lengths, *, normalize):
    """Return a zero-padded batch with labels, and the input of transformers, normalised before padding."""
    generator = torch.Generator().manual_seed(3)
    waveforms = [0.1 * torch.randn(length, generator=generator) for length in lengths]
    labels = torch.full((len(lengths), 8), -1)
    for row in range(len(lengths)):
        labels[row, : 8 - row] = torch.randint(1, NUM_CLASSES, (8 - row,), generator=generator)
    foreign = [functional.layer_norm(w, w.shape) for w in waveforms] if normalize else waveforms
    pad = nn.utils.rnn.pad_sequence
    batch = TextBatch(pad(waveforms, batch_first=True), torch.tensor(lengths), labels, (labels >= 0).sum(1))
    return batch, pad(foreign, batch_first=True)


@pytest.mark.parametrize(("name", "narrow"), [("base", True), ("large", True), ("lv60k", True), ("base", False)])
def test_logits(name, narrow):
    ours, theirs = recognisers(name, narrow=narrow)
    batch, waveform = utterances([9000, 9000], normalize=name == "lv60k")
    with torch.no_grad():
        logits = ours.logits(batch.waveform, batch.lengths)
        torch.testing.assert_close(logits.data, theirs(waveform).logits, rtol=0, atol=1e-5)
    assert logits.lengths.tolist() == [27, 27]


def test_logits_loss_and_gradients_of_a_padded_batch():
    ours, theirs = recognisers("lv60k")
    batch, waveform = utterances([12_000, 7000, 9333], normalize=True)
    real = (torch.arange(12_000) < batch.lengths[:, None]).long()
    expected = theirs(waveform, attention_mask=real, labels=batch.labels.masked_fill(batch.labels < 0, -100))
    logits = ours.logits(batch.waveform, batch.lengths)
    for row, length in enumerate(logits.lengths.tolist()):
        torch.testing.assert_close(logits.data[row, :length], expected.logits[row, :length], rtol=0, atol=1e-5)
    loss = ours.loss(batch, step=0, rng=Rng(0))
    torch.testing.assert_close(loss.total, expected.loss, rtol=1e-6, atol=0)
    (loss.total / loss.count).backward()
    (expected.loss / 3).backward()
    for mine, other in (
        (ours.head.weight, theirs.lm_head.weight),
        (ours.encoder.projection.weight, theirs.wav2vec2.feature_projection.projection.weight),
        (ours.encoder.front.convs[0].weight, theirs.wav2vec2.feature_extractor.conv_layers[0].conv.weight),
    ):
        assert other.grad.abs().max() > 1e-3
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_group_norm_models_process_each_utterance_without_its_padding():
    """Where padding changes the output of transformers, ours equals its output for each utterance alone."""
    ours, theirs = recognisers("base")
    batch, waveform = utterances([12_000, 7000], normalize=False)
    with torch.no_grad():
        logits = ours.logits(batch.waveform, batch.lengths)
        alone = theirs(waveform[1:, :7000]).logits[0]
        padded = theirs(waveform).logits[1, : len(alone)]
    torch.testing.assert_close(logits.data[1, : len(alone)], alone, rtol=0, atol=1e-5)
    assert (padded - alone).abs().max() > 0.01
