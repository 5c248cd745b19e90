"""Which transcribed utterances a recogniser is trained on: a labelled subset, and the check that each can be learnt.

CTC needs a frame for each label and one more between equal neighbours. An utterance that is too short for its
transcript has an infinite loss; here it is found, named and left out before training.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from sori.core.seeds import derive
from sori.data.manifest import Utterance
from sori.text.vocabulary import Vocabulary, describe


class Labelled(NamedTuple):
    """An utterance with the classes of its transcript."""

    utterance: Utterance
    labels: list[int]


class Unusable(NamedTuple):
    """An utterance that cannot be trained on, and why."""

    utterance: Utterance
    reason: str


class Labels(NamedTuple):
    """Every utterance that was looked at, in one of two lists."""

    usable: list[Labelled]
    unusable: list[Unusable]


def choose_minutes(utterances: Sequence[Utterance], minutes: float, *, seed: int) -> list[Utterance]:
    """Transcribed utterances of so many minutes in all, from as many speakers as possible.

    Rounds over all speakers in random order, one random utterance of each in turn, until the next would be too much. An
    utterance without a speaker counts as a speaker of its own. With one seed, a smaller choice is the beginning of a
    larger one.

    Args:
        utterances: those without a transcript are passed over.
        minutes: the result is at most this long, and less by at most one utterance.
        seed: another seed, another choice; the order of `utterances` does not matter.

    Raises:
        ValueError: if fewer minutes are transcribed.
    """
    transcribed = sorted((u for u in utterances if u.text and u.text.strip()), key=lambda u: u.id)
    available = sum(u.duration_seconds for u in transcribed) / 60
    if available < minutes:
        raise ValueError(
            f"expected {minutes:g} min of transcribed speech, got {available:.1f} min in {len(transcribed)} utterances "
            f"({len(utterances) - len(transcribed)} more have no transcript); ask for fewer minutes or transcribe more"
        )
    generator = torch.Generator().manual_seed(derive(seed, "labelled subset"))
    by_speaker: dict[str, list[Utterance]] = {}
    for number in torch.randperm(len(transcribed), generator=generator).tolist():
        utterance = transcribed[number]
        by_speaker.setdefault(utterance.speaker or f"\0{utterance.id}", []).append(utterance)
    chosen: list[Utterance] = []
    seconds = 0.0
    while by_speaker:
        speakers = sorted(by_speaker)
        for number in torch.randperm(len(speakers), generator=generator).tolist():
            utterance = by_speaker[speakers[number]].pop()
            seconds += utterance.duration_seconds
            if seconds > minutes * 60 + 1e-6:
                return chosen
            chosen.append(utterance)
        by_speaker = {speaker: left for speaker, left in by_speaker.items() if left}
    return chosen


def label(
    utterances: Sequence[Utterance], vocabulary: Vocabulary, *, num_frames: Callable[[int], int], field_samples: int
) -> Labels:
    """Encode transcripts and sort out what CTC cannot learn from, each with its reason.

    Left out: no transcript; nothing left of it after normalisation; symbols that the vocabulary lacks; audio shorter
    than one frame; fewer frames than labels and adjacent repeats (usually a transcript of another recording, or a cut
    at the wrong place).

    Args:
        utterances: of any kind.
        vocabulary: fitted on the training transcripts.
        num_frames: class distributions that the recogniser emits for so many samples (at least `field_samples`).
        field_samples: samples that one frame needs.
    """
    result = Labels([], [])
    for utterance in utterances:
        symbols = vocabulary.split(utterance.text or "")
        if reason := _reason(utterance, symbols, vocabulary, num_frames, field_samples):
            result.unusable.append(Unusable(utterance, reason))
        else:
            result.usable.append(Labelled(utterance, vocabulary.encode(utterance.text or "")))
    return result


def num_required_frames(labels: Sequence[int] | Sequence[str]) -> int:
    """Fewest frames that can carry the labels: one each, and a blank between equal neighbours."""
    return len(labels) + sum(one == other for one, other in itertools.pairwise(labels))


def _reason(
    utterance: Utterance,
    symbols: list[str],
    vocabulary: Vocabulary,
    num_frames: Callable[[int], int],
    field_samples: int,
) -> str | None:
    if utterance.text is None:
        return "no transcript"
    if not symbols:
        return f"nothing left of the transcript {utterance.text!r} after normalisation"
    if missing := vocabulary.unknown(utterance.text):
        return f"symbols that the vocabulary lacks: {', '.join(map(describe, missing))}"
    if utterance.num_samples < field_samples:
        return f"shorter than one frame: {utterance.num_samples} samples of {field_samples}"
    available, required = num_frames(utterance.num_samples), num_required_frames(symbols)
    if available < required:
        return (
            f"too short for its transcript: {available} frames for {len(symbols)} labels and "
            f"{required - len(symbols)} repeats ({utterance.duration_seconds:.2f} s, {len(symbols)} symbols)"
        )
    return None
