"""Vectors and text from files and waveforms."""

import functools
from pathlib import Path

import pytest
import soundfile
import soxr
import torch

from sori.checkpoints import store
from sori.core.audio import read
from sori.inference import align, embed, transcribe


@pytest.fixture(scope="module")
def recogniser(recogniser_run):
    return store.load(recogniser_run)


@pytest.fixture(scope="module")
def encoder(encoder_run):
    return store.load(encoder_run)


@pytest.fixture(scope="module")
def speech(tone_corpus) -> Path:
    return tone_corpus / "audio" / "anna" / "anna-000.wav"


def test_a_transcript_has_the_words_and_their_times(recogniser, speech):
    found = transcribe.transcribe(recogniser, speech)
    reference = speech.with_suffix(".txt").read_text().strip()
    assert len(set(found.text.split()) & set(reference.split())) >= 2
    assert found.text.split() == [word.text for word in found.words]
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= len(read(speech)) / 16_000
    # The first tone begins after 0.1 s, and a frame spans 35 ms.
    assert 0.05 < times[0] < 0.3


def test_file_and_waveform_give_the_same(recogniser, speech):
    assert transcribe.transcribe(recogniser, str(speech)) == transcribe.transcribe(
        recogniser, read(speech), sample_rate=16_000
    )


def test_vectors_and_their_times(encoder, speech):
    found = embed.embed(encoder, speech)
    num_samples = len(read(speech))
    assert found.frames.shape == ((num_samples - encoder.field_samples) // encoder.hop_samples + 1, 32)
    assert found.times.shape == found.frames.shape[:1]
    steps = found.times.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 0.02))
    assert float(found.times[0]) == pytest.approx(0.01)
    last, seconds = float(found.times[-1]), num_samples / 16_000
    assert seconds - 0.05 < last < seconds


def test_layers(encoder, speech):
    first, last = embed.embed(encoder, speech, layer=0).frames, embed.embed(encoder, speech, layer=2).frames
    assert not torch.equal(first, last)
    assert torch.equal(last, embed.embed(encoder, speech).frames)
    with pytest.raises(ValueError, match="no layer 3"):
        embed.embed(encoder, speech, layer=3)


def test_the_times_follow_a_click(encoder):
    # The vector that a click changes most has the time of the click.
    waveform = torch.randn(32_000, generator=torch.Generator().manual_seed(0)) * 1e-3
    clicked = waveform.clone()
    clicked[16_000:16_100] += 0.5
    before = embed.embed(encoder, waveform, layer=0, sample_rate=16_000)
    after = embed.embed(encoder, clicked, layer=0, sample_rate=16_000)
    change = (after.frames - before.frames).norm(dim=1)
    assert float(after.times[change.argmax()]) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("sample_rate", [None, 0, -16_000, 10**9])
def test_a_waveform_must_state_its_rate(encoder, recogniser, sample_rate):
    functions = (
        functools.partial(embed.embed, encoder),
        functools.partial(transcribe.transcribe, recogniser),
        functools.partial(align.align, recogniser, text="a"),
    )
    for function in functions:
        with pytest.raises(ValueError, match=rf"such as sample_rate=16000 .* got sample_rate={sample_rate}"):
            function(source=torch.zeros(16_000), sample_rate=sample_rate)


def test_a_waveform_of_another_rate_is_resampled(encoder, recogniser, speech):
    waveform = read(speech)
    other = torch.from_numpy(soxr.resample(waveform.numpy(), 16_000, 44_100, quality="HQ"))
    expected = embed.embed(encoder, waveform, sample_rate=16_000)
    found = embed.embed(encoder, other, sample_rate=44_100)
    assert torch.equal(found.times, expected.times)
    assert float((found.frames - expected.frames).norm() / expected.frames.norm()) < 0.1
    text = transcribe.transcribe(recogniser, waveform, sample_rate=16_000).text
    words = [
        align.align(recogniser, one, text, sample_rate=rate).words
        for one, rate in ((waveform, 16_000), (other, 44_100))
    ]
    assert [word.text for word in words[0]] == [word.text for word in words[1]]
    for one, another in zip(*words, strict=True):
        assert one.start == pytest.approx(another.start, abs=0.05)


def test_too_short_a_recording_is_named(encoder, tmp_path):
    soundfile.write(tmp_path / "click.wav", torch.zeros(100).numpy(), 16_000)
    with pytest.raises(ValueError, match=r"click.wav has 100 samples, but one frame needs 560 \(35 ms\)"):
        embed.embed(encoder, tmp_path / "click.wav")
    assert embed.embed(encoder, torch.randn(560), sample_rate=16_000).frames.shape == (1, 32)


def test_damaged_samples_are_refused(encoder):
    waveform = torch.zeros(16_000)
    waveform[8_000] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        embed.embed(encoder, waveform, sample_rate=16_000)


def test_an_encoder_without_vocabulary_cannot_transcribe(encoder, speech):
    with pytest.raises(ValueError, match="expected a recogniser"):
        transcribe.transcribe(encoder, speech)


def test_a_bad_file_does_not_stop_the_others(recogniser, speech, tmp_path):
    (tmp_path / "not_sound.wav").write_text("hello")
    paths = [speech, tmp_path / "not_sound.wav", tmp_path / "absent.wav", speech]
    results = list(transcribe.transcribe_files(recogniser, paths))
    assert [path for path, _ in results] == paths
    kinds = [type(result) for _, result in results]
    assert kinds == [
        transcribe.Transcript,
        transcribe.FailedRecording,
        transcribe.FailedRecording,
        transcribe.Transcript,
    ]
    assert "not_sound.wav" in results[1][1].reason


def test_a_recogniser_gives_its_encoders_vectors(recogniser, speech):
    waveform = read(speech)
    expected = recogniser.encoder.extract_features(waveform[None], torch.tensor([len(waveform)])).data[0]
    torch.testing.assert_close(embed.embed(recogniser, speech).frames, expected)


def test_files_processed_side_by_side_have_the_same_transcripts(recogniser, tone_corpus, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    files = [*sorted((tone_corpus / "audio").rglob("*.wav"))[:6], broken]
    alone = list(transcribe.transcribe_files(recogniser, files, num_threads=1))
    assert list(transcribe.transcribe_files(recogniser, files, num_threads=3)) == alone
    assert [path for path, _ in alone] == files
    assert [isinstance(found, transcribe.FailedRecording) for _, found in alone] == [False] * 6 + [True]
