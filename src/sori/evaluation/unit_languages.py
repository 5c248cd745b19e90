"""Which discrete sounds a language uses: the codes of a quantiser, counted by language (arXiv 2006.13979, figure 2).

A language is counted in two halves of different speakers, where it has several. How far the halves are from each other
tells how much of a distance between two languages is only speakers, recordings and too little audio.
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


class CodeUse(NamedTuple):
    """Codes counted by language."""

    names: tuple[str, ...]
    """Of the languages, in alphabetical order."""
    counts: Int[Tensor, "language half group code"]
    """Frames that chose each code."""

    @property
    def distances(self) -> Float[Tensor, "half other_half"]:
        """Between all halves, both of the first language first: 0 for equal use, 1 for not a code in common.

        The square root of the Jensen-Shannon divergence in bits, averaged over the groups: a metric.
        """
        counts = self.counts.flatten(0, 1).double()
        p = counts / counts.sum(-1, keepdim=True)
        middle = (p[:, None] + p[None]) / 2
        bits = _entropy(middle) - (_entropy(p)[:, None] + _entropy(p)[None]) / 2
        return bits.mean(-1).clamp(min=0).sqrt()

    @property
    def between(self) -> Float[Tensor, "language other_language"]:
        """Mean distance of a half of one language from a half of the other; on the diagonal, of a language's halves."""
        num = len(self.names)
        blocks = self.distances.view(num, 2, num, 2).transpose(1, 2)
        between: Tensor = blocks.mean((2, 3))
        between.diagonal().copy_(blocks[range(num), range(num), 0, 1])
        return between

    @property
    def owned(self) -> Float[Tensor, "language group code"]:
        """Share of each language in the use of each code, all languages counted alike; 0 for an unused code."""
        counts = self.counts.sum(1).double()
        shares = counts / counts.sum(-1, keepdim=True)
        owned: Tensor = shares / shares.sum(0).clamp(min=torch.finfo(torch.double).tiny)
        return owned

    @property
    def num_owned(self) -> list[int]:
        """Codes that each language uses more than all others together."""
        return (self.owned > 0.5).sum((1, 2)).tolist()


def code_use(
    codes: Callable[[Float[Tensor, "batch sample"]], Int[Tensor, "batch frame group"]],
    utterances: Sequence[Utterance],
    *,
    num_codes: int,
    minutes: float,
    shortest: int,
) -> CodeUse:
    """Count codes by language.

    Args:
        codes: of the frames of one utterance.
        utterances: that tell their language; others are left out.
        num_codes: of each group.
        minutes: of audio of each language at most, from as many speakers as possible.
        shortest: samples; shorter utterances are left out.

    Raises:
        ValueError: there are not two utterances each of at least two languages.
    """
    of_language: dict[str, list[Utterance]] = {}
    for u in utterances:
        if u.language is not None and u.num_samples >= shortest:
            of_language.setdefault(u.language, []).append(u)
    enough = {name: found for name, found in of_language.items() if len(found) > 1}
    if len(enough) < 2:
        found = ", ".join(f"{len(one)} of {name}" for name, one in sorted(of_language.items())) or "none"
        raise ValueError(
            f"expected two utterances or more of two languages or more, got {found} (and {len(utterances)} in all); "
            "likely the folders were prepared without `--language CODE`, or only one of them was given"
        )
    names = tuple(sorted(enough))
    counts = []
    for name in names:
        for whole in halves(enough[name]):
            half = _at_most(whole, minutes / 2)
            reader = FileReader(half)
            heard = [codes(reader(row, 0, u.num_samples)[None])[0] for row, u in enumerate(half)]
            counts.append(functional.one_hot(torch.cat(heard), num_codes).sum(0))
    return CodeUse(names, torch.stack(counts).view(len(names), 2, *counts[0].shape))


def halves(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Two halves of like length, of different speakers where more than one is known."""
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
    """In rounds over all speakers; at least one."""
    rounds: Counter[str | None] = Counter()
    numbered = []
    # Names are shuffled by their digest, so that neither their order nor that of the list matters.
    for u in sorted(utterances, key=lambda u: hashlib.blake2b(u.id.encode()).digest()):
        numbered.append((rounds[u.speaker], u))
        rounds[u.speaker] += 1
    ordered = [u for _, u in sorted(numbered, key=lambda one: one[0])]
    ends = itertools.accumulate(u.duration_seconds for u in ordered)
    return [u for number, (u, end) in enumerate(zip(ordered, ends, strict=True)) if not number or end <= 60 * minutes]


def _seconds(utterances: Sequence[Utterance]) -> float:
    return sum(u.duration_seconds for u in utterances)


def _entropy(p: Tensor) -> Tensor:
    """In bits, over the last axis."""
    bits: Tensor = -torch.xlogy(p, p).sum(-1) / torch.log(torch.tensor(2.0, dtype=p.dtype))
    return bits
