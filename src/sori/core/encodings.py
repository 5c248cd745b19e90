"""Decode UTF-8, and say what a text in another encoding probably is, with the cure."""

import codecs
import os
from os import PathLike

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD_BYTES = 64


def decoded(data: bytes, *, is_first: bool = True) -> str:
    """Return the text of UTF-8 data, without a byte order mark.

    Args:
        data: the data, or a part that ends between two characters.
        is_first: whether it is the beginning of a file.

    Raises:
        UnicodeDecodeError: it is not UTF-8, or the beginning of a file has zero bytes.
    """
    if not is_first:
        return data.decode("utf-8")
    if data.startswith(_UTF16):
        raise UnicodeDecodeError("utf-8", data, 0, 1, "byte order mark of UTF-16")
    if (zero := data.find(b"\0")) >= 0:  # without a byte order mark, ASCII text in UTF-16 is also valid UTF-8
        raise UnicodeDecodeError("utf-8", data, zero, zero + 1, "zero byte")
    return data.decode("utf-8-sig")


def not_utf8(
    path: str | PathLike[str], error: UnicodeDecodeError, *, line: int, before: int = 0, unpacked: bool = False
) -> str:
    """Return a message about a text that `decoded` refused.

    Args:
        path: the file.
        error: what was raised.
        line: number of the line with the error, from 1.
        before: number of bytes in the file before the data.
        unpacked: whether the file was decompressed.
    """
    position = f"{before + error.start} (counted from 0{', decompressed' if unpacked else ''})"
    return (
        f"expected UTF-8 text in {os.fspath(path)}, line {line}, got byte {error.object[error.start]:#04x} at position "
        f"{position}. Probably {_cause(error.object, is_first=not before)}"
    )


def _cause(data: bytes, *, is_first: bool) -> str:
    if is_first and (data.startswith(_UTF16) or _is_utf16(data)):
        return "it was saved as UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)."
    if is_first and b"\0" in data:
        return (
            "it is not text, or compressed; give a text file (.txt), or one compressed with gzip, xz or bzip2 and with "
            "the suffix .gz, .xz or .bz2."
        )
    return "it was saved in an older encoding such as Windows-1252; save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)."


def _is_utf16(data: bytes) -> bool:
    """Return whether data with zero bytes begin with printable text in UTF-16 without a byte order mark."""
    if b"\0" not in data:
        return False
    head = data[: min(_HEAD_BYTES, len(data) // 2 * 2)]
    texts = [head.decode(encoding, errors="replace").rstrip("\r\n\ufffd") for encoding in ("utf-16-le", "utf-16-be")]
    # A zero byte is half of an ASCII character there, at least of a space.
    return any(any(map(str.isascii, text)) and _is_printable(text) for text in texts)


def _is_printable(text: str) -> bool:
    return text.translate({9: " ", 10: " ", 13: " "}).isprintable() and "\ufffd" not in text
