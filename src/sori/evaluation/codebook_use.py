"""What discrete codes say about phones: use, purity and mutual information.

Hsu et al. 2021 (HuBERT, section 4.3): phone purity, cluster purity and phone-normalised mutual information (PNMI).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.seeds import derive


class CodeUse(NamedTuple):
    """How a codebook is used."""

    num_codes: int
    """That there are."""
    num_used: int
    """That were chosen at least once, in any frame."""
    perplexity: float
    """Number of equally used codes that would be as hard to guess: exp of the entropy."""
    phone_purity: float
    """Share of frames that are right when each code is taken for its most frequent phone."""
    cluster_purity: float
    """Share of frames that are right when each phone is taken for its most frequent code."""
    pnmi: float
    """I(phone; code) / H(phone): the share of what there is to know about the phone that the code tells; 0 to 1."""
    chance_pnmi: float
    """The same after the phones were shuffled: what many codes and few frames feign."""


def code_use(
    codes: NDArray[np.integer[Any]], phones: NDArray[np.integer[Any]], *, num_codes: int, seed: int = 0
) -> CodeUse:
    """Use of the codes in all frames, and what they say in those that have a phone.

    Args:
        codes: of each frame, any whole numbers.
        phones: of each frame, -1 for none.
        num_codes: that there are.
        seed: of the shuffling.

    Raises:
        ValueError: lists of different lengths, or no frame with a phone.
    """
    if codes.shape != phones.shape:
        raise ValueError(f"expected as many phones as codes, got {phones.shape} and {codes.shape}")
    real = phones >= 0
    if not real.any():
        raise ValueError("expected frames with phones, got none; do the alignments belong to these recordings?")
    use = np.unique(codes, return_counts=True)[1]
    table = joint_counts(codes[real], phones[real])
    shuffled = np.random.default_rng(derive(seed, "codebook")).permutation(phones[real])
    return CodeUse(
        num_codes=num_codes,
        num_used=len(use),
        perplexity=float(np.exp(_entropy(use))),
        phone_purity=float(table.max(1).sum() / table.sum()),
        cluster_purity=float(table.max(0).sum() / table.sum()),
        pnmi=pnmi(table),
        chance_pnmi=pnmi(joint_counts(codes[real], shuffled)),
    )


def joint_counts(codes: NDArray[np.integer[Any]], phones: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """How often each code and each phone occur together, `code phone`; only those that occur."""
    rows, row = np.unique(codes, return_inverse=True)
    columns, column = np.unique(phones, return_inverse=True)
    flat = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns))
    return flat.reshape(len(rows), len(columns)).astype(np.int64)


def pnmi(table: NDArray[np.int64]) -> float:
    """I(phone; code) / H(phone) of a table of counts `code phone`; 1 for a single phone, of which all is known."""
    phone, code = _entropy(table.sum(0)), _entropy(table.sum(1))
    # With nothing to know, everything is known.
    return float((phone + code - _entropy(table.ravel())) / phone) if phone > 0 else 1.0


def _entropy(counts: NDArray[np.integer[Any]]) -> float:
    """In nats."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
