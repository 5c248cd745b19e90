import pytest
import torch

from sori.core import precision
from sori.core.precision import chosen, has_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"avx2": True, "avx512_bf16": False}, "float32"), ({"avx512_bf16": True}, "bfloat16"), ({}, "float32")],
)
def test_bfloat16_is_for_processors_that_compute_in_it(monkeypatch, found, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert chosen("bfloat16", CPU) == expected
    assert chosen("float32", CPU) == "float32"


def test_this_processor_is_recognised():
    with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a file of the system
        flags = file.read()
    assert has_bfloat16(CPU) == ("avx512_bf16" in flags or "amx_bf16" in flags or " bf16" in flags)


def test_other_devices_do_not_have_it():
    assert not has_bfloat16(torch.device("meta"))
    assert "avx512_bf16" in precision._CAPABILITIES
