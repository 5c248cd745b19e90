"""Program that decodes sound files (`python -P decode_process.py`), run in processes by `sound_decoding.py`.

It reads requests from standard input, one JSON object a line, and answers with one line each, as `check_process.py`
does.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

if sys.platform == "linux":
    import resource

_SECONDS_BETWEEN_SIGNS = 2.0


def serve() -> None:
    """Process requests until the input ends."""
    copies: Any = importlib.import_module("sori.serve.sound_copies")  # once the path is set
    errors: Any = importlib.import_module("sori.core.sound.sound_error")
    process: Any = importlib.import_module("sori.data.preparation.check_process")
    memory: int = importlib.import_module("sori.data.preparation.checks").MEMORY_BYTES
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    last = time.monotonic()

    def progress() -> None:
        nonlocal last
        if time.monotonic() - last > _SECONDS_BETWEEN_SIGNS:
            last = time.monotonic()
            print(process.ALIVE, flush=True)

    print(process.GREETING, flush=True)
    for line in sys.stdin:
        request = json.loads(line)  # noqa: TID251 - from our own process
        paths = [Path(request[name]) for name in ("path", "copy", "peaks")]
        try:
            found = copies.write_copy(*paths, max_seconds=request["max_seconds"], progress=progress)
            answer = found._asdict()
        except errors.SoundError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": f"absurd header: decoding needs more than {memory >> 30} GB of memory"}
        except Exception as error:  # noqa: BLE001 - the decoder's as well: none may go unanswered
            answer = {"error": f"unreadable: {type(error).__name__}: {error}".replace(f"{paths[0].parent}/", "")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))  # the package that the caller uses
    serve()
