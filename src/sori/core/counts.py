"""How many or how much of something users may ask for."""

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


def require_amount(name: str, amount: float, *, most: float = 1e9) -> None:
    """Refuse an amount that is negative, not finite or absurd, before anything is computed with it.

    Args:
        name: what is measured, as the user calls it.
        amount: how much.
        most: as much as there may be.

    Raises:
        ValueError: it is not from 0 to `most`; NaN never is.
    """
    if not 0 <= amount <= most:
        raise ValueError(f"expected {name} to be a number from 0 to {most:,g}, got {amount!r}")
