"""Count the units of a quantiser by language, and compare languages by their unit use (arXiv 2006.13979, figure 2).

Each language is counted in two halves, of different speakers if it has several. The distance between the halves shows
how much of the distance between two languages is due to speakers, recording conditions and the limited amount of audio.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from sori.core.shapes import Float, Int, Tensor
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance


class UnitCounts(NamedTuple):
    """Unit counts by language."""

    names: tuple[str, ...]
    """Languages in alphabetical order."""
    counts: Int[Tensor, "language half group unit"]
    """Number of frames of each unit."""

    @property
    def distances(self) -> Float[Tensor, "half other_half"]:
        """Return the distances between all halves, ordered by language: 0 for equal use, 1 for no unit in common.

        The square root of the Jensen-Shannon divergence in bits, averaged over the groups: a metric.
        """
        counts = self.counts.flatten(0, 1).double()
        p = counts / counts.sum(-1, keepdim=True)
        middle = (p[:, None] + p[None]) / 2
        bits = _entropy(middle) - (_entropy(p)[:, None] + _entropy(p)[None]) / 2
        return bits.mean(-1).clamp(min=0).sqrt()

    @property
    def between(self) -> Float[Tensor, "language other_language"]:
        """Return the mean distance between halves of two languages; on the diagonal, between those of one language."""
        num = len(self.names)
        blocks = self.distances.view(num, 2, num, 2).transpose(1, 2)
        between: Tensor = blocks.mean((2, 3))
        between.diagonal().copy_(blocks[range(num), range(num), 0, 1])
        return between

    @property
    def owned(self) -> Float[Tensor, "language group unit"]:
        """Return each language's fraction of the use of each unit, languages weighted equally; 0 for unused units."""
        counts = self.counts.sum(1).double()
        frequencies = counts / counts.sum(-1, keepdim=True)
        owned: Tensor = frequencies / frequencies.sum(0).clamp(min=torch.finfo(torch.double).tiny)
        return owned

    @property
    def num_owned(self) -> list[int]:
        """Return, for each language, how many units it uses more than all others together."""
        return (self.owned > 0.5).sum((1, 2)).tolist()


def count_units(
    units: Callable[[Float[Tensor, "batch sample"]], Int[Tensor, "batch frame group"]],
    utterances: Sequence[Utterance],
    *,
    num_codes: int,
    minutes: float,
    shortest: int,
) -> UnitCounts:
    """Count units by language.

    Args:
        units: returns the units of a waveform.
        utterances: utterances; those without a language are left out.
        num_codes: number of codebook entries in each group.
        minutes: maximum amount of audio per language, from as many speakers as possible.
        shortest: shorter utterances are left out; in samples.

    Raises:
        ValueError: fewer than two languages have at least two utterances.
    """
    of_language: dict[str, list[Utterance]] = {}
    for u in utterances:
        if u.language is not None and u.num_samples >= shortest:
            of_language.setdefault(u.language, []).append(u)
    enough = {name: found for name, found in of_language.items() if len(found) > 1}
    if len(enough) < 2:
        found = ", ".join(f"{len(one)} of {name}" for name, one in sorted(of_language.items())) or "none"
        raise ValueError(
            f"expected two or more languages with two or more utterances each, got {found} ({len(utterances)} in all); "
            "likely the folders were prepared without `--language CODE`, or only one of them was given"
        )
    names = tuple(sorted(enough))
    counts = []
    for name in names:
        for whole in halves(enough[name]):
            half = _at_most(whole, minutes / 2)
            reader = FileReader(half)
            units_of_half = [units(reader(row, 0, u.num_samples)[None])[0] for row, u in enumerate(half)]
            counts.append(functional.one_hot(torch.cat(units_of_half), num_codes).sum(0))
    return UnitCounts(names, torch.stack(counts).view(len(names), 2, *counts[0].shape))


def halves(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Split utterances into two halves of similar duration, by speaker if there are several."""
    speakers: dict[str | None, list[Utterance]] = {}
    for u in utterances:
        speakers.setdefault(u.speaker, []).append(u)
    groups = list(speakers.values()) if len(speakers) > 1 else [[u] for u in utterances]
    made: tuple[list[Utterance], list[Utterance]] = ([], [])
    filled = [0.0, 0.0]
    for seconds, group in sorted(((_seconds(group), group) for group in groups), key=lambda one: -one[0]):
        less = int(filled[1] < filled[0])
        made[less].extend(group)
        filled[less] += seconds
    return made


def _at_most(utterances: Sequence[Utterance], minutes: float) -> list[Utterance]:
    """Return at most this much audio, taken in rounds over all speakers; at least one utterance."""
    rounds: Counter[str | None] = Counter()
    numbered = []
    # Ordered by the digest of the id, so that neither the order of the ids nor that of the list matters.
    for u in sorted(utterances, key=lambda u: hashlib.blake2b(u.id.encode()).digest()):
        numbered.append((rounds[u.speaker], u))
        rounds[u.speaker] += 1
    ordered = [u for _, u in sorted(numbered, key=lambda one: one[0])]
    ends = itertools.accumulate(u.duration_seconds for u in ordered)
    return [u for number, (u, end) in enumerate(zip(ordered, ends, strict=True)) if not number or end <= 60 * minutes]


def _seconds(utterances: Sequence[Utterance]) -> float:
    return sum(u.duration_seconds for u in utterances)


def _entropy(p: Tensor) -> Tensor:
    """Return the entropy in bits over the last axis."""
    bits: Tensor = -torch.xlogy(p, p).sum(-1) / torch.log(torch.tensor(2.0, dtype=p.dtype))
    return bits
