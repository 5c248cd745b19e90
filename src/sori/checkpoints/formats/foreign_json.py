"""Read files of other programs as validated data: the fields that sori uses, of the types that it expects."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sori.core.files import read_json
from sori.core.foreign_values import shown

MAX_BYTES = 100 << 20
"""Largest file. Published vocabularies have up to 10 MB."""
_MAX_PROBLEMS = 10
T = TypeVar("T", bound=BaseModel)


class Foreign(BaseModel):
    """Fields of another program's JSON file; other fields are ignored, and types are not converted."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def read_if_there(path: Path) -> Any:
    """Read a JSON file; return None if it does not exist.

    Raises:
        ValueError: The file cannot be read.
    """
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected a JSON file of at most {MAX_BYTES >> 20} MiB; likely it is another file")
    return read_json(path)


def checked(kind: type[T], data: Any, path: Path | str, *, program: str = "transformers") -> T:
    """Validate the content of a file.

    Args:
        kind: A subclass of `Foreign`, or a `RootModel`.
        data: Content of the file.
        path: The file, for the message.
        program: What writes such files, for the message.

    Raises:
        ValueError: The content is of another type; the message names file, field, expected type and value.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()[:_MAX_PROBLEMS]]
        raise ValueError(
            f"{path} is not as {program} writes it; likely it was changed by hand or is damaged: copy it again\n  "
            + "\n  ".join(lines)
        ) from None


def _explain(problem: Any) -> str:
    where = ".".join(shown(part)[1:-1] if isinstance(part, str) else str(part) for part in problem["loc"])
    expected = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    return f"{where or 'the file'}: {expected}, got {shown(problem['input'])}"
