"""Units of a corpus as the unit explorer shows them: combinations of codebook entries, and the entries of each group.

A unit of a model with several codebook groups is the combination of one entry of each group. The combinations are the
words of the text that BERT is trained on (Baevski et al. 2020, arXiv 1910.05453, section 4), and the quantised vectors
that wav2vec 2.0 predicts (arXiv 2006.11477, section 2). Which entries are unused, and which are alike, is a property of
each group, so the entries of every group are another view.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.shapes import Float, Tensor
from sori.data.manifest import Utterance
from sori.data.sources.alignments import Alignment, is_silence
from sori.data.sources.intervals import Interval, labels_at
from sori.evaluation.representations import Timing
from sori.evaluation.unit_statistics import Integers, labels_of_units, stretches_of, unit_statistics
from sori.inference.unit_sequences import of_frames
from sori.models.encoders import Quantizing
from sori.plots.units_page import UnitView

SILENCE = "silence"
"""Label of all silences and noises."""
LONGEST_PHONE_SECONDS = 0.5
"""Longer phones are left out, as in `sori probe`: in forced alignments they are mostly errors."""
_LISTED_CONTEXTS = 6
_MOST_UNUSED = 2_000
"""Unused units are listed if there are at most this many units: the entries of a group, but not all combinations."""


class Corpus(NamedTuple):
    """Utterances that could be read, with their units."""

    utterances: list[Utterance]
    units: list[NDArray[np.int32]]
    """`frame group` of each utterance."""
    timing: Timing
    intervals: list[list[Interval]]
    """Phones of each utterance, without those that are left out."""
    phones: list[str]
    """Names of the phones and of silence, if it occurs; empty without alignments."""
    speakers: list[str]
    languages: list[str]

    @property
    def lengths(self) -> Integers:
        """Return the number of frames of each utterance."""
        return np.array([len(one) for one in self.units], dtype=np.int64)

    @property
    def phones_of_frames(self) -> Integers:
        """Return the number of the phone at the middle of each frame, one utterance after the other; -1 for none."""
        index = {name: number for number, name in enumerate(self.phones)}
        parts = [
            labels_at(row, self.timing.middles(len(units)), index)
            for row, units in zip(self.intervals, self.units, strict=True)
        ]
        return np.concatenate(parts)

    def of_frames(self, names: Sequence[str], values: Sequence[str | None]) -> Integers:
        """Return for each frame the number of the value of its utterance; -1 for none."""
        index = {name: number for number, name in enumerate(names)}
        numbers = np.array([-1 if one is None else index[one] for one in values], dtype=np.int64)
        return np.repeat(numbers, self.lengths)


def read_corpus(
    encoder: Quantizing, utterances: Sequence[Utterance], alignments: Sequence[Alignment | None] | None
) -> Corpus:
    """Compute the units of utterances; those that cannot be read are left out with a warning.

    Args:
        encoder: encoder with a quantiser.
        utterances: utterances to read.
        alignments: phones of each utterance, in seconds from its beginning; None: there are none.

    Raises:
        ValueError: no utterance could be read.
    """
    kept, units, intervals = list[Utterance](), list[NDArray[np.int32]](), list[list[Interval]]()
    known = alignments or [None] * len(utterances)
    for one, alignment, found in zip(utterances, known, of_frames(encoder, utterances), strict=True):
        if found is not None:
            kept.append(one)
            units.append(found)
            intervals.append([] if alignment is None else list(_usable(alignment)))
    if not kept:
        raise ValueError(
            f"expected utterances of {encoder.field_samples} samples or more that can be read, got none of "
            f"{len(utterances):,}; see the warnings above for the reasons"
        )
    return Corpus(
        kept,
        units,
        Timing(encoder.hop_samples, encoder.field_samples),
        intervals,
        sorted({interval.label for row in intervals for interval in row}),
        sorted({one.speaker for one in kept if one.speaker is not None}),
        sorted({one.language for one in kept if one.language is not None}),
    )


def _usable(alignment: Alignment) -> Iterator[Interval]:
    for one in alignment.phones:
        if is_silence(one.label):
            yield one._replace(label=SILENCE)
        elif one.seconds <= LONGEST_PHONE_SECONDS:
            yield one


class Numbered(NamedTuple):
    """Units of all frames, numbered in one of the views."""

    groups: tuple[int, ...]
    """Codebook groups that a unit consists of."""
    frames: Integers
    """Unit of each frame, one utterance after the other."""
    entries: NDArray[np.int32]
    """`unit group`: codebook entries of each unit that occurs; units are numbered by the rows."""


def numbered(corpus: Corpus) -> list[Numbered]:
    """Number the combinations of entries, and, if there are several groups, the entries of each group."""
    every = np.concatenate(corpus.units)
    num_groups = every.shape[1]
    single = [(group,) for group in range(num_groups)] if num_groups > 1 else []
    found = []
    for groups in [tuple(range(num_groups)), *single]:
        entries, frames = np.unique(every[:, groups], axis=0, return_inverse=True)
        found.append(Numbered(groups, frames.reshape(-1).astype(np.int64), entries))
    return found


def view_of(corpus: Corpus, units: Numbered, codebook: Float[Tensor, "group entry dim"]) -> UnitView:
    """Count the units of one view.

    Args:
        corpus: from `read_corpus`.
        units: from `numbered`.
        codebook: entries of the quantiser; one group if all share them.
    """
    parts = np.split(units.frames, np.cumsum(corpus.lengths)[:-1])
    counts = unit_statistics(stretches_of(parts), num_contexts=_LISTED_CONTEXTS)
    num_groups, num_codes = corpus.units[0].shape[1], codebook.shape[1]

    def table(labels: Integers, names: Sequence[str]) -> Integers:
        return labels_of_units(counts.units, units.frames, labels, num_labels=len(names))

    num_possible = num_codes ** len(units.groups)
    used = set(units.entries[:, 0].tolist())
    is_listed = num_possible <= _MOST_UNUSED and len(units.groups) == 1
    speakers = corpus.of_frames(corpus.speakers, [one.speaker for one in corpus.utterances])
    languages = corpus.of_frames(corpus.languages, [one.language for one in corpus.utterances])
    book = codebook.numpy()
    entries = [book[group % len(book)][units.entries[:, place]] for place, group in enumerate(units.groups)]
    name, note = _described(units.groups, num_groups)
    return UnitView(
        name=name,
        note=note,
        labels=["-".join(map(str, one)) for one in units.entries.tolist()],
        num_frames=counts.num_frames,
        num_stretches=counts.num_stretches,
        before=counts.before,
        after=counts.after,
        phones=table(corpus.phones_of_frames, corpus.phones),
        speakers=table(speakers, corpus.speakers),
        languages=table(languages, corpus.languages),
        vectors=np.concatenate(entries, axis=1),
        num_possible=num_possible,
        unused=[str(entry) for entry in range(num_codes) if entry not in used] if is_listed else [],
    )


def _described(groups: tuple[int, ...], num_groups: int) -> tuple[str, str]:
    if num_groups == 1:
        return "codebook entries", "A unit is a codebook entry."
    if len(groups) == 1:
        return f"entries of group {groups[0] + 1}", f"A unit is an entry of codebook group {groups[0] + 1}."
    return "combinations", f"A unit is a combination of {num_groups} entries, one of each codebook group."
