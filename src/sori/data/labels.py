"""Select the transcribed utterances for a recogniser: choose a labelled subset, and check that CTC can learn from each.

CTC needs a frame for each label and one more between equal adjacent labels. An utterance that is too short for its
transcript has an infinite loss; it is reported and left out before training.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sori.core.audio import SAMPLE_RATE
from sori.core.log import logger
from sori.core.seeds import derive
from sori.data.table_file import Categories
from sori.data.utterance import Utterance
from sori.data.utterance_columns import categories_of, chosen, num_samples_of, order_of_ids, with_text
from sori.text.normalise import Casing, casing_of_language
from sori.text.vocabulary import Vocabulary, describe

MACHINE = "machine"
"""Split of utterances whose text a recogniser has written (self-training)."""


class Labelled(NamedTuple):
    """An utterance with the classes of its transcript."""

    utterance: Utterance
    labels: list[int]


class Unusable(NamedTuple):
    """An utterance that cannot be trained on, and why."""

    utterance: Utterance
    reason: str


class Labels(NamedTuple):
    """All utterances that were checked, in one of two lists."""

    usable: list[Labelled]
    unusable: list[Unusable]


def choose_minutes(utterances: Sequence[Utterance], minutes: float, *, seed: int) -> Sequence[Utterance]:
    """Choose transcribed utterances of a given total duration, from as many speakers as possible.

    In each round, one random utterance of each speaker is chosen, speakers in random order, until the next utterance
    would exceed the limit. An utterance without a speaker counts as a separate speaker. With the same seed, a smaller
    choice is the beginning of a larger one.

    Args:
        utterances: those without a transcript are ignored.
        minutes: upper limit of the total duration; the result is shorter by less than one utterance.
        seed: decides the choice, which does not depend on the order of `utterances`.

    Raises:
        ValueError: fewer minutes are transcribed, or not even the first utterance fits.
    """
    transcribed = with_text(utterances)
    samples = num_samples_of(transcribed)
    available = int(samples.sum()) / SAMPLE_RATE / 60
    if available < minutes * (1 - 1e-9):  # the caller may have summed seconds
        raise ValueError(
            f"expected {minutes:g} min of transcribed speech, got {available:.1f} min in {len(transcribed)} utterances "
            f"({len(utterances) - len(transcribed)} more have no transcript); choose fewer minutes or transcribe more"
        )
    generator = torch.Generator().manual_seed(derive(seed, "labelled subset"))
    # Utterances of each speaker in random order; each round takes the last one left.
    rows = order_of_ids(transcribed)
    shuffled = torch.randperm(len(rows), generator=generator).numpy()
    speaker = _speaker_ranks(categories_of(transcribed, "speaker"), rows)[shuffled]
    rows = rows[shuffled][np.argsort(speaker, kind="stable")]
    counts = np.bincount(speaker)
    ends = np.cumsum(counts)
    chosen_rows: list[int] = []
    seconds = 0.0
    for turn in range(int(counts.max(initial=0))):
        left = np.flatnonzero(counts > turn)
        turns = rows[ends[left[torch.randperm(len(left), generator=generator).numpy()]] - 1 - turn]
        totals = np.cumsum([seconds, *(samples[turns] / SAMPLE_RATE)])[1:]
        fitting = int(np.searchsorted(totals, minutes * 60 + 1e-6, side="right"))
        chosen_rows += turns[:fitting].tolist()
        if fitting < len(turns):
            break
        seconds = float(totals[-1])
    if transcribed and not chosen_rows:
        raise ValueError(
            f"expected a limit that at least one utterance fits in, got {minutes:g} min ({minutes * 60:g} s), and the "
            f"first choice is longer (the shortest has {samples.min() / SAMPLE_RATE:.1f} s); choose more minutes"
        )
    return chosen(transcribed, np.array(chosen_rows, dtype=np.int64))


def _speaker_ranks(speakers: Categories, rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the place of each row's speaker in the order of names; rows without a speaker come first, one by one."""
    codes, names = speakers
    place = {code: n for n, code in enumerate(sorted(range(len(names)), key=lambda code: names[code] or ""))}
    named = np.array([bool(name) for name in names])[codes[rows]]
    ranks = np.array([place[code] for code in range(len(names))])[codes[rows]] + len(rows)
    ranks[~named] = np.arange(len(rows))[~named]
    found: NDArray[np.int64] = np.unique(ranks, return_inverse=True)[1]
    return found


def choose_casing(utterances: Sequence[Utterance], setting: Literal["language", "root", "turkic"]) -> Casing:
    """Return the rules of case for some transcripts; warns where they are unclear.

    Args:
        utterances: transcribed utterances.
        setting: `language`: Turkic if all utterances are in such a language; else the rules themselves.
    """
    if setting != "language":
        return setting
    counts = Counter(casing_of_language(u.language) for u in utterances)
    if not counts:
        return "root"
    if len(counts) == 1:
        (casing,) = counts
        if casing == "root" and (example := next((u for u in utterances if _has_dotless_i(u.text or "")), None)):
            logger.warning(
                f"{example.id} has İ or ı, and the language is not given as one that has these letters: I becomes i, "  # noqa: RUF001 - Turkish
                "İ becomes i and a dot. For Turkish or Azerbaijani, run `sori prepare` with --language tur or aze, or "
                "train with --labels.casing turkic"
            )
        return casing
    logger.warning(
        f"{counts['turkic']} of {len(utterances)} transcripts are in Turkish or a language with the same letters: all "
        "are changed to one case by the rules of the others, I to i. Train on one language, write these transcripts "
        "in lower case, or use --labels.casing turkic"
    )
    return "root"


def _has_dotless_i(text: str) -> bool:
    return "İ" in text or "ı" in text  # noqa: RUF001 - Turkish


def label(
    utterances: Sequence[Utterance], vocabulary: Vocabulary, *, num_frames: Callable[[int], int], field_samples: int
) -> Labels:
    """Encode transcripts, and leave out what CTC cannot learn from, each with the reason.

    Left out: no transcript; transcript empty after normalisation; symbols that are not in the vocabulary; audio
    shorter than one frame; fewer frames than labels and adjacent repeats (usually the transcript of another recording,
    or a wrong cut).

    Args:
        utterances: with or without transcripts.
        vocabulary: fitted on the training transcripts.
        num_frames: from number of samples (at least `field_samples`) to number of frames that the recogniser outputs.
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
    """Return the minimum number of frames for some labels: one each, and a blank between equal adjacent labels."""
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
        return f"transcript {utterance.text!r} is empty after normalisation"
    if missing := vocabulary.unknown(utterance.text):
        return f"symbols that are not in the vocabulary: {', '.join(map(describe, missing))}"
    if utterance.num_samples < field_samples:
        return f"shorter than one frame: {utterance.num_samples} samples, one frame needs {field_samples}"
    available, required = num_frames(utterance.num_samples), num_required_frames(symbols)
    if available < required:
        return (
            f"too short for its transcript: {available} frames for {len(symbols)} labels and "
            f"{required - len(symbols)} repeats ({utterance.duration_seconds:.2f} s, {len(symbols)} symbols)"
        )
    return None
