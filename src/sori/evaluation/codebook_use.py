"""Codebook use, and the agreement of discrete units with phones: purity and mutual information.

Hsu et al. 2021 (HuBERT, section 4.3): phone purity, cluster purity and phone-normalised mutual information (PNMI).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.seeds import derive


class CodebookUse(NamedTuple):
    """Use of a codebook and its agreement with phones."""

    num_codes: int
    """Size of the codebook."""
    num_used: int
    """Number of entries chosen in at least one frame."""
    perplexity: float
    """Exponential of the entropy of the unit distribution: the effective number of entries."""
    phone_purity: float
    """Accuracy if each unit is mapped to its most frequent phone."""
    cluster_purity: float
    """Accuracy if each phone is mapped to its most frequent unit."""
    pnmi: float
    """I(phone; unit) / H(phone): the fraction of the phone entropy that the units explain; 0 to 1."""
    chance_pnmi: float
    """PNMI with shuffled phones: the bias from many units and few frames."""


def codebook_use(
    units: NDArray[np.integer[Any]], phones: NDArray[np.integer[Any]], *, num_codes: int, seed: int = 0
) -> CodebookUse:
    """Measure the use of a codebook over all frames, and its agreement with phones over the frames that have one.

    Args:
        units: unit of each frame, any integers.
        phones: phone of each frame, -1 for none.
        num_codes: size of the codebook.
        seed: seed of the shuffling.

    Raises:
        ValueError: the lists differ in length, or no frame has a phone.
    """
    if units.shape != phones.shape:
        raise ValueError(f"expected as many phones as units, got {phones.shape} and {units.shape}")
    real = phones >= 0
    if not real.any():
        raise ValueError("expected frames with phones, got none; do the alignments belong to these recordings?")
    use = np.unique(units, return_counts=True)[1]
    table = joint_counts(units[real], phones[real])
    shuffled = np.random.default_rng(derive(seed, "codebook")).permutation(phones[real])
    return CodebookUse(
        num_codes=num_codes,
        num_used=len(use),
        perplexity=float(np.exp(_entropy(use))),
        phone_purity=float(table.max(1).sum() / table.sum()),
        cluster_purity=float(table.max(0).sum() / table.sum()),
        pnmi=pnmi(table),
        chance_pnmi=pnmi(joint_counts(units[real], shuffled)),
    )


def joint_counts(units: NDArray[np.integer[Any]], phones: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the co-occurrence counts of units and phones, `unit phone`, for those that occur."""
    rows, row = np.unique(units, return_inverse=True)
    columns, column = np.unique(phones, return_inverse=True)
    flat = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns))
    return flat.reshape(len(rows), len(columns)).astype(np.int64)


def pnmi(table: NDArray[np.int64]) -> float:
    """Return I(phone; unit) / H(phone) for a table of counts `unit phone`; 1 if there is a single phone."""
    phone, unit = _entropy(table.sum(0)), _entropy(table.sum(1))
    return float((phone + unit - _entropy(table.ravel())) / phone) if phone > 0 else 1.0


def _entropy(counts: NDArray[np.integer[Any]]) -> float:
    """Return the entropy in nats."""
    fraction = counts[counts > 0] / counts.sum()
    return float(-(fraction * np.log(fraction)).sum())
