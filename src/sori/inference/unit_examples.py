"""Choose examples of discrete units and cut them out of their recordings."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sori.core.audio import SAMPLE_RATE, read
from sori.core.seeds import derive
from sori.core.shapes import Float, Tensor
from sori.data.manifest import Utterance
from sori.evaluation.unit_statistics import Integers, Stretches
from sori.inference.unit_views import SILENCE, Corpus
from sori.plots.units_page import Example

_CONTEXT_SECONDS = 0.2
"""Audio on both sides of a unit, which is too short to be recognised alone."""
_LONGEST_SECONDS = 0.4
"""The middle is cut out of a longer stretch, such as a silence."""
_LEVEL_SECONDS = 1.5
"""A clip is scaled by the loudest sample this near, so that silence stays silent."""
_LOUDEST = 0.8
_SHORT_SECONDS = 30.0


class Place(NamedTuple):
    """Where an example is, in seconds from the beginning of its utterance."""

    utterance: int
    start: float
    """Beginning of the unit."""
    end: float
    first: float
    """Beginning of the clip."""
    last: float


def choose(
    members: Integers, stretches: Stretches, speakers: Integers, *, num_examples: int, seed: int
) -> dict[int, tuple[int, ...]]:
    """Choose stretches as examples of the units of all views.

    At first the entries of each group, which are few, get all their examples, then every combination gets one, then the
    combinations get all, frequent units always first: the beginning of the list is the best choice of its length.
    Examples of a unit are drawn at random from its stretches, and speakers take turns. What was drawn for another
    combination or group is no random example of an entry, and is none; what was drawn for an entry is one of its
    combination.

    Args:
        members: `stretch view`: row of the unit of each stretch in each view; the first view numbers the stretches.
        stretches: stretches of the first view.
        speakers: number of the speaker of each stretch; -1 for unknown.
        num_examples: examples of each unit, if it occurs as often.
        seed: seed of the random order.

    Returns:
        Chosen stretches in order, and of which unit of each view each is an example: the row, or -1 for none.
    """
    random = np.random.default_rng(derive(seed, "unit examples")).permutation(len(stretches.units))
    views = range(members.shape[1])
    candidates = [_candidates(members[:, view], speakers, random, num_examples) for view in views]
    frequent = [
        np.argsort(-np.bincount(members[:, view], weights=stretches.lengths), kind="stable").tolist() for view in views
    ]
    order = [one for view in views[1:] for row in frequent[view] for one in candidates[view][row]]
    known = {int(members[one, 0]) for one in order}
    order += [one for row in frequent[0] if row not in known for one in candidates[0][row][:1]]
    order += [one for row in frequent[0] for one in candidates[0][row]]
    drawn = [{one for some in candidates[view] for one in some} for view in views[1:]]
    chosen = dict[int, tuple[int, ...]]()
    for one in order:
        first, *others = members[one].tolist()
        chosen[one] = (first, *(row if one in some else -1 for row, some in zip(others, drawn, strict=True)))
    return chosen


def _candidates(rows: Integers, speakers: Integers, random: Integers, most: int) -> list[list[int]]:
    """Return for each unit up to `most` stretches in random order, in which speakers take turns."""
    order = np.lexsort((random, speakers, rows))
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (rows[order][1:] != rows[order][:-1]) | (speakers[order][1:] != speakers[order][:-1])
    places = np.arange(len(order))
    turns = np.empty(len(order), dtype=np.int64)
    turns[order] = places - places[begins][np.cumsum(begins) - 1]
    order = np.lexsort((random, turns, rows))
    starts = np.searchsorted(rows[order], np.arange(int(rows.max()) + 2))
    return [order[start : min(end, start + most)].tolist() for start, end in itertools.pairwise(starts.tolist())]


def place_of(corpus: Corpus, stretches: Stretches, number: int) -> Place:
    """Return where a stretch is, and where its clip begins and ends."""
    owner, first = int(stretches.owners[number]), int(stretches.firsts[number])
    length = int(stretches.lengths[number])
    hop = corpus.timing.hop_samples / SAMPLE_RATE
    begin = (first * corpus.timing.hop_samples + corpus.timing.field_samples / 2) / SAMPLE_RATE - hop / 2
    seconds = corpus.utterances[owner].duration_seconds
    start, end = max(0.0, begin), min(seconds, begin + length * hop)
    if end - start > _LONGEST_SECONDS:
        middle = (start + end) / 2
        start, end = middle - _LONGEST_SECONDS / 2, middle + _LONGEST_SECONDS / 2
    return Place(owner, start, end, max(0.0, start - _CONTEXT_SECONDS), min(seconds, end + _CONTEXT_SECONDS))


def example_of(corpus: Corpus, place: Place, rows: tuple[int, ...]) -> Example:
    """Describe an example.

    Args:
        corpus: from `read_corpus`.
        place: from `place_of`.
        rows: row of the unit in each view.
    """
    one = corpus.utterances[place.utterance]
    phones = [
        (
            "\N{MIDDLE DOT}" if phone.label == SILENCE else phone.label,
            phone.start < place.end and phone.end > place.start,
        )
        for phone in corpus.intervals[place.utterance]
        if phone.start < place.last and phone.end > place.first
    ]
    return Example(
        utterance=one.id,
        speaker=one.speaker or "",
        language=one.language or "",
        rows=rows,
        start=place.start - place.first,
        end=place.end - place.first,
        at=place.first,
        phones=phones,
    )


class Clips:
    """The clips of examples, 16 kHz, each scaled by the loudest sample near it.

    The last short utterance is kept, because finding a place in a compressed file takes longer than anything else.
    """

    def __init__(self, utterances: Sequence[Utterance], places: Sequence[Place]) -> None:
        self.utterances, self.places = utterances, places
        self.kept: tuple[int, Float[Tensor, " sample"]] | None = None

    def __call__(self, number: int) -> Float[Tensor, " sample"]:
        """Return the clip of an example.

        Raises:
            FileNotFoundError, ValueError: the recording was removed or changed.
        """
        place = self.places[number]
        seconds = self.utterances[place.utterance].duration_seconds
        begin, end = max(0.0, place.first - _LEVEL_SECONDS), min(seconds, place.last + _LEVEL_SECONDS)
        around = self._between(place.utterance, begin, end)
        first, last = (round((at - begin) * SAMPLE_RATE) for at in (place.first, place.last))
        return _LOUDEST * around[first:last] / around.abs().max().clamp(min=1e-6)

    def _between(self, utterance: int, begin: float, end: float) -> Float[Tensor, " sample"]:
        one = self.utterances[utterance]
        if one.duration_seconds > _SHORT_SECONDS:
            return read(one.path, start=one.start + begin, duration=end - begin, channel=one.mix)
        if self.kept is None or self.kept[0] != utterance:
            self.kept = utterance, read(one.path, start=one.start, duration=one.duration_seconds, channel=one.mix)
        return self.kept[1][round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
