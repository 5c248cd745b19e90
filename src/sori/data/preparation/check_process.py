"""Program that checks sound files (`python -P check_process.py`), which `workers.py` runs in separate processes.

It reads requests from standard input, one JSON object a line, and answers with one line each. Lines that hold only
`ALIVE` come in between while a long file is being decoded.

What it imports needs no torch, which would take seconds and a quarter of a gigabyte.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from sori.core.json_values import parsed_json

if sys.platform == "linux":
    import resource

GREETING = "ready"
"""First line that the program prints."""
ALIVE = "alive"
"""Printed while a file is being decoded."""
_SECONDS_BETWEEN_SIGNS = 2.0


def serve() -> None:
    """Process requests, arguments of `checks.check`, until the input ends."""
    checks: Any = importlib.import_module("sori.data.preparation.checks")  # once the path is set
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (checks.MEMORY_BYTES, checks.MEMORY_BYTES))
    print(GREETING, flush=True)
    for line in sys.stdin:
        request: dict[str, Any] = parsed_json(line)
        try:
            request["segments"] = [checks.Segment(*values) for values in request.get("segments", [()])]
            found = checks.check(**request, progress=_Signs())
        except Exception as error:  # noqa: BLE001 - the decoder's as well: none may go unanswered
            detail, number = f"{type(error).__name__}: {error}", len(request.get("segments", [()]))
            found = [checks.Finding("unreadable", detail, segment=index) for index in range(number)]
        print(json.dumps([checks.as_json(one) for one in found]), flush=True)


class _Signs:
    """Prints a sign of life every few seconds."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self.last > _SECONDS_BETWEEN_SIGNS:
            self.last = now
            print(ALIVE, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))  # the package that the caller uses
    serve()
