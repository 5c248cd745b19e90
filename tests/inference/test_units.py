"""The units of a corpus on disk."""

import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.audio import read
from sori.data.manifest import read_manifest
from sori.inference.transcribe import FailedRecording
from sori.inference.units import UtteranceUnits, as_text, read_units, write_units
from sori.models import factory
from sori.text.vocabulary import Vocabulary


def model(name="vq_wav2vec_smoke"):
    torch.manual_seed(0)
    return factory.build(recipes.by_name(name).system).eval()


@pytest.mark.parametrize("name", ["vq_wav2vec_smoke", "wav2vec2_smoke", "code_bert_smoke"])
def test_every_utterance_alone(name, prepared_tones, tmp_path):
    utterances, system = read_manifest(prepared_tones)[:3], model(name)
    found = list(write_units(system, utterances, tmp_path / "new" / "units.tsv"))
    stored = dict(read_units(tmp_path / "new" / "units.tsv"))
    assert list(stored) == [u.id for u in utterances]
    for utterance, one in zip(utterances, found, strict=True):
        waveform = read(utterance.path)
        units = system.units(waveform[None], torch.tensor([len(waveform)])).data[0]
        assert torch.equal(stored[utterance.id], units)
        assert one == UtteranceUnits(utterance.id, len(units))


def test_a_bad_file_does_not_stop_the_others(prepared_tones, tmp_path):
    utterances = read_manifest(prepared_tones)[:4]
    utterances[1] = utterances[1]._replace(path=str(tmp_path / "gone.wav"))
    utterances[2] = utterances[2]._replace(num_samples=100)
    found = list(write_units(model(), utterances, tmp_path / "units.tsv"))
    assert [isinstance(one, FailedRecording) for one in found] == [False, True, True, False]
    assert found[1].reason.startswith(f"{utterances[1].id}: no such file")
    assert "shorter than one frame" in found[2].reason
    assert [name for name, _ in read_units(tmp_path / "units.tsv")] == [utterances[0].id, utterances[3].id]


def test_the_file_is_streamed_and_renamed_when_complete(prepared_tones, tmp_path):
    utterances, target = read_manifest(prepared_tones)[:2], tmp_path / "units.tsv"
    found = write_units(model(), utterances, target)
    next(found)
    assert not target.exists()
    list(found)
    assert target.exists()
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(ValueError, match="exists; replace it"):
        list(write_units(model(), utterances, target))
    assert len(list(write_units(model(), utterances[:1], target, overwrite=True))) == 1
    assert target.read_text().count("\n") == 1


@pytest.mark.parametrize("name", ["tab\there", "two\nlines", "two\rlines", "two\u2028lines"])
def test_ids_that_end_a_field_or_a_line_are_refused_before_anything_is_written(prepared_tones, tmp_path, name):
    utterances = read_manifest(prepared_tones)[:2]
    utterances[1] = utterances[1]._replace(id=name)
    with pytest.raises(ValueError, match="expected ids without tabs and line ends"):
        list(write_units(model(), utterances, tmp_path / "units.tsv"))
    assert not list(tmp_path.iterdir())


def test_a_model_without_quantiser_is_refused(tmp_path):
    encoder = recipes.by_name("wav2vec2_smoke").system
    recogniser = factory.build(recipes.by_name("ctc_smoke").system, encoder=encoder, vocabulary=Vocabulary.fit(["ab"]))
    for system in (model("wav2vec_smoke"), recogniser):
        with pytest.raises(ValueError, match="expected a model with a quantiser"):
            list(write_units(system, [], tmp_path / "x"))


def test_a_malformed_file_is_refused(tmp_path):
    assert as_text(torch.tensor([[17, 203], [17, 9]])) == "17-203 17-9"
    for line in ("no tab", "a\tb c", "a\t1-2 3"):
        (tmp_path / "x").write_text(f"good\t1-2 3-4\n{line}\n")
        with pytest.raises(ValueError, match="line 2: expected"):
            list(read_units(tmp_path / "x"))


def test_units_on_the_command_line(call, prepared_tones, tmp_path):
    store.save(model(), tmp_path / "m")
    code, out, _ = call("units", tmp_path / "m", "--data", prepared_tones, "--into", tmp_path / "u", "--split", "dev")
    assert code == 0
    lines = (tmp_path / "u").read_text().splitlines()
    assert len(lines) == 8
    assert out == f"{tmp_path / 'u'}\t{sum(len(line.split()) - 1 for line in lines)} units\n"
    code, _, err = call("units", tmp_path / "m", "--data", prepared_tones, "--into", tmp_path / "u")
    assert code == 2
    assert "exists" in err
    store.save(model("wav2vec_smoke"), tmp_path / "plain")
    code, _, err = call("units", tmp_path / "plain", "--data", prepared_tones, "--into", tmp_path / "v")
    assert code == 2
    assert "(wav2vec), which has none" in err
