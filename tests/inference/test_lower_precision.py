"""Recognisers in bfloat16, on processors with and without it."""

import pytest
import torch

from sori.checkpoints import store
from sori.core import precision as core_precision
from sori.core.audio import read
from sori.inference import embed, transcribe
from sori.inference.lower_precision import set_precision
from sori.models.ctc import Ctc


@pytest.fixture
def recogniser(recogniser_run) -> Ctc:
    return store.load(recogniser_run)


@pytest.fixture
def with_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


@pytest.fixture(scope="module")
def speech(tone_corpus):
    return tone_corpus / "audio" / "anna" / "anna-000.wav"


def logits(model, speech):
    waveform = read(speech)
    with torch.no_grad():
        return model.logits(waveform[None], torch.tensor([len(waveform)])).data


def test_bfloat16_changes_the_rounding_and_not_the_text(recogniser, recogniser_run, speech, with_bfloat16):
    assert set_precision(recogniser) == "bfloat16"
    exact = store.load(recogniser_run)
    rounded, expected = logits(recogniser, speech), logits(exact, speech)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, expected)
    assert (rounded - expected).norm() < 0.05 * expected.norm()
    assert transcribe.transcribe(recogniser, speech).text == transcribe.transcribe(exact, speech).text
    assert embed.embed(recogniser, speech).frames.dtype == torch.float32


def test_weights_are_rounded_once_and_the_output_layer_is_not(recogniser, with_bfloat16):
    set_precision(recogniser)
    rounded = {name for name, x in recogniser.named_parameters() if x.dtype == torch.bfloat16}
    linear = {
        f"encoder.{name}.weight" for name, m in recogniser.encoder.named_modules() if isinstance(m, torch.nn.Linear)
    }
    assert linear
    assert linear <= rounded
    assert not any(name.startswith("head") for name in rounded)
    assert set_precision(recogniser) == "bfloat16"


def test_classes_are_not_made_equal_by_rounding(recogniser, speech, with_bfloat16):
    set_precision(recogniser)
    found = logits(recogniser, speech)
    assert (found.bfloat16().float() != found).any()


def test_a_processor_without_it_keeps_float32(recogniser, recogniser_run, speech, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert set_precision(recogniser) == "float32"
    assert torch.equal(logits(recogniser, speech), logits(store.load(recogniser_run), speech))
    with pytest.raises(ValueError, match="would emulate it"):
        set_precision(recogniser, "bfloat16")


def test_a_rounded_model_is_not_saved_as_if_it_were_the_original(recogniser, tmp_path, with_bfloat16):
    set_precision(recogniser)
    with pytest.raises(ValueError, match="load it again"):
        store.save(recogniser, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ValueError, match="load it again"):
        set_precision(recogniser, "float32")


def test_models_that_do_not_transcribe_are_left_alone(encoder_run, with_bfloat16):
    encoder = store.load(encoder_run)
    assert set_precision(encoder) == "float32"
    assert all(x.dtype == torch.float32 for x in encoder.parameters())


def test_float32_stays_where_it_is_wanted(recogniser, with_bfloat16):
    assert core_precision.has_bfloat16(torch.device("cpu"))
    assert set_precision(recogniser, "float32") == "float32"
    assert all(x.dtype == torch.float32 for x in recogniser.parameters())
