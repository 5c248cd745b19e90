"""Tensors under other names: one table of rows for a layout, applied both ways, with an account of every tensor."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from sori.checkpoints.formats.certificate import Entry
from sori.core.shapes import Tensor


class Row(NamedTuple):
    """A tensor of ours and where its numbers stand in a foreign file."""

    ours: str
    theirs: tuple[str, ...]
    """One name; or several, whose tensors follow each other along the first axis of ours."""
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    """Ours and theirs, where the axes differ; theirs after `axes`."""
    axes: tuple[int, ...] | None = None
    """Theirs in another order: which of their axes comes first, second ..."""
    order: tuple[int, ...] | None = None
    """Where the first axis counts classes: their class for each of ours."""


def take(
    weights: Mapping[str, Tensor], rows: Iterable[Row], *, dropped: Mapping[str, str], origin: str
) -> tuple[dict[str, Tensor], list[Entry]]:
    """Our tensors from foreign ones.

    Args:
        weights: all tensors of the foreign file that are to be accounted for.
        rows: where each of ours comes from.
        dropped: foreign tensors that have no place in ours, with the reason.
        origin: the file, for the error message.

    Returns:
        Tensors by our names, 32-bit, and an entry for each foreign tensor.

    Raises:
        ValueError: names every tensor that is missing and every one that no row asks for.
    """
    rows = list(rows)
    asked = {name for row in rows for name in row.theirs}
    unknown = weights.keys() - asked - dropped.keys()
    problems = [f"missing: {name}" for name in sorted(asked - weights.keys())]
    problems += [f"not accounted for: {name} {list(weights[name].shape)}" for name in sorted(unknown)]
    if problems:
        raise ValueError(
            f"{origin}: its tensors are not those of the architecture that its configuration describes; likely a "
            "variant that is not supported, or a file that was cut. Nothing was converted:\n  " + "\n  ".join(problems)
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
    """Foreign tensors from ours; the reverse of `take`, with an entry for each foreign tensor.

    Raises:
        ValueError: names every tensor of ours that has no place there, or that is missing.
    """
    rows = list(rows)
    asked = {row.ours for row in rows}
    problems = [f"has no place there: {name}" for name in sorted(weights.keys() - asked)]
    problems += [f"missing: {name}" for name in sorted(asked - weights.keys())]
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
