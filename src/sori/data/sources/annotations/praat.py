"""Read the transcript tiers of Praat's TextGrids.

A TextGrid has an interval for every moment, so an interval without a label, or with the label of silence of a common
aligner, is no annotated stretch. A tier of words is joined to utterances.
"""

from collections.abc import Sequence
from pathlib import Path

from sori.data.sources.alignments import is_silence
from sori.data.sources.annotations.stretches import (
    WORDS,
    Annotation,
    Stretch,
    Tier,
    choose_tiers,
    join_words,
    speaker_of,
)
from sori.data.sources.textgrid import read_textgrid


def read_praat(path: Path, wanted: Sequence[str]) -> Annotation:
    """Read the transcript tiers of a TextGrid.

    Args:
        path: the file.
        wanted: names of tiers, or of speakers in names such as `Anna - words`; empty: see `choose_tiers`.

    Raises:
        NoTierError: see `choose_tiers`.
        ValueError: the file is not a TextGrid, or damaged.
    """
    tiers = {
        name: [Stretch(one.start, one.end, " ".join(one.label.split())) for one in intervals if not _is_gap(one.label)]
        for name, intervals in read_textgrid(path).items()
    }
    chosen = choose_tiers([_about(name) for name, stretches in tiers.items() if stretches], wanted)
    found: list[Stretch] = []
    for tier in chosen:
        speaker = speaker_of(tier, len(chosen))
        stretches = [one._replace(speaker=speaker) for one in tiers[tier.name]]
        found += join_words(stretches) if tier.base in WORDS else stretches
    return Annotation(sorted(found), tuple(tier.name for tier in chosen))


def _about(name: str) -> Tier:
    return Tier(name, speaker=name.split(" - ", 1)[0].strip() if " - " in name else None)


def _is_gap(label: str) -> bool:
    return is_silence(label.strip())
