"""Precision of a recogniser in inference: the fastest in which the processor or GPU computes."""

from functools import cache

import torch
from torch import nn

from sori.core.config import Config
from sori.core.log import logger
from sori.core.precision import InferencePrecision, Wanted, chosen, has_bfloat16, has_int8
from sori.core.processor import processor_name
from sori.inference import eight_bits
from sori.models.ctc import Ctc
from sori.models.factory import System, encoder_of
from sori.nn.conv import PositionalConv

TOLERANCE = 0.001
"""Largest accepted increase of word and character error rate in 8-bit integers, each: 0.1 percentage points."""


class Int8Result(Config):
    """Comparison of a recogniser in 8-bit integers with itself in float32; see `int8_test.py`."""

    words: int
    """Number of words in the reference transcripts."""
    wer: tuple[float, float]
    """Word error rates as fractions, in float32 and in integers."""
    cer: tuple[float, float]
    """Character error rates, likewise."""
    times_faster: float
    """Speed as a multiple of that in the fastest other precision, on the processor of the test."""
    processor: str = ""
    """That processor (`core/processor.py`); the speed says nothing about others."""

    @property
    def passed(self) -> bool:
        """Whether neither error rate rose by more than `TOLERANCE`."""
        return all(after - before <= TOLERANCE + 1e-9 for before, after in (self.wer, self.cer))

    def __str__(self) -> str:
        """Return the comparison in one line."""
        rates = (("WER", self.wer), ("CER", self.cer))
        parts = [f"{name} {before:.2%} in float32, {after:.2%} in int8" for name, (before, after) in rates]
        return f"{'; '.join(parts)}, on {self.words:,} words; {self.times_faster} times as fast as otherwise"


def set_precision(model: System, wanted: Wanted = "auto", *, int8: Int8Result | None = None) -> InferencePrecision:
    """Set the precision of a recogniser's matrix products, once, before it transcribes.

    In bfloat16 the encoder takes less than half the time on processors with AVX-512 BF16, AMX or ARM's counterpart;
    normalisations, softmax and the output layer stay in float32 (error rates: `docs/results/speed.md`).
    8-bit integers (`eight_bits.py`) are faster still, for wav2vec 2.0's Transformer on processors with AVX-512 VNNI or
    AMX. The weights are rounded in place, so the model can no longer be trained further, saved or converted: load it
    again for that.

    Args:
        model: a loaded model on its device; only recognisers change.
        wanted: `auto`: int8 if it passed the test of this model and was faster on this processor, else bfloat16 if the
            device computes in it.
        int8: result of that test (`int8_test.find`); required for int8.

    Returns:
        The precision that the model has now.

    Raises:
        ValueError: a precision is wanted that the device does not have, float32 is wanted from a rounded model, or int8
            for a model that was not tested or did not pass.
    """
    if not isinstance(model, Ctc):
        return "float32"
    device = next(model.parameters()).device
    if wanted == "bfloat16" and not has_bfloat16(device):
        raise ValueError(
            f"expected a device that computes in bfloat16, got {device.type}, which would emulate it and take many "
            "times as long; use --precision auto or float32"
        )
    if model.precision != "float32":
        if wanted not in ("auto", model.precision):
            raise ValueError(
                f"expected a model in float32, got one already rounded to {model.precision}; load it again"
            )
        return model.precision
    if wanted == "int8":
        _require_passed(int8)
        eight_bits.convert(model)
    elif wanted == "auto" and int8 is not None and _is_better(model, int8):
        eight_bits.convert(model)
    elif wanted != "float32" and chosen("auto", device) == "bfloat16":
        round_to_bfloat16(model)
    return model.precision


def round_to_bfloat16(model: Ctc) -> None:
    """Round the weights of the encoder's linear layers in place."""
    model.precision = "bfloat16"
    for module in encoder_of(model).modules():
        if isinstance(module, nn.Linear):
            module.bfloat16()
        elif isinstance(module, PositionalConv):
            module.fold(torch.bfloat16)


def _is_better(model: Ctc, result: Int8Result) -> bool:
    usable = has_int8(next(model.parameters()).device) and eight_bits.is_supported(model)
    if not usable or not result.passed:
        return False
    if result.processor != processor_name():
        _log_once(
            f"8-bit integers are not chosen: their speed was measured on {result.processor or 'an unknown processor'}, "
            f"this is {processor_name()}; use --precision int8, or repeat the test here: "
            "`sori evaluate MODEL --data FOLDER --precision int8`"
        )
        return False
    return result.times_faster > 1


@cache
def _log_once(message: str) -> None:
    logger.info(message)


def _require_passed(result: Int8Result | None) -> None:
    if result is None:
        raise ValueError(
            "expected a recogniser that was tested in 8-bit integers, got one without such a test. Error rates may "
            "rise, so test it on transcribed speech, some thousand words: "
            "`sori evaluate MODEL --data FOLDER --precision int8`"
        )
    if not result.passed:
        raise ValueError(
            f"expected error rates in 8-bit integers at most {TOLERANCE:.1%} higher, got {result}; use --precision "
            "auto, or repeat the test on more speech if it was little: "
            "`sori evaluate MODEL --data FOLDER --precision int8`"
        )
