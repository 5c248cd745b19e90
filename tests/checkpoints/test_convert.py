"""`sori convert`: every tensor listed, the target written atomically, with a certificate."""

import json
import os
import re
import stat
from types import SimpleNamespace

import pytest
import torch

from sori import cli
from sori.checkpoints import convert, store
from sori.checkpoints.formats import fairseq, huggingface
from sori.checkpoints.formats.certificate import Certificate
from sori.cli import models
from sori.evaluation import recognition
from sori.evaluation.recognition import onnx_score
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

NARROW = {"dim": 32, "num_layers": 2, "num_heads": 2, "ffn_dim": 64, "code_dim": 16, "final_dim": 16, "num_codes": 8}


def encoder(name="base"):
    config = getattr(sizes, name)()
    front = config.front.model_copy(update={"dim": 16})
    return config.model_copy(update={**NARROW, "position_groups": 4, "front": front})


@pytest.fixture(params=["pretrained", "recogniser"])
def kind(request):
    return request.param


def make(kind, folder, size="base"):
    torch.manual_seed(0)
    if kind == "pretrained":
        system = factory.build(encoder(size))
    else:
        system = factory.build(CtcConfig(), encoder=encoder(size), vocabulary=Vocabulary.fit(["hello world"]))
    store.save(system, folder, provenance={"who": "test"})
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A model\n")
    return folder


@pytest.mark.parametrize("size", ["base", "lv60k"])
@pytest.mark.parametrize("to", ["sori", "huggingface", "fairseq"])
def test_round_trips_have_certificates(to, size, kind, tmp_path):
    source = make(kind, tmp_path / "source", size)
    there = convert.convert(source, tmp_path / "there", to=to)
    assert (there.source_format, there.target_format) == ("sori", to)
    assert {entry.source for entry in there.tensors} == set(store.read(source).model.weights)
    assert there.licence == "cc-by-4.0 (README.md)"
    assert "# A model" in (tmp_path / "there" / "README.md").read_text()
    path = tmp_path / "there" / fairseq.CHECKPOINT if to == "fairseq" else tmp_path / "there"
    back = convert.convert(path, tmp_path / "back")
    assert {entry.target for entry in back.tensors} == set(store.read(source).model.weights)
    assert back.source_parameters == there.target_parameters
    assert back.target_parameters == there.source_parameters
    # fairseq requires classes for <pad>, </s> and <unk>.
    added = 3 * 33 if (to, kind) == ("fairseq", "recogniser") else 0
    assert there.target_parameters == there.source_parameters + added
    one, other = store.read(source).model, store.read(tmp_path / "back").model
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name
    if one.vocabulary is not None:
        assert one.vocabulary.symbols == other.vocabulary.symbols


def test_the_stored_certificate_equals_the_printed_one(tmp_path, monkeypatch, capsys):
    source = make("pretrained", tmp_path / "source")
    monkeypatch.setattr("sys.argv", ["sori", "convert", str(source), str(tmp_path / "t"), "--format", "huggingface"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (None, 0)
    stored = Certificate.from_data(json.loads((tmp_path / "t" / "certificate.json").read_text()), origin="test")
    printed = capsys.readouterr().out
    assert printed == stored.table() + "\n"
    assert re.search(r"read back +greatest difference 0\.0e\+00|outputs +read back: greatest difference 0", printed)
    assert len(stored.sha256["weights.safetensors"]) == 64


def test_outputs_are_compared_with_transformers_if_installed(kind, tmp_path):
    pytest.importorskip("transformers")
    convert.convert(make(kind, tmp_path / "source", "lv60k"), tmp_path / "theirs", to="huggingface")
    certificate = convert.convert(tmp_path / "theirs", tmp_path / "back")
    difference = float(re.search(r"difference (\S+)", certificate.outputs["against transformers"])[1])
    assert 0 <= difference < 1e-5


def test_unsupported_parts_are_refused_and_no_files_are_left(tmp_path):
    store.save(factory.build(sizes.smoke()), tmp_path / "smoke")
    for to in ("huggingface", "fairseq"):
        with pytest.raises(ValueError, match="front end is spectral"):
            convert.convert(tmp_path / "smoke", tmp_path / "target", to=to)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["smoke"]


def test_an_existing_target_is_kept(tmp_path):
    source = make("pretrained", tmp_path / "source")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "precious").write_text("mine")
    with pytest.raises(FileExistsError, match="exists; give a new folder"):
        convert.convert(source, tmp_path / "target")
    assert (tmp_path / "target" / "precious").read_text() == "mine"


def test_folders_of_a_similar_name_are_kept(tmp_path):
    source = make("pretrained", tmp_path / "source")
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "thesis.txt").write_text("precious")
    convert.convert(source, tmp_path / "mine")
    assert (tmp_path / "mine.partial" / "thesis.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.partial", "source"]


@pytest.mark.parametrize("to", ["sori", "huggingface", "fairseq"])
def test_written_files_have_the_modes_of_the_umask(to, kind, tmp_path):
    source = make(kind, tmp_path / "source")
    before = os.umask(0o027)
    try:
        convert.convert(source, tmp_path / "target", to=to)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "target").iterdir()}
    assert modes == dict.fromkeys(modes, 0o640)
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o750


def test_a_target_that_differs_when_read_back_is_removed(tmp_path, monkeypatch):
    source = make("pretrained", tmp_path / "source")
    write = huggingface.write

    def faulty(model, folder):
        weights = {**model.weights, "mask_vector": model.weights["mask_vector"] + 1e-6}
        return write(model._replace(weights=weights), folder)

    monkeypatch.setattr(huggingface, "write", faulty)
    with pytest.raises(RuntimeError, match=r"1 tensors, the first mask_vector"):
        convert.convert(source, tmp_path / "target", to="huggingface")
    assert not (tmp_path / "target").exists()


def test_a_missing_tensor_stops_the_conversion(tmp_path):
    source = make("pretrained", tmp_path / "source")
    convert.convert(source, tmp_path / "theirs", to="huggingface")
    import safetensors.torch

    path = tmp_path / "theirs" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    del tensors["project_q.bias"]
    tensors["surprise"] = torch.zeros(3)
    safetensors.torch.save_file({k: v.clone() for k, v in tensors.items()}, path)
    with pytest.raises(ValueError, match=r"missing: project_q.bias\n  not accounted for: surprise \[3\]"):
        convert.convert(tmp_path / "theirs", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def labelled(folder):
    """Return a prepared folder of two transcribed utterances of noise."""
    import soundfile

    from sori.data.preparation.prepare import prepare

    generator = torch.Generator().manual_seed(0)
    (folder / "raw").mkdir(parents=True)
    for name in "ab":
        waveform = 0.1 * torch.randn(16_000, generator=generator)
        soundfile.write(folder / "raw" / f"{name}.wav", waveform.numpy(), 16_000)
        (folder / "raw" / f"{name}.txt").write_text("hello world")
    prepare(folder / "raw", folder / "prepared", num_workers=1)
    return folder / "prepared"


@pytest.mark.slow
def test_8_bit_weights_are_accepted_or_refused_by_their_error_rates(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    source, data = make("recogniser", tmp_path / "source", "lv60k"), labelled(tmp_path / "data")
    rates = iter([(0.5, 0.3), (0.52, 0.3)] * 2)

    def score(logits, vocabulary, utterances, *, shortest):
        """Run the file and return given numbers, as the output of a randomly initialised model is meaningless."""
        assert [u.text for u in utterances] == ["hello world"] * 2
        assert logits(torch.zeros(shortest)).data.shape == (1, 1, len(vocabulary))
        wer, cer = next(rates)
        return SimpleNamespace(wer=SimpleNamespace(rate=wer), cer=SimpleNamespace(rate=cer))

    monkeypatch.setattr(recognition, "score", score)
    with pytest.raises(ValueError, match=r"more than the 1\.00%.*WER 50\.00% -> 52\.00%.*Nothing was written"):
        convert.convert(source, tmp_path / "o", to="onnx", int8=convert.Int8(onnx_score([data], None), tolerance=0.01))
    assert not (tmp_path / "o").exists()
    certificate = convert.convert(
        source, tmp_path / "o", to="onnx", int8=convert.Int8(onnx_score([data], None), tolerance=0.03)
    )
    assert "WER 50.00% -> 52.00%" in certificate.outputs["int8"]
    sizes_of = {path.name: path.stat().st_size for path in (tmp_path / "o").iterdir()}
    assert sizes_of["model.int8.onnx"] < sizes_of["model.onnx"]
    assert {"certificate.json", "README.md"} <= sizes_of.keys()


def test_int8_without_transcribed_speech_is_refused(tmp_path):
    source = make("pretrained", tmp_path / "source")
    with pytest.raises(ValueError, match="expected format onnx for 8-bit weights"):
        convert.convert(source, tmp_path / "o", to="huggingface", int8=convert.Int8(lambda _: None))
    with pytest.raises(ValueError, match="give transcribed speech with --data"):
        models.convert(str(source), tmp_path / "o", to="onnx", int8=True)


def test_a_model_card_that_is_a_link_is_not_copied_into_what_is_published(tmp_path):
    source = make("encoder", tmp_path / "source", "base")
    (tmp_path / "private.txt").write_text("secret")
    (source / "README.md").unlink()
    (source / "README.md").symlink_to(tmp_path / "private.txt")
    convert.convert(source, tmp_path / "out")
    assert not (tmp_path / "out" / "README.md").exists()
