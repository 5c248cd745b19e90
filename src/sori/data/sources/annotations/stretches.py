"""Annotated stretches of a recording, and the choice of the tiers that contain them."""

from collections.abc import Sequence
from typing import NamedTuple

PAUSE_SECONDS = 0.8
"""Gap that separates two utterances in a tier of words; `sori transcribe` separates them likewise."""
_LONGEST_SECONDS = 20.0
"""Longer utterances of a tier of words are divided at their longest gaps."""

_TRANSCRIPTS = (
    *("transcription", "transcript", "transcripts", "utterances", "utterance", "orthography", "orthographic", "ort"),
    *("tx", "txt", "text", "phrases", "phrase", "sentences", "sentence"),
)
"""Usual names of tiers and tier types with transcripts, in lower case; the first one that occurs is used."""
WORDS = ("words", "word", "wrd")
_NO_TRANSCRIPTS = ("ref", "id", "reference", "phones", "phone", "phonemes", "mau", "kan", "segments", "notes", "note")


class Stretch(NamedTuple):
    """An annotated stretch of a recording."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    text: str
    """Empty: speech without a transcript."""
    speaker: str | None = None


class Annotation(NamedTuple):
    """The content of an annotation file."""

    stretches: list[Stretch]
    tiers: tuple[str, ...] = ()
    """Names of the tiers that were read, for formats with tiers."""
    media: tuple[str, ...] = ()
    """File names of the recording, if the format has them."""
    num_ignored: int = 0
    """Annotations without times."""


class Tier(NamedTuple):
    """What is known about a tier before it is chosen."""

    name: str
    kind: str = ""
    """Type of an ELAN tier."""
    speaker: str | None = None
    is_root: bool = True
    """Whether its annotations have times of their own, not through another tier."""

    @property
    def base(self) -> str:
        """Return the name without the speaker, in lower case: `tx` of `tx@Anna`, `words` of `Anna - words`."""
        return self.name.split("@")[0].rsplit(" - ", 1)[-1].strip().lower()


class NoTierError(ValueError):
    """A file has no tier of the requested name, or it is not evident which tiers contain the transcript."""


def choose_tiers(tiers: Sequence[Tier], wanted: Sequence[str]) -> list[Tier]:
    """Return the tiers with transcripts, without empty ones (which are not in `tiers`).

    Args:
        tiers: tiers that have annotations.
        wanted: names, types or speakers of tiers; empty: those with a usual name, otherwise the only top tier, or all
            top tiers if they have the same type.

    Raises:
        NoTierError: none of the tiers is wanted, or the choice is not evident.
    """
    listed = ", ".join(f"{tier.name!r}" + (f" (type {tier.kind})" if tier.kind else "") for tier in tiers) or "none"
    if wanted:
        lowered = {name.lower() for name in wanted}
        chosen = [tier for tier in tiers if lowered & _names(tier)]
        if not chosen:
            raise NoTierError(f"no tier is named {' or '.join(wanted)}; the tiers with annotations are {listed}")
        return chosen
    for usual in (*_TRANSCRIPTS, *WORDS):
        chosen = [tier for tier in tiers if usual in (tier.base, tier.kind.lower())]
        if chosen:
            return chosen
    roots = [tier for tier in tiers if tier.is_root and tier.base not in _NO_TRANSCRIPTS]
    if len(roots) == 1 or (len({tier.kind for tier in roots}) == 1 and roots[0].kind):
        return roots
    raise NoTierError(
        f"it is not evident which tier contains the transcript; the tiers with annotations are {listed}: choose with "
        "--tier NAME, a name, type or speaker of tiers"
    )


def _names(tier: Tier) -> set[str]:
    return {tier.name.lower(), tier.base, tier.kind.lower(), (tier.speaker or "").lower()} - {""}


def speaker_of(tier: Tier, num_chosen: int) -> str | None:
    """Return the speaker of a tier: stated, or part of its name; of several tiers without either, the name."""
    if tier.speaker:
        return tier.speaker
    for separator, part in (("@", 1), (" - ", 0)):
        if separator in tier.name:
            return tier.name.split(separator, 1)[part].strip() or None
    return tier.name if num_chosen > 1 else None


def join_words(words: Sequence[Stretch]) -> list[Stretch]:
    """Join the words of one speaker to utterances at pauses of `PAUSE_SECONDS`; long ones are divided at their gaps."""
    groups: list[list[Stretch]] = []
    for word in sorted(words, key=lambda word: (word.start, word.end)):
        if groups and word.start - groups[-1][-1].end < PAUSE_SECONDS:
            groups[-1].append(word)
        else:
            groups.append([word])
    divided = [part for group in groups for part in _divide(group)]
    return [
        Stretch(group[0].start, group[-1].end, " ".join(word.text for word in group if word.text), group[0].speaker)
        for group in divided
    ]


def _divide(words: list[Stretch]) -> list[list[Stretch]]:
    waiting, done = [words], []
    while waiting:
        group = waiting.pop()
        if len(group) == 1 or group[-1].end - group[0].start <= _LONGEST_SECONDS:
            done.append(group)
            continue
        middle = (group[0].start + group[-1].end) / 2
        # the longest gap; of equal ones (words that touch), the one nearest to the middle
        best = max(
            range(1, len(group)),
            key=lambda n: (round(group[n].start - group[n - 1].end, 3), -abs(group[n].start - middle)),
        )
        waiting += [group[best:], group[:best]]
    return done
