"""Map tensors between names and layouts: one table of rows per format, used in both directions."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from sori.checkpoints.formats.certificate import Entry
from sori.core.shapes import Tensor

_MAX_PROBLEMS = 1000
"""Number of tensors named in a message."""


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


def require_count(name: str, count: int, weights: Mapping[str, Tensor], *, origin: str) -> None:
    """Check a number of layers, each of which has tensors, before a list of that length is made.

    Raises:
        ValueError: There are fewer tensors than layers.
    """
    if count > len(weights):
        raise ValueError(
            f"{origin}: {name} is {count:,}, but the file has only {len(weights):,} tensors; likely the settings are "
            "those of another file, or were made to take all memory. Get both from the same source"
        )


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
        ValueError: Tensors are missing or not used by any row; the message names all of them. Or one has another shape
            than the settings imply.
    """
    rows = list(rows)
    expected = {name for row in rows for name in row.theirs}
    unknown = weights.keys() - expected - dropped.keys()
    problems = [f"missing: {name}" for name in sorted(expected - weights.keys())]
    problems += [f"not accounted for: {name} {list(weights[name].shape)}" for name in sorted(unknown)]
    if problems:
        raise ValueError(
            f"{origin}: its tensors are not those of the architecture in its configuration; likely an unsupported "
            "variant, or an incomplete file. Nothing was converted:\n  " + "\n  ".join(problems[:_MAX_PROBLEMS])
        )
    ours = {}
    entries = [Entry(source=name, target=None, how="dropped", reason=dropped[name]) for name in sorted(dropped)]
    for row in rows:
        whole, how = _joined(row, [weights[name] for name in row.theirs], origin)
        if whole.dtype != torch.float32:
            whole, how = whole.float(), f"{how}, widened from {str(whole.dtype).removeprefix('torch.')}"
        ours[row.ours] = whole
        entries += [Entry(source=name, target=row.ours, how=how) for name in row.theirs]
    return ours, entries


def _joined(row: Row, parts: list[Tensor], origin: str) -> tuple[Tensor, str]:
    """Return the tensor of a row in sori's layout, and what was done."""
    whole, how = parts[0], "as it is"
    if any(part.ndim == 0 or part.shape[1:] != whole.shape[1:] for part in parts[1:]):
        raise _other_shape(row, parts, "tensors that differ in the first axis only", origin)
    if len(parts) > 1:
        whole, how = torch.cat(parts), "stacked"
    if row.axes is not None:
        if whole.ndim != len(row.axes):
            raise _other_shape(row, parts, f"{len(row.axes)} axes", origin)
        whole, how = whole.permute(row.axes), "reshaped"
    if row.shapes is not None:
        if tuple(whole.shape) != row.shapes[1]:
            raise _other_shape(row, parts, f"{row.shapes[1]}", origin)
        whole, how = whole.reshape(row.shapes[0]), "reshaped"
    if row.order is not None:
        if whole.ndim == 0 or len(whole) <= max(row.order):
            raise _other_shape(row, parts, f"a row for each of {max(row.order) + 1} classes", origin)
        if row.order != tuple(range(len(row.order))):
            whole, how = whole[list(row.order)], "reordered"
    return whole, how


def _other_shape(row: Row, parts: list[Tensor], expected: str, origin: str) -> ValueError:
    got = ", ".join(str(tuple(part.shape)) for part in parts)
    return ValueError(
        f"{origin}: by its settings {row.theirs[0]} should be {expected}, got {got}; likely the settings are those of "
        "another file"
    )


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
