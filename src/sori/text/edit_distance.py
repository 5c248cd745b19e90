"""Minimum edit distance alignment of two token sequences, used for all error counts and figures.

The alignment is jiwer's, also where several have the same number of edits. Counts and reports use the same call, so
they always agree.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jiwer
from jiwer import AlignmentChunk

Kind = Literal["right", "wrong", "extra", "missing"]
_KINDS: dict[str, Kind] = {"equal": "right", "substitute": "wrong", "insert": "extra", "delete": "missing"}


class Step(NamedTuple):
    """A token of the reference aligned with a token of the hypothesis."""

    kind: Kind
    reference: str
    """Empty for an extra token."""
    hypothesis: str
    """Empty for a missing token."""


def align(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[list[Step]]:
    """Align each reference with its hypothesis from left to right.

    Args:
        references: tokens of each text; a token is not empty and contains no white space.
        hypotheses: tokens of each hypothesis, in the same order.

    Returns:
        The steps of each pair; their reference tokens, joined, are the reference, and likewise for the hypothesis.
    """
    aligned = []
    for reference, hypothesis, chunks in zip(references, hypotheses, _chunks(references, hypotheses), strict=True):
        steps: list[Step] = []
        for chunk in chunks:
            left = reference[chunk.ref_start_idx : chunk.ref_end_idx] or [""] * _size(chunk)
            right = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx] or [""] * _size(chunk)
            steps += [Step(_KINDS[chunk.type], *pair) for pair in zip(left, right, strict=True)]
        aligned.append(steps)
    return aligned


def count(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[Counter[Kind]]:
    """Count the steps of each kind in the alignment of each pair, without building them."""
    counted = []
    for chunks in _chunks(references, hypotheses):
        kinds = Counter[Kind]()
        for chunk in chunks:
            kinds[_KINDS[chunk.type]] += _size(chunk)
        counted.append(kinds)
    return counted


def _chunks(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[list[AlignmentChunk]]:
    left, right = ([" ".join(tokens) for tokens in texts] for texts in (references, hypotheses))
    return jiwer.process_words(left, right).alignments


def _size(chunk: AlignmentChunk) -> int:
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
