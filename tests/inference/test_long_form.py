"""Long recordings in pieces: nothing twice, nothing lost, silence not heard, memory that does not grow."""

import math

import jiwer
import pytest
import soundfile
import torch

from sori.checkpoints import store
from sori.core.audio import read
from sori.data.manifest import read_manifest
from sori.inference import long_form, transcribe
from sori.inference.long_form import hear
from sori.nn import spectral


@pytest.fixture(scope="module")
def recogniser(recogniser_run):
    return store.load(recogniser_run)


@pytest.fixture(scope="module")
def sayings(prepared_tones):
    """Waveforms of the training voices, one after the other."""
    return [read(u.path) for u in read_manifest(prepared_tones) if u.split == "train"]


def text_of(model, waveform, **options):
    from sori.core.shapes import Frames
    from sori.decoding.greedy import greedy

    paths = [greedy(Frames(p.logits[None], torch.tensor([len(p.logits)])))[0] for p in hear(model, waveform, **options)]
    return " ".join(model.vocabulary.decode(path.ids) for path in paths)


def test_a_short_recording_is_heard_whole(recogniser, sayings):
    (passage,) = hear(recogniser, sayings[0])
    expected = recogniser.logits(sayings[0][None], torch.tensor([len(sayings[0])])).data[0]
    assert passage.start == 0
    torch.testing.assert_close(passage.logits, expected, rtol=0, atol=1e-5)


def test_passages_between_silences_are_what_they_are_alone(recogniser, sayings):
    silence = torch.zeros(32_000)
    waveform = torch.cat([x for one in sayings[:12] for x in (one, silence)])
    passages = list(hear(recogniser, waveform, max_seconds=12.0))
    assert len(passages) >= 5
    hop = recogniser.logit_hop_samples
    starts = [p.start for p in passages]
    assert starts == sorted(starts)
    heard = sum(len(p.logits) for p in passages) * hop / len(waveform)
    assert heard < 0.85, "some of the silence should have been left out"
    for passage in passages[:-1]:
        first, least = round(passage.start * 16_000), (len(passage.logits) - 1) * hop + recogniser.encoder.field_samples
        alone = waveform[first : first + math.ceil(least / 16_000) * 16_000]  # heard to the end of a second
        with torch.no_grad():
            expected = recogniser.logits(alone[None], torch.tensor([len(alone)])).data[0]
        torch.testing.assert_close(passage.logits, expected[: len(passage.logits)], rtol=0, atol=1e-4)


def test_where_there_is_no_silence_every_frame_is_heard_once(recogniser, monkeypatch):
    """With scores that depend on nothing but the samples of their frame, pieces give exactly what the whole gives."""
    hop, field = recogniser.hop_samples, recogniser.encoder.field_samples

    def local(model, waveform):
        windows = waveform.unfold(0, field, hop)
        return torch.stack([windows.mean(1), windows[:, 0], windows[:, -1]], dim=1)

    monkeypatch.setattr(long_form, "_logits", local)
    waveform = 0.1 * torch.randn(16_000 * 47, generator=torch.Generator().manual_seed(0))
    (passage,) = hear(recogniser, waveform, max_seconds=12.0)
    expected = local(recogniser, waveform)
    assert abs(len(passage.logits) - len(expected)) <= 1
    torch.testing.assert_close(passage.logits, expected[: len(passage.logits)], rtol=0, atol=0)


def test_where_there_is_no_silence_words_are_neither_doubled_nor_lost(recogniser, sayings, monkeypatch):
    """Levels are measured once, so that a seam is all that distinguishes the pieces from the whole."""
    noise = torch.Generator().manual_seed(0)
    waveform = torch.cat(sayings[:24])
    waveform = waveform + 0.02 * torch.randn(len(waveform), generator=noise)  # no pause is a silence in this
    log_mel = recogniser.encoder.front.log_mel(waveform[None])
    mean, deviation = log_mel.mean(1), log_mel.std(1)
    monkeypatch.setattr(spectral, "normalize", lambda x, _lengths: (x - mean) / deviation)
    whole = text_of(recogniser, waveform, max_seconds=1e6)
    pieces = text_of(recogniser, waveform, max_seconds=12.0)
    # An overlap that was heard twice, or not at all, would be eight letters at each of the seams.
    assert len(whole.split()) > 40
    assert jiwer.cer(whole, pieces) < 0.03


def test_times_are_those_of_the_recording(recogniser, sayings, tmp_path):
    gap = torch.zeros(48_000)
    waveform = torch.cat([gap, sayings[0], gap, gap, gap, gap, gap, gap, gap, gap, gap, gap, sayings[1], gap])
    soundfile.write(tmp_path / "long.flac", waveform.numpy(), 16_000)
    found = transcribe.transcribe(recogniser, tmp_path / "long.flac")
    second = 3 + len(sayings[0]) / 16_000 + 30
    early = [w for w in found.words if w.start < 3 + len(sayings[0]) / 16_000]
    late = [w for w in found.words if w.start >= second - 0.3]
    assert early
    assert late
    # A recogniser this small writes something into the quarter of a second of silence around speech, too.
    between = [w for w in found.words if 3.6 + len(sayings[0]) / 16_000 < w.start < second - 0.3]
    assert not between
    assert early[0].start > 2.7
    assert found.words[-1].end < len(waveform) / 16_000


def test_nothing_but_silence_gives_nothing(recogniser, tmp_path):
    soundfile.write(tmp_path / "silence.wav", torch.zeros(16_000 * 40).numpy(), 16_000)
    assert transcribe.transcribe(recogniser, tmp_path / "silence.wav").text == ""
