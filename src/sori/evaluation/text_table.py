"""Format rows of cells as text; the first row is the header, the first column holds the row names."""

from collections.abc import Sequence


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Return the table as plain text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Return the table as Markdown."""
    head, *rows = cells
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows))
