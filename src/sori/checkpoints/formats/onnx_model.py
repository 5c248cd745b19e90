"""An ONNX file of ours at work in onnxruntime, and whether one may take the place of another."""

import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.core.user_files import require_file
from sori.nn.lengths import num_frames
from sori.text.vocabulary import Vocabulary


class OnnxFacts(NamedTuple):
    """What a file says of itself; the names are the keys of its metadata."""

    output: str
    """`logits` of a recogniser, or `frames` of an encoder."""
    sampling_rate: int
    """Hz, of the waves it takes: mono, -1 to 1, as they are (what normalises them is inside)."""
    hop_samples: float
    """Samples from one output to the next."""
    shortest_samples: int
    """A shorter row has no output; a batch without a longer one is an error."""
    vocabulary: Vocabulary | None
    """Of a recogniser, as JSON: its `symbols` are the classes, the first is the blank."""
    sori_version: str
    """That wrote it."""

    def to_metadata(self) -> dict[str, str]:
        """As text, None left out."""
        texts = {name: str(value) for name, value in self._asdict().items() if value is not None}
        return texts | ({"vocabulary": self.vocabulary.model_dump_json()} if self.vocabulary else {})

    @classmethod
    def from_metadata(cls, texts: Mapping[str, str]) -> "OnnxFacts":
        """Read what `to_metadata` wrote; KeyError for what is missing."""
        return cls(
            output=texts["output"],
            sampling_rate=int(texts["sampling_rate"]),
            hop_samples=float(texts["hop_samples"]),
            shortest_samples=int(texts["shortest_samples"]),
            vocabulary=Vocabulary.model_validate_json(texts["vocabulary"]) if "vocabulary" in texts else None,
            sori_version=texts["sori_version"],
        )


class OnnxModel:
    """A file of `export_onnx` or `quantize_onnx` in onnxruntime, on the CPU, with as many threads as torch has.

    Args:
        path: of the file.

    Raises:
        ModuleNotFoundError: the extra `export` is not installed.
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or not one of ours.
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
        except Exception as error:  # noqa: BLE001 - its exceptions share no other base
            raise ValueError(
                f"onnxruntime cannot read {path} ({error}); likely it was cut short, or its weights "
                f"({weights_beside(path).name}) are not beside it: copy or export it again"
            ) from None
        texts = self._session.get_modelmeta().custom_metadata_map
        try:
            self.facts = OnnxFacts.from_metadata(texts)
        except KeyError as missing:
            raise ValueError(
                f"{path} does not say its {missing} in its metadata; likely another program wrote it, or threw the "
                "metadata away: give the file that `export_onnx` wrote"
            ) from None
        self.path = path
        self.seconds_heard = self.seconds_taken = 0.0
        """Of audio until now, without padding, and of computing."""

    def logits(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """What `Ctc.logits` gives, on the CPU.

        Raises:
            ValueError: the file holds an encoder, or a row is shorter than one frame.
        """
        return self._run("logits", waveform, lengths)

    def extract_features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """What `Wav2Vec2.frames` gives for the last layer, on the CPU.

        Raises:
            ValueError: the file holds a recogniser, or a row is shorter than one frame.
        """
        return self._run("frames", waveform, lengths)

    def _run(self, output: str, waveform: Tensor, lengths: Tensor) -> Frames:
        if self.facts.output != output:
            raise ValueError(
                f"expected a file that gives {output}, got {self.path}, which gives {self.facts.output}; a recogniser "
                "is exported with its logits only, an encoder with its frames: export the other model"
            )
        num_frames(lengths, field_samples=self.facts.shortest_samples, hop_samples=1)  # complains of short ones
        inputs = {"wave": waveform.detach().cpu().numpy(), "lengths": lengths.cpu().numpy()}
        start = time.perf_counter()
        data, data_lengths = self._session.run(None, inputs)
        self.seconds_taken += time.perf_counter() - start
        self.seconds_heard += float(lengths.sum()) / SAMPLE_RATE
        return Frames(torch.from_numpy(data), torch.from_numpy(data_lengths))


class ErrorRates(NamedTuple):
    """Errors by length of the references: 0.05 is five in a hundred."""

    wer: float
    cer: float


class Measured(NamedTuple):
    """What a file achieves, and at what cost."""

    rates: ErrorRates
    num_bytes: int
    seconds_per_hour: float
    """Of computing, for an hour of audio, on this machine and as many threads as torch has."""
    seconds_heard: float
    """Of audio that this was measured on."""


class Gate(NamedTuple):
    """Two files of one recogniser, the second to take the place of the first."""

    before: Measured
    after: Measured
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether neither error rate rose by more than the tolerance."""
        pairs = zip(self.after.rates, self.before.rates, strict=True)
        return all(after - before <= self.tolerance for after, before in pairs)  # not a number: not passed


def gate(before: Path, after: Path, score: Callable[[OnnxModel], ErrorRates], *, tolerance: float) -> Gate:
    """Error rates, sizes and speeds of two files of one recogniser, such as float32 and quantised.

    Args:
        before: the trusted file.
        after: the one to take its place.
        score: lets a model write down labelled utterances, the same each time, and counts its errors.
        tolerance: by how much WER and CER may each rise: 0.005 is one error more among 200.

    Raises:
        ValueError: these utterances show nothing.
    """
    one, other = _measure(before, score), _measure(after, score)
    if not one.seconds_heard or one.seconds_heard != other.seconds_heard:
        raise ValueError(
            f"expected both files to hear the same labelled utterances, got {one.seconds_heard:.1f} s and "
            f"{other.seconds_heard:.1f} s of audio; likely none has a transcript, or they are drawn anew each time"
        )
    if not min(one.rates) < 1:
        raise ValueError(
            f"{before} has a WER of {one.rates.wer:.1%} and a CER of {one.rates.cer:.1%}, like a file that writes "
            "nothing, so that no other could do worse; likely it is untrained, or this is not its language"
        )
    return Gate(one, other, tolerance)


def _measure(path: Path, score: Callable[[OnnxModel], ErrorRates]) -> Measured:
    model = OnnxModel(path)
    model.logits(torch.zeros(1, SAMPLE_RATE), torch.tensor([SAMPLE_RATE]))  # the first call also prepares
    model.seconds_heard = model.seconds_taken = 0.0
    rates = score(model)
    per_hour = 3600 * model.seconds_taken / model.seconds_heard if model.seconds_heard else math.nan
    return Measured(rates, num_bytes(path), per_hour, model.seconds_heard)


def weights_beside(path: Path) -> Path:
    """Where the weights of a model lie that is too large for one file."""
    return path.with_name(f"{path.name}.data")


def num_bytes(path: Path) -> int:
    """Of a model, with the weights beside it."""
    return sum(file.stat().st_size for file in (path, weights_beside(path)) if file.is_file())


def require_extra() -> None:
    """Explain how to get what is needed for ONNX.

    Raises:
        ModuleNotFoundError: the extra `export` is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"ONNX needs {', '.join(missing)}: `pip install 'sori[export]'`")
