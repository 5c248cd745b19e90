"""Map tensors between names and layouts: one table of rows per format, used in both directions."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from sori.checkpoints.formats.certificate import Entry
from sori.core.shapes import Tensor


class Row(NamedTuple):
    """A tensor of sori, and the corresponding tensors in a foreign file."""

    ours: str
    theirs: tuple[str, ...]
    """One name; or several, whose tensors are concatenated along the first axis of ours."""
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    """Shapes of ours and theirs if they differ; theirs after `axes`."""
    axes: tuple[int, ...] | None = None
    """Permutation of their axes, as for `permute`."""
    order: tuple[int, ...] | None = None
    """If the first axis is classes: their class for each of ours."""


def take(
    weights: Mapping[str, Tensor], rows: Iterable[Row], *, dropped: Mapping[str, str], origin: str
) -> tuple[dict[str, Tensor], list[Entry]]:
    """Convert foreign tensors to sori's.

    Args:
        weights: All tensors of the foreign file that must be used or dropped.
        rows: Source of each of sori's tensors.
        dropped: Foreign tensors that sori does not use, with the reason.
        origin: File name for the error message.

    Returns:
        Tensors by sori's names, in 32 bit, and an entry for each foreign tensor.

    Raises:
        ValueError: Tensors are missing or not used by any row; the message names all of them.
    """
    rows = list(rows)
    expected = {name for row in rows for name in row.theirs}
    unknown = weights.keys() - expected - dropped.keys()
    problems = [f"missing: {name}" for name in sorted(expected - weights.keys())]
    problems += [f"not accounted for: {name} {list(weights[name].shape)}" for name in sorted(unknown)]
    if problems:
        raise ValueError(
            f"{origin}: its tensors are not those of the architecture in its configuration; likely an unsupported "
            "variant, or an incomplete file. Nothing was converted:\n  " + "\n  ".join(problems)
        )
    ours = {}
    entries = [Entry(source=name, target=None, how="dropped", reason=dropped[name]) for name in sorted(dropped)]
    for row in rows:
        parts = [weights[name] for name in row.theirs]
        how = "as it is"
        whole = parts[0]
        if len(parts) > 1:
            whole, how = torch.cat(parts), "stacked"
        if row.axes is not None:
            whole, how = whole.permute(row.axes), "reshaped"
        if row.shapes is not None:
            whole, how = whole.reshape(row.shapes[0]), "reshaped"
        if row.order is not None and row.order != tuple(range(len(row.order))):
            whole, how = whole[list(row.order)], "reordered"
        if whole.dtype != torch.float32:
            whole, how = whole.float(), f"{how}, widened from {str(whole.dtype).removeprefix('torch.')}"
        ours[row.ours] = whole
        entries += [Entry(source=name, target=row.ours, how=how) for name in row.theirs]
    return ours, entries


def give(weights: Mapping[str, Tensor], rows: Iterable[Row], *, origin: str) -> tuple[dict[str, Tensor], list[Entry]]:
    """Convert sori's tensors to foreign ones, the inverse of `take`; return an entry for each foreign tensor.

    Raises:
        ValueError: Tensors are missing or not supported by the format; the message names all of them.
    """
    rows = list(rows)
    expected = {row.ours for row in rows}
    problems = [f"not supported there: {name}" for name in sorted(weights.keys() - expected)]
    problems += [f"missing: {name}" for name in sorted(expected - weights.keys())]
    if problems:
        raise ValueError(f"{origin} cannot be written in this format:\n  " + "\n  ".join(problems))
    theirs, entries = {}, []
    for row in rows:
        whole = weights[row.ours].detach().cpu()
        how = "as it is"
        if row.order is not None and row.order != tuple(range(len(row.order))):
            whole, how = whole[torch.tensor(row.order).argsort()], "reordered"
        if row.shapes is not None:
            whole, how = whole.reshape(row.shapes[1]), "reshaped"
        if row.axes is not None:
            back = sorted(range(len(row.axes)), key=row.axes.__getitem__)
            whole, how = whole.permute(back), "reshaped"
        if len(row.theirs) > 1:
            how = "split"
        for name, part in zip(row.theirs, whole.chunk(len(row.theirs)), strict=True):
            theirs[name] = part.contiguous().clone() if len(row.theirs) > 1 else part.contiguous()
            entries.append(Entry(source=row.ours, target=name, how=how))
    return theirs, entries
