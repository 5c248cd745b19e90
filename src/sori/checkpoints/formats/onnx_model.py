"""Run an exported ONNX file in onnxruntime, and compare two files of one recogniser."""

import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.json_values import parsed_json
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.core.user_files import require_file
from sori.nn.lengths import num_frames
from sori.text.vocabulary import Vocabulary


class OnnxFacts(NamedTuple):
    """Metadata of a file; the field names are its keys."""

    output: str
    """Name of the output: `logits` of a recogniser, or `frames` of an encoder."""
    sampling_rate: int
    """Sampling rate of the input in Hz; mono, -1 to 1, not normalised (the graph normalises)."""
    hop_samples: float
    """Number of samples per output frame."""
    shortest_samples: int
    """Minimal number of samples; a shorter row has no output, a batch of only shorter rows is an error."""
    vocabulary: Vocabulary | None
    """Vocabulary of a recogniser, stored as JSON: its `symbols` are the classes, the first is the blank."""
    sori_version: str
    """Version of sori that wrote the file."""

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata as strings, without fields that are None."""
        texts = {name: str(value) for name, value in self._asdict().items() if value is not None}
        return texts | ({"vocabulary": self.vocabulary.model_dump_json()} if self.vocabulary else {})

    @classmethod
    def from_metadata(cls, texts: Mapping[str, str]) -> "OnnxFacts":
        """Parse the output of `to_metadata`; raise KeyError for missing fields."""
        return cls(
            output=texts["output"],
            sampling_rate=int(texts["sampling_rate"]),
            hop_samples=float(texts["hop_samples"]),
            shortest_samples=int(texts["shortest_samples"]),
            vocabulary=_vocabulary(texts["vocabulary"]) if "vocabulary" in texts else None,
            sori_version=texts["sori_version"],
        )


class OnnxModel:
    """A file of `export_onnx` or `quantize_onnx` in onnxruntime, on the CPU, with torch's number of threads.

    Args:
        path: The file.

    Raises:
        ModuleNotFoundError: The extra `export` is not installed.
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, or was not written by sori.
    """

    def __init__(self, path: Path) -> None:
        require_extra()
        import onnxruntime

        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; `export_onnx` writes one")
        require_file(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - its exceptions have no other common base
            raise ValueError(
                f"onnxruntime cannot read {path} ({error}); likely it is incomplete, or its weights "
                f"({weights_beside(path).name}) are not beside it: copy or export it again"
            ) from None
        texts = self._session.get_modelmeta().custom_metadata_map
        try:
            self.facts = OnnxFacts.from_metadata(texts)
        except KeyError as missing:
            raise ValueError(
                f"{path} has no {missing} in its metadata; likely it was written by another program, or its metadata "
                "was removed: use the file written by `export_onnx`"
            ) from None
        self.path = path
        self.seconds_processed = self.seconds_taken = 0.0
        """Seconds of audio processed so far, without padding, and of computing time."""

    def logits(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the same as `Ctc.logits`, on the CPU.

        Raises:
            ValueError: The file holds an encoder, or a row is shorter than one frame.
        """
        return self._run("logits", waveform, lengths)

    def extract_features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return the same as `Wav2Vec2.extract_features` for the last layer, on the CPU.

        Raises:
            ValueError: The file holds a recogniser, or a row is shorter than one frame.
        """
        return self._run("frames", waveform, lengths)

    def _run(self, output: str, waveform: Tensor, lengths: Tensor) -> Frames:
        if self.facts.output != output:
            raise ValueError(
                f"expected a file with output {output}, got {self.path} with output {self.facts.output}; a recogniser "
                "is exported with its logits only, an encoder with its frames: export the other model"
            )
        num_frames(lengths, field_samples=self.facts.shortest_samples, hop_samples=1)  # refuses short rows
        inputs = {"wave": waveform.detach().cpu().numpy(), "lengths": lengths.cpu().numpy()}
        start = time.perf_counter()
        data, data_lengths = self._session.run(None, inputs)
        self.seconds_taken += time.perf_counter() - start
        self.seconds_processed += float(lengths.sum()) / SAMPLE_RATE
        return Frames(torch.from_numpy(data), torch.from_numpy(data_lengths))


def _vocabulary(text: str) -> Vocabulary:
    return Vocabulary.from_stored(parsed_json(text), origin="the vocabulary in the metadata")


class ErrorRates(NamedTuple):
    """Word and character error rate, as fractions: 0.05 is 5 %."""

    wer: float
    cer: float


class Measured(NamedTuple):
    """Accuracy, size and speed of a file."""

    rates: ErrorRates
    num_bytes: int
    seconds_per_hour: float
    """Computing time per hour of audio, on this machine with torch's number of threads."""
    seconds_processed: float
    """Seconds of audio used for the measurement."""


class Gate(NamedTuple):
    """Comparison of two files of one recogniser, the second to replace the first."""

    before: Measured
    after: Measured
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether neither error rate rose by more than the tolerance."""
        pairs = zip(self.after.rates, self.before.rates, strict=True)
        return all(after - before <= self.tolerance for after, before in pairs)  # NaN: not passed


def gate(before: Path, after: Path, score: Callable[[OnnxModel], ErrorRates], *, tolerance: float) -> Gate:
    """Compare error rates, sizes and speeds of two files of one recogniser, such as float32 and quantised.

    Args:
        before: Reference file.
        after: File to replace it.
        score: Computes the error rates of a model on transcribed utterances, the same in each call.
        tolerance: Largest accepted increase of WER and CER, each: 0.005 is one more error in 200.

    Raises:
        ValueError: The utterances do not allow a comparison.
    """
    one, other = _measure(before, score), _measure(after, score)
    if not one.seconds_processed or one.seconds_processed != other.seconds_processed:
        raise ValueError(
            f"expected both files to process the same transcribed utterances, got {one.seconds_processed:.1f} s and "
            f"{other.seconds_processed:.1f} s of audio; likely none has a transcript, or `score` selects other ones in "
            "each call"
        )
    if not min(one.rates) < 1:
        raise ValueError(
            f"{before} has a WER of {one.rates.wer:.1%} and a CER of {one.rates.cer:.1%}, no better than empty output, "
            "so that a comparison means nothing; likely the model is not trained, or this is not its language"
        )
    return Gate(one, other, tolerance)


def _measure(path: Path, score: Callable[[OnnxModel], ErrorRates]) -> Measured:
    model = OnnxModel(path)
    model.logits(torch.zeros(1, SAMPLE_RATE), torch.tensor([SAMPLE_RATE]))  # warm-up
    model.seconds_processed = model.seconds_taken = 0.0
    rates = score(model)
    per_hour = 3600 * model.seconds_taken / model.seconds_processed if model.seconds_processed else math.nan
    return Measured(rates, num_bytes(path), per_hour, model.seconds_processed)


def weights_beside(path: Path) -> Path:
    """Return the path of the external weights of a model too large for one file."""
    return path.with_name(f"{path.name}.data")


def num_bytes(path: Path) -> int:
    """Return the size of a model in bytes, with external weights."""
    return sum(file.stat().st_size for file in (path, weights_beside(path)) if file.is_file())


def require_extra() -> None:
    """Check that the packages for ONNX are installed.

    Raises:
        ModuleNotFoundError: The extra `export` is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"ONNX needs {', '.join(missing)}: `pip install 'sori[export]'`")
