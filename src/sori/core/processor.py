"""Name of the processor, for figures that are valid on one kind of it only."""

import platform
from functools import cache
from pathlib import Path


@cache
def processor_name() -> str:
    """Return the model of the processor as the operating system states it, such as `AMD EPYC 9R14`."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux; `platform` states the architecture only there
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
