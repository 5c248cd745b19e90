"""Two sequences beside each other with the fewest edits: the one alignment behind every error count and every picture.

The alignment is jiwer's. Where several have the same number of edits, it decides; counts and pages come from the same
call and cannot disagree.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jiwer
from jiwer import AlignmentChunk

Kind = Literal["right", "wrong", "extra", "missing"]
_KINDS: dict[str, Kind] = {"equal": "right", "substitute": "wrong", "insert": "extra", "delete": "missing"}


class Step(NamedTuple):
    """A token of the reference beside a token of the hypothesis."""

    kind: Kind
    reference: str
    """Empty for an extra token."""
    hypothesis: str
    """Empty for a missing token."""


def align(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[list[Step]]:
    """The steps that lead through each reference and its hypothesis from left to right.

    Args:
        references: tokens of each text; a token is not empty and holds no white space.
        hypotheses: likewise, in the same order.

    Returns:
        For each pair its steps; the references of the steps, joined, are the reference, and so for the hypothesis.
    """
    aligned = []
    for said, heard, chunks in zip(references, hypotheses, _chunks(references, hypotheses), strict=True):
        steps: list[Step] = []
        for chunk in chunks:
            left = said[chunk.ref_start_idx : chunk.ref_end_idx] or [""] * _size(chunk)
            right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx] or [""] * _size(chunk)
            steps += [Step(_KINDS[chunk.type], *pair) for pair in zip(left, right, strict=True)]
        aligned.append(steps)
    return aligned


def count(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[Counter[Kind]]:
    """How many steps of each kind `align` takes through each pair, without making them."""
    counted = []
    for chunks in _chunks(references, hypotheses):
        kinds = Counter[Kind]()
        for chunk in chunks:
            kinds[_KINDS[chunk.type]] += _size(chunk)
        counted.append(kinds)
    return counted


def _chunks(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[list[AlignmentChunk]]:
    said, heard = ([" ".join(tokens) for tokens in texts] for texts in (references, hypotheses))
    return jiwer.process_words(said, heard).alignments


def _size(chunk: AlignmentChunk) -> int:
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
