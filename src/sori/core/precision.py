"""Which precision matrix products have: bfloat16 and 8-bit integers only where the device computes in them."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
"""In training."""
InferencePrecision = Literal["float32", "bfloat16", "int8"]
Wanted = Literal["auto", "float32", "bfloat16", "int8"]
"""A choice of users; `auto`: the fastest that the device computes in, int8 only for a model that passed its test."""

_CAPABILITIES = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")
"""Names of the instructions in `torch.cpu.get_capabilities`, of x86 and ARM."""
_INT8 = ("avx512_vnni", "amx_int8")
"""Instructions for products of 8-bit integers with exact sums: without them, oneDNN's sums of pairs saturate."""


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes matrix products in bfloat16.

    Where it does not, they are emulated: on a processor with AVX2 alone they take 70 times as long as in float32.
    """
    match device.type:
        case "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        case "cpu":
            found = torch.cpu.get_capabilities()
            return any(found.get(name, False) for name in _CAPABILITIES)
        case _:
            return False


def has_int8(device: torch.device) -> bool:
    """Return whether a device computes matrix products of 8-bit integers, with the operations that torch has for these.

    They are oneDNN's for x86 processors; ARM's (i8mm) were not tried.
    """
    found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(found.get(name, False) for name in _INT8)


def chosen(wanted: Precision | Literal["auto"], device: torch.device) -> Precision:
    """Return the precision of a new run: bfloat16, unless it is not wanted or the device does not have it."""
    return "bfloat16" if wanted != "float32" and has_bfloat16(device) else "float32"
