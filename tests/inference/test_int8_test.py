"""The test that decides whether a recogniser may compute in 8-bit integers."""

import json
import shutil

import pytest
import torch

from sori.checkpoints import store
from sori.core import precision
from sori.core.processor import processor_name
from sori.core.threads import map_in_threads
from sori.inference import int8_test
from sori.inference import transcribe as transcribe_module
from sori.inference.lower_precision import Int8Result, set_precision
from sori.inference.transcribe import transcribe
from sori.models import factory

with_int8 = pytest.mark.skipif(
    not precision.has_int8(torch.device("cpu")), reason="this processor has no AVX-512 VNNI or AMX"
)
GOOD = Int8Result(words=1000, wer=(0.1, 0.101), cer=(0.05, 0.051), times_faster=1.5, processor=processor_name())


@pytest.fixture
def model(recogniser_run, tmp_path):
    return shutil.copytree(recogniser_run / "model", tmp_path / "model")


@pytest.fixture
def with_instructions(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True, "avx512_bf16": True})


@pytest.mark.parametrize(
    ("wer", "cer", "passed"),
    [
        ((0.1, 0.1009), (0.05, 0.05), True),
        ((0.1, 0.08), (0.05, 0.04), True),
        ((0.1, 0.1011), (0.05, 0.05), False),
        ((0.1, 0.1), (0.05, 0.0511), False),
        ((0.1, float("nan")), (0.05, 0.05), False),
    ],
)
def test_neither_error_rate_may_rise_by_more_than_a_tenth_of_a_point(wer, cer, passed):
    assert GOOD.model_copy(update={"wer": wer, "cer": cer}).passed == passed


@with_int8
def test_the_command_stores_a_result_that_transcribe_uses(model, prepared_tones, tone_corpus, call):
    speech = tone_corpus / "audio" / "anna" / "anna-000.wav"
    code, _, err = call("transcribe", model, speech, "--precision", "int8")
    assert code != 0
    assert "sori evaluate MODEL --data FOLDER --precision int8" in err
    code, out, _ = call("evaluate", model, "--data", prepared_tones, "--split", "all", "--precision", "int8")
    system = store.load(model)
    result = int8_test.find(model, system)
    assert result.words > 0
    assert str(result) in out
    assert (code == 0) == result.passed
    assert ("not passed" in out) != result.passed
    assert set_precision(store.load(model), int8=GOOD) == "int8"
    edited = json.loads((model / "int8.json").read_text())
    edited["result"] = GOOD.model_dump(mode="json")
    (model / "int8.json").write_text(json.dumps(edited))
    code, out, _ = call("transcribe", model, speech, "--precision", "int8")
    assert code == 0
    assert out.strip() == transcribe(store.load(model), speech).text


@with_int8
def test_a_folder_is_transcribed_two_at_a_time_as_one_at_a_time(model, prepared_tones, tone_corpus, call, monkeypatch):
    int8_test.run(model, data=[prepared_tones], split=None)
    stored = json.loads((model / "int8.json").read_text())
    (model / "int8.json").write_text(json.dumps(stored | {"result": GOOD.model_dump(mode="json")}))
    at_a_time = []

    def count(function, items, *, num_threads):
        at_a_time.append(num_threads)
        return map_in_threads(function, items, num_threads=num_threads)

    monkeypatch.setattr(transcribe_module, "map_in_threads", count)
    texts = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        code, out, _ = call("transcribe", model, tone_corpus / "audio", "--precision", "int8")
        assert code == 0
        texts.append(out)
    assert at_a_time == [1, 2]
    assert texts[0] == texts[1]
    assert len(set(texts[0].splitlines())) > 3


@with_int8
def test_error_rates_are_those_of_both_precisions(model, prepared_tones):
    found, result = int8_test.run(model, data=[prepared_tones], split=None)
    exact = store.load(model)
    set_precision(exact, "float32")
    assert [report.wer.rate for report in found.reports] == [result.wer[1], result.wer[0]]
    assert [report.cer.rate for report in found.reports] == [result.cer[1], result.cer[0]]
    assert found.reports[1].wer.rate == int8_test.recognition.evaluate(exact, data=prepared_tones, split=None).wer.rate
    assert result.times_faster > 0


def test_auto_takes_integers_only_if_they_passed_and_were_faster(recogniser_run, with_instructions):
    for update, expected in (
        ({}, "int8"),
        ({"wer": (0.1, 0.2)}, "bfloat16"),
        ({"times_faster": 0.9}, "bfloat16"),
    ):
        assert set_precision(store.load(recogniser_run), int8=GOOD.model_copy(update=update)) == expected
    assert set_precision(store.load(recogniser_run)) == "bfloat16"
    assert set_precision(store.load(recogniser_run), "float32", int8=GOOD) == "float32"


def test_auto_does_not_trust_the_speed_of_another_processor(recogniser_run, with_instructions, caplog):
    other = GOOD.model_copy(update={"processor": "Abacus 3000"})
    with caplog.at_level("INFO", logger="sori"):
        assert [set_precision(store.load(recogniser_run), int8=other) for _ in range(2)] == ["bfloat16"] * 2
    (said,) = [record.getMessage() for record in caplog.records if "Abacus 3000" in record.getMessage()]
    assert "repeat the test here" in said
    assert processor_name() in said
    caplog.clear()
    slow = other.model_copy(update={"wer": (0.1, 0.2), "processor": "Abacus 1"})
    assert set_precision(store.load(recogniser_run), int8=slow) == "bfloat16"
    assert not caplog.records  # it would not be used here either
    assert set_precision(store.load(recogniser_run), "int8", int8=other) == "int8"


def test_a_model_that_did_not_pass_is_refused(recogniser_run, with_instructions):
    with pytest.raises(ValueError, match=r"at most 0\.1% higher, got WER 10\.00% in float32, 20\.00% in int8"):
        set_precision(store.load(recogniser_run), "int8", int8=GOOD.model_copy(update={"wer": (0.1, 0.2)}))
    model = store.load(recogniser_run)
    set_precision(model, "int8", int8=GOOD)
    with pytest.raises(ValueError, match="already rounded to int8"):
        set_precision(model, "bfloat16")
    assert set_precision(model) == "int8"


def test_a_processor_without_integers_ignores_the_result_unless_they_are_wanted(recogniser_run, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert set_precision(store.load(recogniser_run), int8=GOOD) == "float32"
    with pytest.raises(ValueError, match="AVX-512 VNNI or AMX"):
        set_precision(store.load(recogniser_run), "int8", int8=GOOD)


def test_a_result_of_another_recogniser_is_refused(model):
    stored = int8_test.StoredResult(recogniser="0" * 32, data=("tones",), split=None, result=GOOD)
    (model / "int8.json").write_text(stored.model_dump_json())
    with pytest.raises(ValueError, match="belongs to another recogniser"):
        int8_test.find(model, store.load(model))


@with_int8
def test_a_result_belongs_to_all_weights(model, prepared_tones):
    """Training further with a frozen output layer, or rounding by another program, changes the others only."""
    int8_test.run(model, data=[prepared_tones], split=None)
    system = store.load(model)
    assert int8_test.find(model, system).words > 0
    with torch.no_grad():
        factory.encoder_of(system).transformer.blocks[0].expand.bias[0] += 1
    stored = (model / "int8.json").read_text()
    store.save(system, model)
    (model / "int8.json").write_text(stored)
    with pytest.raises(ValueError, match="belongs to another recogniser"):
        int8_test.find(model, system)


def test_a_result_of_the_first_version_has_to_be_repeated(model):
    system = store.load(model)
    digest = int8_test.recogniser_digest(system)
    stored = int8_test.StoredResult(recogniser=digest, data=("tones",), split=None, result=GOOD)
    (model / "int8.json").write_text(stored.model_dump_json(exclude={"weights": True, "result": {"processor"}}))
    with pytest.raises(ValueError, match="of an earlier version of sori"):
        int8_test.find(model, system)


def test_a_model_without_a_result_has_none(model):
    assert int8_test.find(model, store.load(model)) is None


def test_a_comparison_with_another_model_is_refused(model, prepared_tones, call):
    code, _, err = call("evaluate", model, "--data", prepared_tones, "--precision", "int8", "--against", model)
    assert code != 0
    assert "leave out --against" in err
