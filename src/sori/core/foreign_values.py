"""Show values of foreign files in messages: escaped, and shortened whatever their size and depth."""

import reprlib

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 2, 80, 80


def shown(value: object) -> str:
    """Return a short `repr` of a foreign value, without control characters."""
    try:
        return _REPR.repr(value)
    except ValueError:  # Python writes no integers of over 4,300 digits
        return f"<{type(value).__name__}>"


def shortened(message: object) -> str:
    """Return the beginning of a message of another library, which may quote foreign values."""
    text = str(message)[:300]
    return "".join(letter if letter.isprintable() else " " for letter in text)
