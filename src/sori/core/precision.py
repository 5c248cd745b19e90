"""Which precision matrix products have: bfloat16 only where the device computes in it."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
Wanted = Literal["auto", "float32", "bfloat16"]
"""A choice of users; `auto`: bfloat16 where the device computes in it."""

_CAPABILITIES = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")
"""Names of the instructions in `torch.cpu.get_capabilities`, of x86 and ARM."""


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


def chosen(wanted: Wanted, device: torch.device) -> Precision:
    """Return the precision of a new run: bfloat16, unless it is not wanted or the device does not have it."""
    return "bfloat16" if wanted != "float32" and has_bfloat16(device) else "float32"
