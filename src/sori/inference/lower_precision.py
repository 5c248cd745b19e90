"""Precision of a recogniser in inference: bfloat16 where the processor or GPU computes in it."""

from torch import nn

from sori.core.precision import Precision, Wanted, chosen, has_bfloat16
from sori.models.ctc import Ctc
from sori.models.factory import System, encoder_of


def set_precision(model: System, wanted: Wanted = "auto") -> Precision:
    """Set the precision of a recogniser's matrix products, once, before it transcribes.

    In bfloat16 the encoder takes less than half the time on processors with AVX-512 BF16, AMX or ARM's counterpart;
    normalisations, softmax and the output layer stay in float32 (`docs/results.md` has the effect on error rates).
    The weights are rounded in place, so the model can no longer be trained further, saved or converted: load it again
    for that.

    Args:
        model: a loaded model on its device; only recognisers change.
        wanted: `auto`: bfloat16 if the device computes in it.

    Returns:
        The precision that the model has now.

    Raises:
        ValueError: bfloat16 is wanted from a device that would emulate it, or float32 from a rounded model.
    """
    if not isinstance(model, Ctc):
        return "float32"
    device = next(model.parameters()).device
    if wanted == "bfloat16" and not has_bfloat16(device):
        raise ValueError(
            f"expected a device that computes in bfloat16, got {device.type}, which would emulate it and take many "
            "times as long; use --precision auto or float32"
        )
    if model.precision == "bfloat16":
        if wanted == "float32":
            raise ValueError("expected a model in float32, got one already rounded to bfloat16; load it again")
        return model.precision
    model.precision = chosen(wanted, device)
    if model.precision == "bfloat16":
        for module in encoder_of(model).modules():
            if isinstance(module, nn.Linear):
                module.bfloat16()
    return model.precision
