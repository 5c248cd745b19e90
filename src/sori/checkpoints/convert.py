"""Convert a model to another format, with a certificate of the conversion."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from sori.checkpoints import store
from sori.checkpoints.formats import fairseq, huggingface, onnx, onnx_model, reference_output
from sori.checkpoints.formats.certificate import MODEL_CARD, Certificate, Entry, licence_in, sha256
from sori.checkpoints.formats.imported import Model
from sori.checkpoints.formats.origin import HuggingFaceOrigin
from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config, leaves
from sori.core.folders import whole_folder
from sori.models import factory
from sori.models.wav2vec2 import Wav2Vec2Config

Format = Literal["sori", "huggingface", "fairseq", "onnx"]
ONNX, ONNX_INT8 = "model.onnx", "model.int8.onnx"


class Int8(NamedTuple):
    """Test of 8-bit weights, and the loss of accuracy that is accepted."""

    score: Callable[[onnx_model.OnnxModel], onnx_model.ErrorRates]
    """Computes error rates on held-out utterances (`evaluation.recognition.onnx_score`)."""
    tolerance: float = 0.005
    """Largest accepted increase of word and character error rate, each: 0.005 is one more error in 200."""


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: Format = "sori",
    language: str | None = None,
    int8: Int8 | None = None,
) -> Certificate:
    """Convert a model to another format.

    The target is written atomically, with `certificate.json` and the model card (README.md) of the source. The result
    is verified by reading it back: every tensor must be bit-identical (ONNX: every output equal to within 1e-4).

    Args:
        source: Any model that `sori.load` reads.
        target: Folder to create; must not exist.
        to: `sori`, `huggingface` (for transformers), `fairseq`, or `onnx`.
        language: Language to select from a source with several.
        int8: For a recogniser as ONNX: also write `model.int8.onnx` with 8-bit weights, if the error rates do not rise
            by more than the tolerance.

    Raises:
        FileExistsError: The target exists.
        ValueError: The source cannot be read, the format does not support a part of the model, or 8-bit weights raise
            the error rates too much; nothing is written.
        ModuleNotFoundError: An extra is not installed; the message names it.
    """
    target = Path(target)
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} exists; give a new folder, or remove this one")
    if int8 is not None and to != "onnx":
        raise ValueError(f"expected format onnx for 8-bit weights, got format {to}")
    stored = store.read(source, language=language)
    if int8 is not None and stored.model.vocabulary is None:
        raise ValueError(
            "expected a recogniser for 8-bit weights, got an encoder, which has no error rate to check; export without "
            "int8"
        )
    with whole_folder(target) as fresh:
        certificate = _convert(stored, target, fresh, to, language, int8)
        certificate.save(fresh)
        card = (stored.place if stored.place.is_dir() else stored.place.parent) / MODEL_CARD
        if card.is_file() and not card.is_symlink():  # a link could lead to a private file, which would be published
            shutil.copyfile(card, fresh / MODEL_CARD)
    return certificate


def _convert(
    stored: store.Stored, target: Path, folder: Path, to: Format, language: str | None, int8: Int8 | None
) -> Certificate:
    written: list[Entry] = []
    outputs: dict[str, Any] = {}
    system = _with_outputs(store.assemble(stored.model, origin=str(stored.place)))
    if isinstance(system, factory.OfTexts) and to in ("fairseq", "onnx"):
        raise ValueError(f"expected format sori or huggingface for a text model, got format {to}")
    match to:
        case "sori":
            store.write(stored.model, folder, provenance=stored.provenance, language_model=stored.language_model)
        case "huggingface":
            written = huggingface.write(stored.model, folder)
        case "fairseq":
            written = fairseq.write(stored.model, folder)
        case "onnx":
            assert not isinstance(system, factory.OfTexts)  # noqa: S101 - checked above
            exported = onnx.export_onnx(system, folder / ONNX)
            outputs["onnxruntime against torch"] = f"{exported.difference:.1e} of the largest value"
            outputs |= {} if int8 is None else _int8(folder, int8)
    return _certificate(stored, system, target, folder, to, written, outputs, language)


def _with_outputs(system: factory.System) -> factory.OfFrames | factory.OfTexts:
    return system if isinstance(system, factory.OfTexts) else factory.of_frames(system)


def _int8(folder: Path, test: Int8) -> dict[str, Any]:
    """Write 8-bit weights and check their error rates.

    Raises:
        ValueError: The error rates rise by more than the tolerance.
    """
    onnx.quantize_onnx(folder / ONNX, folder / ONNX_INT8)
    gate = onnx_model.gate(folder / ONNX, folder / ONNX_INT8, test.score, tolerance=test.tolerance)
    before, after = gate.before, gate.after
    comparison = (
        f"WER {before.rates.wer:.2%} -> {after.rates.wer:.2%}, CER {before.rates.cer:.2%} -> {after.rates.cer:.2%}, "
        f"{before.num_bytes / 1e6:.1f} -> {after.num_bytes / 1e6:.1f} MB, {before.seconds_per_hour:.1f} -> "
        f"{after.seconds_per_hour:.1f} s per hour of audio; measured on {before.seconds_processed / 60:.1f} min"
    )
    if not gate.passed:
        raise ValueError(
            f"8-bit weights raise an error rate by more than the {test.tolerance:.2%} allowed: {comparison}. Nothing "
            "was written; export without int8, or raise `--tolerance`"
        )
    return {"int8": comparison}


def _certificate(
    stored: store.Stored,
    system: factory.OfFrames | factory.OfTexts,
    target: Path,
    folder: Path,
    to: Format,
    written: list[Entry],
    outputs: dict[str, Any],
    language: str | None,
) -> Certificate:
    before = reference_output.compute(system)
    outputs = (
        reference_output.summary(
            before, of=reference_output.TOKENS if isinstance(system, factory.OfTexts) else reference_output.WAVEFORM
        )
        | outputs
    )
    if stored.certificate is not None and isinstance(stored.model.origin, HuggingFaceOrigin):
        theirs = reference_output.compute_with_transformers(stored.place, stored.model, language=language)
        outputs["against transformers"] = "not installed, not run" if theirs is None else _difference(before, theirs)
    changes: dict[str, Any] = {"target": str(target), "target_format": to, "written": tuple(written)}
    notes: list[str] = []
    if to != "onnx":
        again = store.read(folder / fairseq.CHECKPOINT if to == "fairseq" else folder)
        _compare(stored.model, again.model, str(target))
        back = _with_outputs(store.assemble(again.model, origin=str(target)))
        outputs["read back"] = _difference(before, reference_output.compute(back))
        notes = _lost_settings(stored.model, again.model)
        if stored.language_model is not None and again.language_model is None:
            notes.append("its language model is no part of that format: use the files lm.arpa.gz and lm.json beside it")
        if again.certificate is not None:
            changes["target_parameters"] = again.certificate.source_parameters
    base = stored.certificate or _certificate_of_own(stored)
    return base.model_copy(update={**changes, "outputs": outputs, "notes": (*base.notes, *notes)})


def _lost_settings(before: Model, after: Model) -> list[str]:
    """Return a note for each setting that the format cannot store; continued training would differ."""
    notes = []
    if after.vocabulary is not None and any("\u1100" <= symbol <= "\u11ff" for symbol in after.vocabulary.symbols):
        notes.append("its output is Hangul letters (jamo), which tokenizers there do not compose: normalise to NFC")
    pairs: list[tuple[Config, Config]] = [(before.system, after.system)]
    if isinstance(before.encoder, Wav2Vec2Config) and isinstance(after.encoder, Wav2Vec2Config):
        pairs.append((before.encoder.front, after.encoder.front))
    for one, other in pairs:
        there = leaves(other.model_dump(mode="json"))
        notes += [
            f"{name} {value} cannot be stored in that format and is {there[name]} there"
            for name, value in leaves(one.model_dump(mode="json")).items()
            if name in there and there[name] != value
        ]
    return notes


def _difference(one: torch.Tensor, other: torch.Tensor) -> str:
    return f"greatest difference {float((one - other).abs().max()):.1e} of values up to {float(one.abs().max()):.1f}"


def _compare(one: Model, other: Model, target: str) -> None:
    """Refuse a target whose tensors differ from the source's."""
    different = [
        name
        for name in sorted(one.weights.keys() | other.weights.keys())
        if name not in one.weights
        or name not in other.weights
        or not torch.equal(one.weights[name], other.weights[name])
    ]
    if different:
        raise RuntimeError(
            f"{target} read back differs from its source in {len(different)} tensors, the first {different[0]}; it was "
            "removed. This is a bug in sori: please report it with the certificate of the source"
        )


def _certificate_of_own(stored: store.Stored) -> Certificate:
    weights, normalize = stored.model.weights, False
    if stored.model.wordpiece is None:
        config = stored.model.encoder_config
        normalize = isinstance(config, Wav2Vec2Config) and config.front.kind == "conv" and config.front.normalize
    size = sum(tensor.numel() for tensor in weights.values())
    return Certificate(
        source=str(stored.place),
        source_format="sori",
        sha256=sha256([stored.place / store.WEIGHTS]),
        tensors=tuple(Entry(source=name, target=name, how="as it is") for name in weights),
        source_parameters=size,
        target_parameters=size,
        sampling_rate=None if stored.model.wordpiece is not None else SAMPLE_RATE,
        normalisation="mean 0, variance 1" if normalize else "none",
        licence=licence_in(stored.place / MODEL_CARD),
    )
