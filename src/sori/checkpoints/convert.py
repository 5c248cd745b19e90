"""One model, another format, and a certificate of what became of it."""

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
    """How 8-bit weights are tested, and what they may cost."""

    score: Callable[[onnx_model.OnnxModel], onnx_model.ErrorRates]
    """Error rates on held-out utterances (`evaluation.recognition.onnx_score`)."""
    tolerance: float = 0.005
    """By how much word and character error rates may each rise: 0.005 is one error more among 200."""


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: Format = "sori",
    language: str | None = None,
    int8: Int8 | None = None,
) -> Certificate:
    """Write a model in another format.

    The target appears whole or not at all, with `certificate.json` and the source's model card (README.md) in it. What
    was written is read back first: every tensor must be equal, bit for bit (ONNX: every output, to 1e-4).

    Args:
        source: anything `sori.load` takes.
        target: folder to be made; must not exist.
        to: `sori`, `huggingface` (for transformers), `fairseq`, or `onnx`.
        language: of a source with several languages: which one.
        int8: of a recogniser as ONNX: write its weights as 8-bit integers beside it, `model.int8.onnx`, if that costs
            no more than allowed.

    Raises:
        FileExistsError: the target exists.
        ValueError: the source cannot be read, the format has no place for some part of the model, or 8 bits cost too
            much; nothing is written.
        ModuleNotFoundError: an extra is missing; says which.
    """
    target = Path(target)
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} exists; name a new folder, or remove that one")
    if int8 is not None and to != "onnx":
        raise ValueError(f"8-bit integers are written as ONNX only; got format {to}")
    stored = store.read(source, language=language)
    if int8 is not None and stored.model.vocabulary is None:
        raise ValueError("an encoder writes no text, so nothing can be said of its errors; 8 bits are for recognisers")
    with whole_folder(target) as fresh:
        certificate = _convert(stored, target, fresh, to, language, int8)
        certificate.save(fresh)
        card = (stored.place if stored.place.is_dir() else stored.place.parent) / MODEL_CARD
        if card.is_file():
            shutil.copyfile(card, fresh / MODEL_CARD)
    return certificate


def _convert(
    stored: store.Stored, target: Path, folder: Path, to: Format, language: str | None, int8: Int8 | None
) -> Certificate:
    written: list[Entry] = []
    outputs: dict[str, Any] = {}
    system = _answering(store.assemble(stored.model, origin=str(stored.place)))
    if isinstance(system, factory.OfTexts) and to in ("fairseq", "onnx"):
        raise ValueError(f"a model of texts is written as sori or huggingface, got format {to}")
    match to:
        case "sori":
            store.write(stored.model, folder, provenance=stored.provenance)
        case "huggingface":
            written = huggingface.write(stored.model, folder)
        case "fairseq":
            written = fairseq.write(stored.model, folder)
        case "onnx":
            assert not isinstance(system, factory.OfTexts)  # noqa: S101 - as just checked
            exported = onnx.export_onnx(system, folder / ONNX)
            outputs["onnxruntime against torch"] = f"{exported.difference:.1e} of the largest value"
            outputs |= {} if int8 is None else _int8(folder, int8)
    return _certificate(stored, system, target, folder, to, written, outputs, language)


def _answering(system: factory.System) -> factory.OfFrames | factory.OfTexts:
    return system if isinstance(system, factory.OfTexts) else factory.of_frames(system)


def _int8(folder: Path, wanted: Int8) -> dict[str, Any]:
    """Write 8-bit weights and pass them through the gate.

    Raises:
        ValueError: they make more errors than allowed.
    """
    onnx.quantize_onnx(folder / ONNX, folder / ONNX_INT8)
    gate = onnx_model.gate(folder / ONNX, folder / ONNX_INT8, wanted.score, tolerance=wanted.tolerance)
    before, after = gate.before, gate.after
    said = (
        f"WER {before.rates.wer:.2%} -> {after.rates.wer:.2%}, CER {before.rates.cer:.2%} -> {after.rates.cer:.2%}, "
        f"{before.num_bytes / 1e6:.1f} -> {after.num_bytes / 1e6:.1f} MB, {before.seconds_per_hour:.1f} -> "
        f"{after.seconds_per_hour:.1f} s for an hour of audio; measured on {before.seconds_heard / 60:.1f} min"
    )
    if not gate.passed:
        raise ValueError(
            f"8-bit weights cost more than the {wanted.tolerance:.2%} that was allowed: {said}. Nothing was written; "
            "export without int8, or allow more with `--tolerance`"
        )
    return {"int8": said}


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
    before = reference_output.answer(system)
    outputs = (
        reference_output.summary(
            before, of=reference_output.TOKENS if isinstance(system, factory.OfTexts) else reference_output.WAVE
        )
        | outputs
    )
    if stored.certificate is not None and isinstance(stored.model.origin, HuggingFaceOrigin):
        theirs = reference_output.answer_of_transformers(stored.place, stored.model, language=language)
        outputs["against transformers"] = "not installed, not run" if theirs is None else _greatest(before, theirs)
    changes: dict[str, Any] = {"target": str(target), "target_format": to, "written": tuple(written)}
    notes: list[str] = []
    if to != "onnx":
        again = store.read(folder / fairseq.CHECKPOINT if to == "fairseq" else folder)
        _compare(stored.model, again.model, str(target))
        back = _answering(store.assemble(again.model, origin=str(target)))
        outputs["read back"] = _greatest(before, reference_output.answer(back))
        notes = _lost_settings(stored.model, again.model)
        if again.certificate is not None:
            changes["target_parameters"] = again.certificate.source_parameters
    base = stored.certificate or _of_ours(stored)
    return base.model_copy(update={**changes, "outputs": outputs, "notes": (*base.notes, *notes)})


def _lost_settings(before: Model, after: Model) -> list[str]:
    """A note for each setting that the format has no place for: with it, training would go on differently."""
    notes = []
    if after.vocabulary is not None and any("\u1100" <= symbol <= "\u11ff" for symbol in after.vocabulary.symbols):
        notes.append("it writes the letters of Hangul one by one, and no tokenizer there joins them: normalise to NFC")
    pairs: list[tuple[Config, Config]] = [(before.system, after.system)]
    if isinstance(before.encoder, Wav2Vec2Config) and isinstance(after.encoder, Wav2Vec2Config):
        pairs.append((before.encoder.front, after.encoder.front))
    for one, other in pairs:
        there = leaves(other.model_dump(mode="json"))
        notes += [
            f"{name} {value} has no place in that format and is {there[name]} there"
            for name, value in leaves(one.model_dump(mode="json")).items()
            if name in there and there[name] != value
        ]
    return notes


def _greatest(one: torch.Tensor, other: torch.Tensor) -> str:
    return f"greatest difference {float((one - other).abs().max()):.1e} of values up to {float(one.abs().max()):.1f}"


def _compare(one: Model, other: Model, target: str) -> None:
    """Refuse a target that does not hold what the source held."""
    different = [
        name
        for name in sorted(one.weights.keys() | other.weights.keys())
        if name not in one.weights
        or name not in other.weights
        or not torch.equal(one.weights[name], other.weights[name])
    ]
    if different:
        raise RuntimeError(
            f"{target} read back differs from its source in {len(different)} tensors, the first {different[0]}; "
            "nothing was kept. This is a fault of sori: please report it with the certificate of the source"
        )


def _of_ours(stored: store.Stored) -> Certificate:
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
