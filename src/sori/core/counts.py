"""How many of something users may ask for."""

MOST = 1_000_000_000


def require_count(name: str, number: int, *, least: int = 1, most: int = MOST) -> None:
    """Refuse a number of things that makes no sense, before anything waits for it or memory is taken for it.

    Args:
        name: what is counted, as the user calls it.
        number: how many.
        least: as few as there may be.
        most: as many.

    Raises:
        ValueError: it is no whole number, or out of these bounds.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"expected {name} to be a whole number from {least:,} to {most:,}, got {number!r}")
