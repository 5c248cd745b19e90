import json
import logging
import shutil
import sys
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sori.checkpoints.formats import onnx as conversion
from sori.checkpoints.formats.onnx import TOLERANCE, export_onnx, quantize_onnx
from sori.checkpoints.formats.onnx_model import ErrorRates, OnnxFacts, OnnxModel, gate, num_bytes, weights_beside
from sori.models.ctc import Ctc, CtcConfig
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.lengths import valid
from sori.nn.spectral import CepstrumConfig, LogMelConfig
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NARROW = {"dim": 48, "num_heads": 4, "ffn_dim": 96, "code_dim": 32, "final_dim": 32, "num_codes": 8}
VOCABULARY = Vocabulary.fit(["ab\u00e9 |\ud55c\uae00"], punctuation="keep")
LENGTHS = [[16_000], [4_321], [33_333, 20_000, 4_100], [24_001, 24_001]]


def encoder(name: str) -> Wav2Vec2:
    """Return an encoder with random weights, including norms, biases and gains."""
    torch.manual_seed(1)
    config = getattr(sizes, name.removesuffix("_deltas"))()
    if name in ("base", "lv60k"):
        config = config.model_copy(update={**NARROW, "front": config.front.model_copy(update={"dim": 32})})
    if name == "lv60k":  # as MMS has it
        front = config.front.model_copy(update={"normalize_floor": 1e-7})
        config = config.model_copy(update={"front": front, "adapter_dim": 8})
    config = config.model_copy(update={"num_layers": 1 if name in ("base", "lv60k") else 2})
    if name == "smoke_deltas":
        front = CepstrumConfig(windows=LogMelConfig(num_mels=20), num_cepstra=13, delta_windows=2, pool="mean")
        config = config.model_copy(update={"front": front})
    system = Wav2Vec2(config)
    with torch.no_grad():
        for parameter in system.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.rand_like(parameter) - 0.1)
    return system.eval()


def recogniser(name: str, **config) -> Ctc:
    system = Ctc(CtcConfig(**config), encoder(name), num_classes=len(VOCABULARY))
    system.vocabulary = VOCABULARY
    if system.layer_weights is not None:
        nn.init.normal_(system.layer_weights)
    return system.eval()


class OtherEncoder(nn.Module):
    """Encoder of a system that cannot be exported."""

    config = SimpleNamespace(dim=4, num_layers=1)
    hop_samples = 320

    def encode(self, *_):
        raise AssertionError

    extract_features = encode


MAKERS = {
    "base": lambda: encoder("base"),
    "lv60k": lambda: recogniser("lv60k"),
    "smoke": lambda: recogniser("smoke"),
    "tiny": lambda: recogniser("tiny", read="mix", upsample=2),
    "smoke_deltas": lambda: encoder("smoke_deltas"),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a function from name to system and file; each is exported once, as that takes some seconds."""

    @cache
    def make(name: str):
        system, path = MAKERS[name](), tmp_path_factory.mktemp(name) / "model.onnx"
        export_onnx(system, path)
        return system, path

    return make


@pytest.fixture(params=["base", "lv60k", "smoke", "tiny", pytest.param("smoke_deltas", marks=pytest.mark.slow)])
def pair(request, exported):
    return exported(request.param)


@pytest.fixture
def small_recogniser(exported):
    return exported("smoke")


def waveforms(lengths: list[int], *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noise of varying loudness, with loud padding."""
    draw = torch.Generator().manual_seed(seed)
    waveform = torch.randn(len(lengths), max(lengths), generator=draw)
    waveform *= 0.1 + 0.05 * torch.sin(torch.arange(max(lengths)) / 1000)
    where = torch.tensor(lengths)
    return torch.where(valid(where, max(lengths)), waveform, 0.7), where


def from_torch(system, waveform, lengths):
    with torch.no_grad():
        return (
            system.logits(waveform, lengths) if isinstance(system, Ctc) else system.extract_features(waveform, lengths)
        )


def from_file(model, waveform, lengths):
    run = model.logits if model.facts.output == "logits" else model.extract_features
    return run(waveform, lengths)


def largest_difference(one, other) -> float:
    assert torch.equal(one.lengths, other.lengths)
    real = valid(one.lengths, min(one.data.shape[1], other.data.shape[1]))
    return (one.data[:, : real.shape[1]][real] - other.data[:, : real.shape[1]][real]).abs().max().item()


def test_the_file_has_the_output_of_torch(pair):
    system, path = pair
    model = OnnxModel(path)
    for number, lengths in enumerate(LENGTHS):
        batch = waveforms(lengths, seed=number)
        assert largest_difference(from_file(model, *batch), from_torch(system, *batch)) < 1e-4


def test_a_padded_row_has_the_output_of_the_row_alone(pair):
    system, path = pair
    model = OnnxModel(path)
    waveform, lengths = waveforms([33_333, 20_000, 4_100])
    padded = from_file(model, torch.cat([waveform, torch.ones(3, 5000)], 1), lengths)
    for row, length, frames, num_frames in zip(waveform, lengths, *padded, strict=True):
        alone = from_torch(system, row[None, :length], length[None])
        assert torch.equal(alone.lengths, num_frames[None])
        torch.testing.assert_close(frames[:num_frames], alone.data[0], rtol=0, atol=1e-4)


def test_a_row_that_is_too_short_does_not_affect_others(pair):
    _, path = pair
    model = OnnxModel(path)
    waveform, lengths = waveforms([16_000, 16_000])
    feed = {"wave": waveform.numpy(), "lengths": torch.tensor([16_000, 20]).numpy()}
    data, data_lengths = model._session.run(None, feed)
    assert data_lengths[1] == 0
    expected = from_file(model, waveform, lengths)
    torch.testing.assert_close(torch.from_numpy(data[0]), expected.data[0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="an utterance of 20 samples is shorter than one frame"):
        from_file(model, waveform, torch.tensor([16_000, 20]))


def test_the_file_describes_itself(pair):
    system, path = pair
    facts = OnnxModel(path).facts
    assert facts.sampling_rate == 16_000
    if isinstance(system, Ctc):
        assert facts.output == "logits"
        assert facts.vocabulary == VOCABULARY
        assert facts.hop_samples == system.logit_hop_samples
        assert facts.shortest_samples == system.encoder.field_samples
    else:
        assert (facts.output, facts.vocabulary) == ("frames", None)
        assert facts.hop_samples == system.hop_samples
        assert facts.shortest_samples == system.field_samples
    written = onnx.load(path)
    onnx.checker.check_model(written)
    assert {entry.key for entry in written.metadata_props} >= {"sampling_rate", "hop_samples", "sori_version"}
    assert [one.name for one in written.graph.input] == ["wave", "lengths"]
    assert [one.name for one in written.graph.output] == [facts.output, facts.output[:-1] + "_lengths"]
    assert b"site-packages" not in path.read_bytes(), "the exporter's stack traces are in the file"


def test_only_matrices_are_quantised(pair, tmp_path):
    system, path = pair
    into = tmp_path / "int8.onnx"
    assert quantize_onnx(path, into) == into.stat().st_size < path.stat().st_size
    before, after = onnx.load(path), onnx.load(into)
    count = lambda model, kind: sum(node.op_type == kind for node in model.graph.node)  # noqa: E731
    config = (system.encoder if isinstance(system, Ctc) else system).config
    in_blocks = config.num_layers * (6 if config.adapter_dim else 4)
    assert count(after, "Conv") == count(before, "Conv") > 0
    assert count(after, "ConvInteger") == count(after, "QLinearConv") == 0
    # Also the projection and the head; in the front ends only the linear layer over mel bands.
    in_front = config.front.kind == "mel_conv"
    assert count(after, "MatMulInteger") == in_front + in_blocks + 1 + isinstance(system, Ctc)
    assert OnnxModel(into).facts == OnnxModel(path).facts
    assert {entry.key: entry.value for entry in after.metadata_props} == {e.key: e.value for e in before.metadata_props}
    batch = waveforms([33_333, 20_000, 4_100])
    exact, rounded = (from_file(OnnxModel(file), *batch) for file in (path, into))
    assert 0 < largest_difference(exact, rounded) < 0.1 * exact.data.abs().max()


@pytest.mark.slow
def test_large_models_have_external_weights_and_nothing_is_printed(tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.setattr(conversion, "_SINGLE_FILE_BYTES", 10_000)
    system, path, into = recogniser("smoke"), tmp_path / "new" / "model.onnx", tmp_path / "new" / "int8.onnx"
    handlers = list(logging.getLogger().handlers)
    exported = export_onnx(system.train(), path)
    assert quantize_onnx(path, into) == num_bytes(into)

    assert tuple(capfd.readouterr()) == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
    assert logging.getLogger().handlers == handlers
    files = sorted(file.name for file in path.parent.iterdir())
    assert files == ["int8.onnx", "int8.onnx.data", "model.onnx", "model.onnx.data"]
    assert exported.path == path
    assert exported.num_bytes == path.stat().st_size + weights_beside(path).stat().st_size
    assert 0 < exported.difference < TOLERANCE

    batch = waveforms([20_000])
    exact, rounded = (OnnxModel(file).logits(*batch) for file in (path, into))
    assert largest_difference(exact, from_torch(system, *batch)) < 1e-4
    assert 0 < largest_difference(exact, rounded) < 0.1 * exact.data.abs().max()
    weights_beside(path).unlink()
    with pytest.raises(ValueError, match=r"onnxruntime cannot read .*model\.onnx\.data"):
        OnnxModel(path)


def test_a_file_that_differs_is_refused(small_recogniser, tmp_path, monkeypatch):
    _, written = small_recogniser
    program = SimpleNamespace(
        model=SimpleNamespace(metadata_props={}, graph=SimpleNamespace(all_nodes=list)),
        save=lambda path, **_: shutil.copyfile(written, path),
    )
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)
    other = recogniser("smoke")
    with torch.no_grad():
        other.head.weight.mul_(1.01)
    with pytest.raises(RuntimeError, match="at most 1e-04 of the largest value, got"):
        export_onnx(other, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_unsupported_systems_are_refused(tmp_path, monkeypatch):
    system = recogniser("smoke")
    foreign = Ctc(system.config, OtherEncoder(), num_classes=3)
    with pytest.raises(ValueError, match=r"expected wav2vec 2\.0 or a recogniser on it, got OtherEncoder"):
        export_onnx(foreign, tmp_path / "model.onnx")
    system.vocabulary = None
    with pytest.raises(ValueError, match="has no vocabulary"):
        export_onnx(system, tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"ONNX needs onnxscript: `pip install 'sori\[export\]'`"):
        export_onnx(system, tmp_path / "model.onnx")


def test_other_files_are_refused(small_recogniser, tmp_path):
    _, path = small_recogniser
    with pytest.raises(FileNotFoundError, match="there is no file"):
        OnnxModel(tmp_path / "none.onnx")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="likely it is incomplete"):
        OnnxModel(cut)
    foreign = onnx.load(path)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="has no 'output' in its metadata"):
        OnnxModel(tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="expected a file with output frames"):
        OnnxModel(path).extract_features(*waveforms([16_000]))


def test_the_gate_measures_both_files(small_recogniser, tmp_path):
    _, path = small_recogniser
    into = tmp_path / "int8.onnx"
    quantize_onnx(path, into)
    exact = OnnxModel(path)
    batches = [waveforms([16_000 + 3000 * number], seed=number) for number in range(3)]
    labels = [exact.logits(*batch).data.argmax(-1) for batch in batches]

    def score(model: OnnxModel) -> ErrorRates:
        """Return the fraction of frames with another class than in the float file."""
        wrong = torch.cat([model.logits(*b).data.argmax(-1) != y for b, y in zip(batches, labels, strict=True)], 1)
        return ErrorRates(float(wrong.any()), wrong.float().mean().item())

    result = gate(path, into, score, tolerance=1.0)
    assert result.before.rates == (0.0, 0.0)
    assert result.passed
    assert result.before.seconds_processed == result.after.seconds_processed == pytest.approx((48_000 + 9000) / 16_000)
    assert (result.before.num_bytes, result.after.num_bytes) == (num_bytes(path), num_bytes(into))
    assert result.before.seconds_per_hour > 0
    assert result.after.seconds_per_hour > 0


def test_the_gate_refuses(small_recogniser):
    _, path = small_recogniser
    batch = waveforms([16_000])

    def constant(*rates: ErrorRates):
        left = list(rates)

        def score(model: OnnxModel) -> ErrorRates:
            model.logits(*batch)
            return left.pop(0)

        return score

    def passed(after: ErrorRates) -> bool:
        return gate(path, path, constant(ErrorRates(0.2, 0.1), after), tolerance=0.01).passed

    assert passed(ErrorRates(0.209, 0.109))
    assert passed(ErrorRates(0.1, 0.05))
    assert not passed(ErrorRates(0.22, 0.1))
    assert not passed(ErrorRates(0.2, 0.12))
    assert not passed(ErrorRates(float("nan"), 0.1))
    with pytest.raises(ValueError, match="process the same transcribed utterances"):
        gate(path, path, lambda _: ErrorRates(0.1, 0.1), tolerance=0.01)
    with pytest.raises(ValueError, match="no better than empty output"):
        gate(path, path, constant(ErrorRates(1.0, 1.0), ErrorRates(1.0, 1.0)), tolerance=0.01)


@pytest.mark.slow
def test_full_size(tmp_path):
    torch.manual_seed(0)
    system, path, into = Wav2Vec2(sizes.base()).eval(), tmp_path / "model.onnx", tmp_path / "int8.onnx"
    export_onnx(system, path)
    model = OnnxModel(path)
    for lengths in ([16_000], [50_000, 31_000]):
        batch = waveforms(lengths)
        assert largest_difference(model.extract_features(*batch), from_torch(system, *batch)) < 1e-4
    assert quantize_onnx(path, into) < 0.35 * num_bytes(path)


def test_the_vocabulary_of_an_older_file_has_the_first_rules():
    facts = OnnxFacts("logits", 16_000, 320.0, 400, Vocabulary.fit(["ab"]), "0.1")
    texts = facts.to_metadata()
    assert OnnxFacts.from_metadata(texts) == facts
    older = json.loads(texts["vocabulary"])
    del older["normalisation"], older["casing"]
    vocabulary = OnnxFacts.from_metadata(texts | {"vocabulary": json.dumps(older)}).vocabulary
    assert vocabulary.normalisation == 1
    assert vocabulary.symbols == facts.vocabulary.symbols
