"""Rows of words as text; the first row is the head, the first column names."""

from collections.abc import Sequence


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """For the screen: columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """The same as a table of Markdown."""
    head, *rows = cells
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows))
