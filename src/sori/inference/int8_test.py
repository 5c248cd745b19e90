"""Test whether a recogniser computes as well in 8-bit integers as in float32; the result is stored beside the model.

`int8.json` in a model folder allows `--precision int8`, and lets `--precision auto` choose it where it was faster.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sori.checkpoints import store
from sori.checkpoints.formats.certificate import sha256
from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config
from sori.core.files import read_json, write_text
from sori.core.precision import has_bfloat16
from sori.core.processor import processor_name
from sori.decoding.beam import BeamDecoder
from sori.evaluation import recognition, stored_decoder
from sori.evaluation.recognition import recogniser_digest
from sori.evaluation.report import scores
from sori.inference import eight_bits
from sori.inference.lower_precision import Int8Result, round_to_bfloat16
from sori.models.ctc import Ctc
from sori.models.factory import System

_SECONDS, _PAIRS = 10, 5
"""Length of the noise that is timed, and how many times."""


class StoredResult(Config):
    """Contents of `int8.json`."""

    recogniser: str
    """Digest of the recogniser's output layer and symbols."""
    weights: str = ""
    """SHA-256 of the file with all weights; results of the first version have none."""
    data: tuple[str, ...]
    """Names of the prepared folders."""
    split: str | None
    result: Int8Result


def run(
    model: str | Path,
    *,
    data: Sequence[Path],
    split: str | None = "test",
    decoder_of: Callable[[System], BeamDecoder | None] = stored_decoder.build,
) -> tuple[scores.Scores, Int8Result]:
    """Compute error rates in 8-bit integers and in float32, and store the comparison in the model folder.

    Args:
        model: model folder, run folder or name of a recogniser.
        data: prepared folders, with transcripts.
        split: split to use, for folders that name splits; None: all utterances.
        decoder_of: returns the beam search for a recogniser, or None for greedy decoding; by default with the language
            model stored with it, if that is used.

    Returns:
        The error rates, first those in integers, and the result of the test.

    Raises:
        ValueError: the processor or the model does not support 8-bit integers, sori does not write into the model's
            folder, the recogniser outputs no text, or there are no transcribed utterances.
    """
    path, (exact, rounded) = file_of(model), (store.load(model), store.load(model))
    eight_bits.convert(rounded)
    exact, rounded = (recognition.require_recogniser(one, str(model)) for one in (exact, rounded))
    found = scores.evaluate(
        [(f"{model} in int8", rounded, decoder_of(rounded)), (str(model), exact, decoder_of(exact))],
        data=data,
        split=split,
    )
    after, before = found.reports
    if not min(before.wer.rate, before.cer.rate) < 1:
        raise ValueError(
            f"expected a recogniser that outputs text, got one with a WER of {before.wer.rate:.1%} and a CER of "
            f"{before.cer.rate:.1%} in float32, so that a comparison means nothing; likely it is not trained enough, "
            "or this is not its language"
        )
    digest = recogniser_digest(exact)
    result = Int8Result(
        words=before.wer.edits.total,
        wer=(before.wer.rate, after.wer.rate),
        cer=(before.cer.rate, after.cer.rate),
        times_faster=_times_faster(rounded, exact),
        processor=processor_name(),
    )
    stored = StoredResult(
        recogniser=digest,
        weights=_weights_digest(path.parent),
        data=tuple(one.name for one in data),
        split=split,
        result=result,
    )
    write_text(path, stored.model_dump_json(indent=1) + "\n")
    return found, result


def file_of(model: str | Path) -> Path:
    """Return the path of a model's result.

    Raises:
        ValueError: the model is in another program's format, whose folders sori does not write to.
    """
    place = store.own_folder(model)
    if place is None:
        raise ValueError(
            f"{model} is a model in another program's format, and sori does not write into it: convert it first, "
            f"`sori convert {model} FOLDER`, and test that"
        )
    return place / store.INT8


def find(model: str | Path, system: object) -> Int8Result | None:
    """Return the stored result of a recogniser, or None if there is none.

    Args:
        model: folder, run folder or name.
        system: the model, as loaded from there.

    Raises:
        ValueError: the file is damaged, or belongs to another recogniser.
    """
    place = store.own_folder(model)
    if not isinstance(system, Ctc) or place is None or not (path := place / store.INT8).is_file():
        return None
    found = StoredResult.from_data(read_json(path), origin=str(path))
    if found.recogniser != recogniser_digest(system) or found.weights != _weights_digest(place):
        raise ValueError(
            f"{path} belongs to another recogniser; likely it was copied, the model was trained further, or the test "
            "is of an earlier version of sori, which did not identify all weights: remove it, or repeat "
            f"`sori evaluate {model} --data FOLDER --precision int8`"
        )
    return found.result


def _weights_digest(place: Path) -> str:
    return sha256([place / store.WEIGHTS])[store.WEIGHTS]


def _times_faster(rounded: Ctc, exact: Ctc) -> float:
    """Return the speed in integers as a multiple of that in the fastest other precision, which `exact` then has."""
    if has_bfloat16(torch.device("cpu")):
        round_to_bfloat16(exact)
    noise = torch.randn(1, _SECONDS * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    times: dict[Ctc, list[float]] = {rounded: [], exact: []}
    for _ in range(_PAIRS):
        for model, column in times.items():
            began = time.perf_counter()
            with torch.no_grad():
                model.logits(noise, torch.tensor([noise.shape[1]]))
            column.append(time.perf_counter() - began)
    return round(min(times[exact]) / min(times[rounded]), 2)
