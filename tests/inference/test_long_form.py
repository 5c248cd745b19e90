"""Long-form inference: nothing twice, nothing lost, silence not processed, constant memory."""

import itertools
import math

import jiwer
import pytest
import soundfile
import torch

from sori.checkpoints import store
from sori.core.audio import read
from sori.data.manifest import read_manifest
from sori.inference import long_form, transcribe
from sori.inference.long_form import chunk_logits
from sori.nn import spectral


@pytest.fixture(scope="module")
def recogniser(recogniser_run):
    return store.load(recogniser_run)


@pytest.fixture(scope="module")
def waveforms(prepared_tones):
    """Waveforms of the training recordings."""
    return [read(u.path) for u in read_manifest(prepared_tones) if u.split == "train"]


def text_of(model, waveform, **options):
    from sori.core.shapes import Frames
    from sori.decoding.greedy import greedy

    paths = [
        greedy(Frames(p.logits[None], torch.tensor([len(p.logits)])))[0]
        for p in chunk_logits(model, waveform, **options)
    ]
    return " ".join(model.vocabulary.decode(path.ids) for path in paths)


def test_a_short_recording_is_processed_as_a_whole(recogniser, waveforms):
    (chunk,) = chunk_logits(recogniser, waveforms[0])
    expected = recogniser.logits(waveforms[0][None], torch.tensor([len(waveforms[0])])).data[0]
    assert chunk.start == 0
    torch.testing.assert_close(chunk.logits, expected, rtol=0, atol=1e-5)


def test_chunks_between_silences_equal_the_same_audio_alone(recogniser, waveforms):
    silence = torch.zeros(32_000)
    waveform = torch.cat([x for one in waveforms[:12] for x in (one, silence)])
    chunks = list(chunk_logits(recogniser, waveform, max_seconds=12.0))
    assert len(chunks) >= 5
    hop = recogniser.logit_hop_samples
    starts = [p.start for p in chunks]
    assert starts == sorted(starts)
    processed = sum(len(p.logits) for p in chunks) * hop / len(waveform)
    assert processed < 0.85, "some of the silence should have been left out"
    for chunk in chunks[:-1]:
        first, least = round(chunk.start * 16_000), (len(chunk.logits) - 1) * hop + recogniser.encoder.field_samples
        alone = waveform[first : first + math.ceil(least / 16_000) * 16_000]  # rounded up to a second
        with torch.no_grad():
            expected = recogniser.logits(alone[None], torch.tensor([len(alone)])).data[0]
        torch.testing.assert_close(chunk.logits, expected[: len(chunk.logits)], rtol=0, atol=1e-4)


def test_without_silence_every_frame_is_processed_once(recogniser, monkeypatch):
    """With logits that depend only on the samples of their frame, windows equal the whole exactly."""
    hop, field = recogniser.hop_samples, recogniser.encoder.field_samples

    def local(model, waveform):
        windows = waveform.unfold(0, field, hop)
        return torch.stack([windows.mean(1), windows[:, 0], windows[:, -1]], dim=1)

    monkeypatch.setattr(long_form, "_logits", local)
    waveform = 0.1 * torch.randn(16_000 * 47, generator=torch.Generator().manual_seed(0))
    (chunk,) = chunk_logits(recogniser, waveform, max_seconds=12.0)
    expected = local(recogniser, waveform)
    assert abs(len(chunk.logits) - len(expected)) <= 1
    torch.testing.assert_close(chunk.logits, expected[: len(chunk.logits)], rtol=0, atol=0)


def test_without_silence_words_are_neither_doubled_nor_lost(recogniser, waveforms, monkeypatch):
    """The normalisation is computed once, so that windows differ from the whole only at the seams."""
    noise = torch.Generator().manual_seed(0)
    waveform = torch.cat(waveforms[:24])
    waveform = waveform + 0.02 * torch.randn(len(waveform), generator=noise)  # no pause is a silence in this
    log_mel = recogniser.encoder.front.log_mel(waveform[None])
    mean, deviation = log_mel.mean(1), log_mel.std(1)
    monkeypatch.setattr(spectral, "normalize", lambda x, _lengths: (x - mean) / deviation)
    whole = text_of(recogniser, waveform, max_seconds=1e6)
    windows = text_of(recogniser, waveform, max_seconds=12.0)
    # An overlap transcribed twice, or not at all, would be eight characters at each seam.
    assert len(whole.split()) > 40
    assert jiwer.cer(whole, windows) < 0.03


def test_times_are_those_of_the_recording(recogniser, waveforms, tmp_path):
    gap = torch.zeros(48_000)
    waveform = torch.cat([gap, waveforms[0], gap, gap, gap, gap, gap, gap, gap, gap, gap, gap, waveforms[1], gap])
    soundfile.write(tmp_path / "long.flac", waveform.numpy(), 16_000)
    found = transcribe.transcribe(recogniser, tmp_path / "long.flac")
    second = 3 + len(waveforms[0]) / 16_000 + 30
    early = [w for w in found.words if w.start < 3 + len(waveforms[0]) / 16_000]
    late = [w for w in found.words if w.start >= second - 0.3]
    assert early
    assert late
    # A recogniser this small also outputs something in the quarter of a second of silence around speech.
    between = [w for w in found.words if 3.6 + len(waveforms[0]) / 16_000 < w.start < second - 0.3]
    assert not between
    assert early[0].start > 2.7
    assert found.words[-1].end < len(waveform) / 16_000


def test_silence_gives_no_text(recogniser, tmp_path):
    soundfile.write(tmp_path / "silence.wav", torch.zeros(16_000 * 40).numpy(), 16_000)
    assert transcribe.transcribe(recogniser, tmp_path / "silence.wav").text == ""


def test_speech_without_a_silence_is_divided_between_words_on_request(recogniser, waveforms):
    waveform = torch.cat(waveforms[:30])
    (whole,) = chunk_logits(recogniser, waveform, max_seconds=12.0)
    chunks = list(chunk_logits(recogniser, waveform, max_seconds=12.0, split_seconds=12.0))
    hop = recogniser.logit_hop_samples
    assert len(chunks) > len(waveform) / 16_000 / 24
    assert max(len(chunk.logits) for chunk in chunks) * hop / 16_000 < 24
    for chunk, following in itertools.pairwise(chunks):
        assert following.start == pytest.approx(chunk.start + len(chunk.logits) * hop / 16_000)
    torch.testing.assert_close(torch.cat([chunk.logits for chunk in chunks]), whole.logits, rtol=0, atol=0)
    expected = text_of(recogniser, waveform, max_seconds=12.0)
    assert text_of(recogniser, waveform, max_seconds=12.0, split_seconds=12.0).split() == expected.split()
