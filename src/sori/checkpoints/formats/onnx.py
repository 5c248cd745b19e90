"""A model as one ONNX file that explains itself, and the same in 8-bit integers.

The file takes raw waves, any number and length of them, padded with anything, and gives each row what the row would get
alone. `export_onnx` compares it with torch before it leaves it behind.
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
"""Largest difference to torch, as a share of the largest value."""
_SINGLE_FILE_BYTES = 1_800_000_000
"""A file in this format ends at 2 GiB; of a larger model the weights go into a second one beside it."""


class Exported(NamedTuple):
    """A file that was written and compared with its model."""

    path: Path
    num_bytes: int
    difference: float
    """Largest one to torch for a padded batch of noise, as a share of the largest value."""


def export_onnx(system: Encoder | Ctc, path: Path) -> Exported:
    """Write a model as ONNX, and make sure that onnxruntime computes with it what torch does.

    Inputs: `wave` float32 (batch, sample) at 16 kHz and `lengths` int64 (batch), the real samples of each row. Outputs:
    of a recogniser `logits` (batch, frame, class) and `logit_lengths`, of an encoder the last layer's `frames` (batch,
    frame, dim) and `frame_lengths`. The metadata says the rest: `OnnxFacts`.

    Args:
        system: is put into evaluation mode.
        path: of the file, such as `model.onnx`; appears whole or not at all. Above 1.8 GB the weights lie beside it, in
            `model.onnx.data`.

    Raises:
        ModuleNotFoundError: the extra `export` is not installed.
        ValueError: a recogniser without a vocabulary, or an encoder that has no form as a graph.
        RuntimeError: the file does not compute what the model does.
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
            dynamic_shapes=axes,
            opset_version=20,  # the first with GELU
            verbose=False,
        )
    assert program is not None  # noqa: S101 - with dynamo=True there always is one
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
                f"{difference:.1e}; likely a fault of this pair of torch ({version('torch')}) and onnxruntime "
                f"({version('onnxruntime')}), or weights that are not finite: try the versions of constraints.txt"
            )
    return Exported(path, num_bytes(path), difference)


def quantize_onnx(path: Path, into: Path) -> int:
    """Write a file again with its weight matrices as 8-bit integers: a third of the size; `gate` measures the cost.

    Weights have one scale for each column, activations one for the whole batch, found while computing: rows that share
    a batch change each other's answers a little, unlike in float32. Convolutions and front ends stay as they are.

    Args:
        path: from `export_onnx`.
        into: of the new file; appears whole or not at all.

    Returns:
        Bytes of the new file.

    Raises:
        ModuleNotFoundError: the extra `export` is not installed.
    """
    require_extra()
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    # Nothing is left to prepare, the constants are folded; without this mark a warning says so on the root logger.
    onnx.helper.set_model_props(model, facts | {"onnx.quant.pre_process": "onnxruntime.quant"})
    with _whole(into) as partial:
        quantize_dynamic(
            model,
            partial,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,  # 7 bits: with 8, sums overflow on processors without VNNI, where no gate would see it
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
        raise ValueError("the recogniser has no vocabulary, so nobody could read what it writes; set .vocabulary")
    encoder = system.encoder if isinstance(system, Ctc) else system
    assert isinstance(encoder, Wav2Vec2)  # noqa: S101 - `Graph` refused others
    return OnnxFacts(
        output="logits" if recogniser else "frames",
        sampling_rate=SAMPLE_RATE,
        hop_samples=system.logit_hop_samples if isinstance(system, Ctc) else system.hop_samples,
        shortest_samples=encoder.field_samples,
        vocabulary=system.vocabulary if isinstance(system, Ctc) else None,
        sori_version=version("sori"),
    )


def _difference(system: Encoder | Ctc, model: OnnxModel) -> float:
    """To torch, over real frames; the lengths are others than those it was exported with."""
    # None is very short: dividing by the deviation of two or three windows would magnify rounding.
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
    """Where to write a file of the same name that takes its place once it, and what lies beside it, is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        partial = Path(folder) / path.name
        yield partial
        if weights_beside(partial).is_file():
            weights_beside(partial).replace(weights_beside(path))
        elif path.is_file():
            weights_beside(path).unlink(missing_ok=True)  # those of the file that is replaced
        partial.replace(path)


@contextmanager
def _tracing() -> Iterator[None]:
    """Without what torch's exporter says of itself, and without checks of annotations, where tests have them on."""
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
