"""Which precision matrix products have: bfloat16 only where the device computes in it."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

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


def chosen(wanted: Precision, device: torch.device) -> Precision:
    """Return the precision of a new run: the wanted one if the device has it, else float32."""
    return "bfloat16" if wanted == "bfloat16" and has_bfloat16(device) else "float32"
