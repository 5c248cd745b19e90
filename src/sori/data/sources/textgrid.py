"""Read Praat's TextGrid format: tiers of labelled intervals, in the long and the short form, UTF-8 or UTF-16."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from sori.core.user_files import read_bytes
from sori.data.sources.intervals import Interval

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|<(exists|absent)>|(?<![\w\[])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w\]])')


def read_textgrid(path: Path) -> dict[str, list[Interval]]:
    """Read the interval tiers of a file, by name, including intervals without a label; point tiers are ignored.

    Raises:
        ValueError: the file is not a TextGrid, or it is truncated.
    """
    tokens = _tokens(_decoded(path))
    try:
        return _tiers(tokens)
    except StopIteration:
        raise ValueError(f"{path} ends in the middle of a tier; likely truncated while it was copied") from None
    except ValueError as error:
        raise ValueError(f"{path} is not a TextGrid: {error}") from None


def _decoded(path: Path) -> str:
    raw = read_bytes(path)
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
