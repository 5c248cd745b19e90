"""Parse JSON that may come from anywhere."""

import json
from typing import Any


def parsed_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested too deeply to be data of a program.
    """
    try:
        return json.loads(text)  # noqa: TID251 - the place for it
    except RecursionError:
        raise ValueError("nested too deeply") from None
