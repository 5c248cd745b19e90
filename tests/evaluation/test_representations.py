"""Encoder layers, MFCC and log-mel, frame by frame."""

import numpy as np
import pytest
import torch

from sori.checkpoints import store
from sori.core.audio import read
from sori.data.manifest import read_manifest
from sori.evaluation.representations import (
    WINDOW_TIMING,
    Timing,
    compute_representations,
    layers_of,
    mfcc_and_log_mel,
    units_of,
)
from sori.models import factory
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMel, LogMelConfig


@pytest.fixture(scope="module")
def utterances(prepared_tones):
    return read_manifest(prepared_tones)[:3]


@pytest.fixture(scope="module")
def encoder(encoder_run):
    return factory.encoder_of(store.load(encoder_run))


@pytest.mark.parametrize("stack", [1, 4])
def test_features_equal_those_of_the_front_ends(utterances, stack):
    waveform = read(utterances[0].path)
    timing = Timing(160 * stack, 400 + 160 * (stack - 1))
    cepstra, _, bands, _ = mfcc_and_log_mel(timing)(waveform)
    windows = LogMelConfig(stack=stack)
    fronts = (Cepstrum(CepstrumConfig(windows=windows, num_cepstra=13, delta_windows=2)), LogMel(windows))
    for found, front, dim in zip((cepstra, bands), fronts, (39, 80), strict=True):
        expected = front(waveform[None], torch.tensor([len(waveform)])).data[0]
        assert found.shape == (len(expected), dim * stack)
        # The front end leaves out windows that do not fill a frame before it normalises.
        assert torch.allclose(found, expected, atol=0.1)
        corners = np.corrcoef(found.flatten(), expected.flatten())[0, 1]
        assert corners > 0.9999


def test_the_windows_of_a_frame_are_centred_on_it(utterances):
    """Frames of a convolutional front end, 25 ms long, every 20 ms: the two windows around their centre."""
    waveform = torch.zeros(16_000)
    waveform[8_000] = 1.0
    _, _, _, plain = mfcc_and_log_mel(Timing(320, 400))(waveform)
    assert plain.shape == (49, 160)
    loud = (plain[:, :80].mean(1) > plain[0, :80].mean()) | (plain[:, 80:].mean(1) > plain[0, 80:].mean())
    middles = Timing(320, 400).middles(49)
    assert abs(float(middles[loud.numpy()].mean()) - 0.5) < 0.006
    assert WINDOW_TIMING.middles(2).tolist() == [0.0125, 0.0225]


def test_unnormalised_features_keep_the_level_of_the_recording(utterances):
    waveform = read(utterances[0].path)
    quiet, loud = (mfcc_and_log_mel(WINDOW_TIMING)(waveform * factor) for factor in (0.5, 1.0))
    assert float(loud[3].max() - quiet[3].max()) == pytest.approx(2 * np.log(2), abs=0.01)
    assert float(loud[2].mean(0).abs().max()) < 1e-4
    assert float(loud[0].mean(0).abs().max()) < 1e-4
    assert float(loud[1].mean(0).abs().max()) > 0.1


def test_layers_equal_those_of_the_encoder_utterance_by_utterance(encoder, utterances):
    found = compute_representations(layers_of(encoder, [2, 0]), utterances)
    assert len(found.vectors) == 2
    for vectors, layer in zip(found.vectors, (2, 0), strict=True):
        assert len(vectors) == found.counts.sum()
        first = 0
        for utterance, count in zip(utterances, found.counts, strict=True):
            waveform = read(utterance.path)
            with torch.no_grad():
                expected = encoder.extract_features(waveform[None], torch.tensor([len(waveform)]), layer=layer).data[0]
            assert torch.equal(vectors[first : first + count], expected)
            first += count
    with pytest.raises(ValueError, match="there is no layer 9"):
        layers_of(encoder, [9])


def test_features_have_the_frames_of_the_encoder(encoder, utterances):
    timing = Timing(encoder.hop_samples, encoder.field_samples)
    assert (
        compute_representations(mfcc_and_log_mel(timing), utterances).counts
        == compute_representations(layers_of(encoder, [0]), utterances).counts
    ).all()


def test_units_are_those_of_the_quantiser(encoder, utterances):
    found = compute_representations(units_of(encoder), utterances)
    config = encoder.config
    assert found.vectors[0].shape == (found.counts.sum(), config.num_groups)
    waveform = read(utterances[0].path)
    with torch.no_grad():
        lengths = torch.tensor([len(waveform)])
        seen = encoder.feature_norm(encoder.features(waveform[None], lengths).data)
        if encoder.targets is not None:
            seen = encoder.targets(waveform[None], lengths).data
        expected = encoder.quantizer.logits(seen).unflatten(-1, (config.num_groups, -1)).argmax(-1)[0]
    assert torch.equal(found.vectors[0][: found.counts[0]].long(), expected)
    bare = factory.build(config, objective=False)
    with pytest.raises(ValueError, match="no quantiser"):
        bare.units(waveform[None], lengths)
