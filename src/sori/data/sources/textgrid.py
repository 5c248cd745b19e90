"""Read Praat's TextGrid format: tiers of labelled intervals, in the long, short and binary form, UTF-8 or UTF-16.

praatio 6.2 reads the text forms only, and its errors do not name the file; the tests write files with it.
"""

import codecs
import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from sori.core.user_files import read_bytes
from sori.data.sources.intervals import Interval

_BINARY = b"ooBinaryFile"
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|<(exists|absent)>|(?<![\w\[])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w\]])')


class _CutOffError(Exception):
    """A binary file ends early."""


def read_textgrid(path: Path) -> dict[str, list[Interval]]:
    """Read the interval tiers of a file, by name, including intervals without a label; point tiers are ignored.

    Raises:
        ValueError: the file is not a TextGrid, or it is truncated.
    """
    raw = read_bytes(path)
    tokens = _binary_tokens(raw) if raw.startswith(_BINARY) else _tokens(_decoded(path, raw))
    try:
        return _tiers(tokens)
    except (StopIteration, _CutOffError):
        raise ValueError(f"{path} ends in the middle of a tier; likely truncated while it was copied") from None
    except ValueError as error:
        raise ValueError(f"{path} is not a TextGrid: {error}") from None


def _decoded(path: Path, raw: bytes) -> str:
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is neither UTF-8 nor UTF-16 ({error}); save it again in Praat with "
            "Preferences, Text writing preferences, UTF-8"
        ) from None


def _tokens(text: str) -> Iterator[str]:
    """Yield the significant tokens of a Praat file: strings without quotes, numbers and `exists`; skip the rest."""
    for found in _TOKEN.finditer(text):
        string, flag, number = found.groups()
        yield string.replace('""', '"') if string is not None else flag or number


def _tiers(tokens: Iterator[str]) -> dict[str, list[Interval]]:
    found: dict[str, list[Interval]] = {}
    head = [next(tokens, ""), next(tokens, "")]
    if head != ["ooTextFile", "TextGrid"]:
        raise ValueError(f"expected ooTextFile and TextGrid at the beginning, got {head}")
    _ = float(next(tokens)), float(next(tokens))
    if next(tokens) != "exists":
        return found
    for _ in range(int(next(tokens))):
        kind, name = next(tokens), next(tokens)
        _ = float(next(tokens)), float(next(tokens))
        count = int(next(tokens))
        if kind == "IntervalTier":
            found[name] = [Interval(float(next(tokens)), float(next(tokens)), next(tokens)) for _ in range(count)]
        elif kind == "TextTier":
            for _ in range(2 * count):
                next(tokens)
        else:
            raise ValueError(f"expected an IntervalTier or a TextTier, got {kind!r}")
    return found


# --- the binary form ---------------------------------------------------------------------------------------------


def _binary_tokens(raw: bytes) -> Iterator[str]:
    """Yield the tokens of the binary form, in the order of the text form.

    Raises:
        _CutOffError: the file ends early.
    """
    file = io.BytesIO(raw)
    _take(file, len(_BINARY))
    yield "ooTextFile"
    yield _short_string(file)
    yield from _numbers(file, ">dd")
    yield "exists" if _take(file, 1)[0] else "absent"
    count = _count(file)
    yield str(count)
    for _ in range(count):
        kind = _short_string(file)
        yield kind
        yield _string(file)
        yield from _numbers(file, ">dd")
        size = _count(file)
        yield str(size)
        for _ in range(size):
            yield from _numbers(file, ">dd" if kind == "IntervalTier" else ">d")
            yield _string(file)


def _numbers(file: io.BytesIO, form: str) -> Iterator[str]:
    yield from map(repr, struct.unpack(form, _take(file, struct.calcsize(form))))


def _count(file: io.BytesIO) -> int:
    return int.from_bytes(_take(file, 4), "big", signed=True)


def _short_string(file: io.BytesIO) -> str:
    return _take(file, _take(file, 1)[0]).decode("ascii", "replace")


def _string(file: io.BytesIO) -> str:
    """Return a string of bytes (Latin-1), or, after a length of -1, of UTF-16."""
    (length,) = struct.unpack(">H", _take(file, 2))
    if length != 0xFFFF:
        return _take(file, length).decode("latin-1")
    (length,) = struct.unpack(">H", _take(file, 2))
    return _take(file, 2 * length).decode("utf-16-be", "surrogatepass")


def _take(file: io.BytesIO, size: int) -> bytes:
    taken = file.read(size)
    if len(taken) < size:
        raise _CutOffError
    return taken
