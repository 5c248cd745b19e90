"""Export a model to a self-describing ONNX file, and quantise it to 8-bit integers.

The input is a padded batch of raw waveforms of any number and length; the output of a row does not depend on padding or
other rows. `export_onnx` compares the file with torch before keeping it.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import torch

from sori.checkpoints.formats.onnx_graph import Graph
from sori.checkpoints.formats.onnx_model import (
    OnnxFacts,
    OnnxModel,
    num_bytes,
    require_extra,
    weights_beside,
)
from sori.core.audio import SAMPLE_RATE
from sori.models.ctc import Ctc
from sori.models.encoders import Encoder
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.lengths import valid

TOLERANCE = 1e-4
"""Largest accepted difference from torch, relative to the largest value."""
_SINGLE_FILE_BYTES = 1_800_000_000
"""The format is limited to 2 GiB; weights of larger models are stored in a second file."""


class Exported(NamedTuple):
    """An exported file, verified against its model."""

    path: Path
    num_bytes: int
    difference: float
    """Largest difference from torch on a padded batch of noise, relative to the largest value."""


def export_onnx(system: Encoder | Ctc, path: Path) -> Exported:
    """Export a model to ONNX, and check that onnxruntime gives the same output as torch.

    Inputs: `wave`, float32 (batch, sample) at 16 kHz, and `lengths`, int64 (batch), the number of samples of each row.
    Outputs: for a recogniser `logits` (batch, frame, class) and `logit_lengths`, for an encoder `frames` of the last
    layer (batch, frame, dim) and `frame_lengths`. Metadata: see `OnnxFacts`.

    Args:
        system: System to export; switched to evaluation mode.
        path: File to write atomically, such as `model.onnx`. Above 1.8 GB the weights are in `model.onnx.data`.

    Raises:
        ModuleNotFoundError: The extra `export` is not installed.
        ValueError: A recogniser has no vocabulary, or the encoder is not supported.
        RuntimeError: The output of the file differs from the model's.
    """
    require_extra()
    graph = Graph(system.eval()).eval()
    facts = _facts(system)
    lengths = torch.tensor([2 * SAMPLE_RATE, SAMPLE_RATE + 77], device=next(system.parameters()).device)
    axes = {"wave": {0: "batch", 1: "sample"}, "lengths": {0: "batch"}}
    with torch.no_grad(), _tracing():
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, 2 * SAMPLE_RATE, device=lengths.device), lengths),
            dynamo=True,
            input_names=list(axes),
            output_names=[facts.output, f"{facts.output.removesuffix('s')}_lengths"],
            dynamic_shapes=tuple(axes.values()),
            opset_version=20,  # the first with GELU
            verbose=False,
        )
    assert program is not None  # noqa: S101 - always present with dynamo=True
    program.model.metadata_props.update(facts.to_metadata())
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces with the paths of this machine
    large = sum(p.numel() * p.element_size() for p in system.parameters()) > _SINGLE_FILE_BYTES
    with _whole(path) as partial:
        program.save(partial, external_data=large)
        difference = _difference(system, OnnxModel(partial))
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"expected a file that differs from torch by at most {TOLERANCE:.0e} of the largest value, got "
                f"{difference:.1e}; likely a bug in this pair of torch ({version('torch')}) and onnxruntime "
                f"({version('onnxruntime')}), or weights that are not finite: try the versions of constraints.txt"
            )
    return Exported(path, num_bytes(path), difference)


def quantize_onnx(path: Path, into: Path) -> int:
    """Quantise the weight matrices of a file to 8-bit integers, a third of the size; `gate` measures the effect.

    Weights have one scale per column, activations one per batch, computed at run time: unlike in float32, the output of
    a row depends slightly on the other rows of its batch. Convolutions and front ends are not quantised.

    Args:
        path: File written by `export_onnx`.
        into: File to write atomically.

    Returns:
        Size of the new file in bytes.

    Raises:
        ModuleNotFoundError: The extra `export` is not installed.
    """
    require_extra()
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    # Pre-processing is not needed, as constants are folded; without this entry the root logger shows a warning.
    onnx.helper.set_model_props(model, facts | {"onnx.quant.pre_process": "onnxruntime.quant"})
    with _whole(into) as partial:
        quantize_dynamic(
            model,
            partial,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,  # 7 bits: 8 bits can overflow on processors without VNNI
            weight_type=QuantType.QInt8,
            use_external_data_format=num_bytes(path) > 2 * _SINGLE_FILE_BYTES,
        )
        written = onnx.load(partial, load_external_data=False)
        onnx.helper.set_model_props(written, facts)
        onnx.save(written, partial)
    return num_bytes(into)


def _facts(system: Encoder | Ctc) -> OnnxFacts:
    recogniser = isinstance(system, Ctc)
    if recogniser and system.vocabulary is None:
        raise ValueError("the recogniser has no vocabulary, so that its output cannot be decoded; set .vocabulary")
    encoder = system.encoder if isinstance(system, Ctc) else system
    assert isinstance(encoder, Wav2Vec2)  # noqa: S101 - `Graph` refuses others
    return OnnxFacts(
        output="logits" if recogniser else "frames",
        sampling_rate=SAMPLE_RATE,
        hop_samples=system.logit_hop_samples if isinstance(system, Ctc) else system.hop_samples,
        shortest_samples=encoder.field_samples,
        vocabulary=system.vocabulary if isinstance(system, Ctc) else None,
        sori_version=version("sori"),
    )


def _difference(system: Encoder | Ctc, model: OnnxModel) -> float:
    """Return the largest relative difference from torch over valid frames, for other lengths than in the export."""
    # No row is very short: dividing by the deviation of two or three windows would amplify rounding errors.
    lengths = torch.tensor([3 * SAMPLE_RATE + 7, SAMPLE_RATE, SAMPLE_RATE // 2])
    waveform = 0.1 * torch.randn(3, 3 * SAMPLE_RATE + 7, generator=torch.Generator().manual_seed(0))
    inputs = [x.to(next(system.parameters()).device) for x in (waveform, lengths)]
    with torch.no_grad():
        expected = system.logits(*inputs) if isinstance(system, Ctc) else system.extract_features(*inputs)
    got = (model.logits if isinstance(system, Ctc) else model.extract_features)(waveform, lengths)
    real = valid(got.lengths, got.data.shape[1])
    wanted = expected.data.cpu()[real]
    return float((got.data[real] - wanted).abs().max() / wanted.abs().max())


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces the file, and its external weights, when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        partial = Path(folder) / path.name
        yield partial
        if weights_beside(partial).is_file():
            weights_beside(partial).replace(weights_beside(path))
        elif path.is_file():
            weights_beside(path).unlink(missing_ok=True)  # weights of the replaced file
        partial.replace(path)


@contextmanager
def _tracing() -> Iterator[None]:
    """Silence torch's exporter, and disable the checks of annotations that tests enable."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before, unchecked = log.level, jaxtyping.config.jaxtyping_disable
    log.setLevel(logging.ERROR)  # "torchvision is not installed"
    jaxtyping.config.update("jaxtyping_disable", True)  # a traced size is a symbol, not an int
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: .* will not be used", UserWarning)
            yield
    finally:
        log.setLevel(before)
        jaxtyping.config.update("jaxtyping_disable", unchecked)
