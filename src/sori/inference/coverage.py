"""Choose utterances that together cover the sounds and the speakers of a corpus.

Wei, Liu, Kirchhoff, Bilmes 2014 (Submodular subset selection for large-scale speech training data): the value of a set
is a weighted sum, over features, of the square root of how often the set has the feature. What is rare in the set is
worth most, so the greedy choice covers first and then fills up in balance. Features are units, frequent pairs of
units, and seconds of each speaker.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
FLATTEN = 0.25
"""Exponent of the weight of a feature on its frequency. With 0.5 the best set would have the frequencies of the corpus,
with 0 all features equally often; this is between them."""
DUPLICATE_SIMILARITY = 0.55
"""Cosine of the pair counts above which two utterances are taken for the same recording, at another level or in another
format. On LibriSpeech, copies at half the level have 0.82 or more, copies in MP3 or Ogg 0.56 or more, and 999 of 1,000
pairs of different utterances of a speaker less than 0.51. The same words spoken once more are not that similar."""
_COMPARED = 1_000
"""Pairs of utterances that show how similar different ones are."""
_MOST_PAIRS = 5_000


class Gain(NamedTuple):
    """What an utterance added to the set when it was chosen."""

    row: int
    """Number of the utterance."""
    new_units: int
    """Units that no utterance of the set had before."""
    new_pairs: int
    """Pairs of units that no utterance of the set had before."""
    speaker_seconds: float
    """Seconds of its speaker that were in the set before."""


class Features(NamedTuple):
    """Sparse counts of units and pairs, `utterance feature`, row by row."""

    starts: Ints
    """Where each row begins in `columns` and `counts`, and the end."""
    columns: Ints
    counts: Floats
    num_units: int
    """Columns below this are units, the others pairs."""
    num_columns: int

    def row(self, number: int) -> tuple[Ints, Floats]:
        """Return columns and counts of one utterance."""
        part = slice(self.starts[number], self.starts[number + 1])
        return self.columns[part], self.counts[part]


def count_features(sequences: Sequence[Sequence[NDArray[np.int32]]]) -> Features:
    """Count the units and the frequent pairs of neighbouring units in utterances.

    Args:
        sequences: for each utterance, its units in order, without repetitions, once for each codebook group.
    """
    num_groups = max((len(groups) for groups in sequences), default=0)
    most = 1 + max((int(units.max()) for groups in sequences for units in groups if len(units)), default=0)
    rows, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for row, groups in enumerate(sequences):
        for group, units in enumerate(groups):
            ids = units.astype(np.int64) + group * most
            pairs = num_groups * most + ids[:-1] * most + units[1:]
            keys += [ids, pairs]
            rows.append(np.full(len(ids) + len(pairs), row))
    names, columns = np.unique(np.concatenate(keys), return_inverse=True)
    totals = np.bincount(columns, minlength=len(names))
    num_units = int(np.searchsorted(names, num_groups * most))
    pairs_by_count = num_units + np.argsort(-totals[num_units:], kind="stable")
    kept = np.sort(np.concatenate([np.arange(num_units), pairs_by_count[:_MOST_PAIRS]]))
    place = np.full(len(names), -1)
    place[kept] = np.arange(len(kept))
    row_of, column_of = np.concatenate(rows), place[columns]
    width = max(1, len(kept))
    cells, counts = np.unique((row_of * width + column_of)[column_of >= 0], return_counts=True)
    starts = np.searchsorted(cells, np.arange(len(sequences) + 1) * width)
    return Features(starts, cells % width, counts.astype(np.float64), num_units, len(kept))


@final
class Coverage:
    """A growing set of utterances and its value.

    Args:
        features: counts of units and pairs of all utterances.
        seconds: length of each utterance.
        speakers: speaker of each utterance; None: unknown.
        budget_seconds: intended length of the set. Features that a random set of this length would rarely have, and
            that few utterances have, count little.
    """

    def __init__(
        self, features: Features, seconds: Floats, speakers: Sequence[str | None], *, budget_seconds: float
    ) -> None:
        self._features, self._seconds, self._speakers = features, seconds, speakers
        totals = np.bincount(features.columns, features.counts, minlength=features.num_columns)
        expected = totals * budget_seconds / max(1.0, float(seconds.sum()))
        self._weights = np.where(expected >= 1, expected**FLATTEN, 0.0)
        for part in (slice(0, features.num_units), slice(features.num_units, None)):
            whole = float((self._weights[part] * np.sqrt(expected[part])).sum())
            self._weights[part] /= max(whole, 1e-9)
        self._counts = np.zeros(features.num_columns)
        known = {speaker for speaker in speakers if speaker is not None}
        self._of_speaker = dict.fromkeys(known, 0.0)
        self._speaker_weight = 1 / np.sqrt(max(1, len(known)) * budget_seconds)
        utterances_with = np.bincount(features.columns, minlength=features.num_columns)
        rarity = np.log1p(len(seconds) / np.maximum(1, utterances_with))
        rarity[: features.num_units] = 0.0
        self._rarity = rarity
        self._duplicate_similarity = self._limit()
        self._chosen: list[int] = []
        self._postings: dict[int, list[tuple[int, float]]] = {}

    def add(self, row: int) -> Gain:
        """Add an utterance to the set, and return what it added."""
        columns, counts = self._features.row(row)
        new = columns[(self._counts[columns] == 0) & (self._weights[columns] > 0)]
        self._counts[columns] += counts
        speaker = self._speakers[row]
        before = 0.0 if speaker is None else self._of_speaker[speaker]
        if speaker is not None:
            self._of_speaker[speaker] = before + float(self._seconds[row])
        for column, value in zip(columns.tolist(), self._direction(row).tolist(), strict=True):
            if value > 0:
                self._postings.setdefault(column, []).append((len(self._chosen), value))
        self._chosen.append(row)
        num_units = int((new < self._features.num_units).sum())
        return Gain(row, num_units, len(new) - num_units, before)

    def gain(self, row: int) -> float:
        """Return the increase of the value by an utterance, for each second of it."""
        columns, counts = self._features.row(row)
        now = self._counts[columns]
        gain = float((self._weights[columns] * (np.sqrt(now + counts) - np.sqrt(now))).sum())
        seconds, speaker = float(self._seconds[row]), self._speakers[row]
        if speaker is not None:
            has = self._of_speaker[speaker]
            gain += float(self._speaker_weight * (np.sqrt(has + seconds) - np.sqrt(has)))
        return gain / max(seconds, 1e-3)

    def is_near_duplicate(self, row: int) -> bool:
        """Return whether an utterance of the set has nearly the same pairs of units."""
        similar = np.zeros(len(self._chosen))
        columns, _ = self._features.row(row)
        for column, value in zip(columns.tolist(), self._direction(row).tolist(), strict=True):
            for number, other in self._postings.get(column, ()):
                similar[number] += value * other
        return bool(len(similar)) and float(similar.max()) > self._duplicate_similarity

    def _limit(self) -> float:
        """Return the similarity of duplicates: with few units, different utterances are similar as well."""
        num = len(self._seconds)
        if num < 2:
            return DUPLICATE_SIMILARITY
        pairs = np.random.default_rng(0).integers(0, num, (_COMPARED, 2))
        similar = []
        for one, other in pairs[pairs[:, 0] != pairs[:, 1]].tolist():
            (ours, _), (theirs, _) = self._features.row(one), self._features.row(other)
            _, here, there = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
            similar.append(float(self._direction(one)[here] @ self._direction(other)[there]))
        usual = float(np.quantile(similar, 0.9))
        return max(DUPLICATE_SIMILARITY, (1 + usual) / 2)

    def _direction(self, row: int) -> Floats:
        """Return the counts of pairs as a unit vector, rare pairs with more weight."""
        columns, counts = self._features.row(row)
        weighted = counts * self._rarity[columns]
        length = float(np.linalg.norm(weighted))
        return weighted / length if length > 0 else weighted


def choose_greedily(
    coverage: Coverage,
    candidates: Collection[int],
    seconds: Floats,
    *,
    budget_seconds: float,
    factors: Mapping[int, float] | None = None,
) -> Iterator[Gain]:
    """Add candidates to a set, each time the one with the highest gain per second, until the set is full.

    A gain never grows with the set, so only the candidates that were best before are computed again.

    Args:
        coverage: the set, which may have utterances already.
        candidates: numbers of the utterances to choose from; of equal gains, the first is chosen.
        seconds: length of each utterance.
        budget_seconds: maximum length of what is chosen.
        factors: factor on the gain of each candidate; None: 1.

    Yields:
        The chosen utterances in order.
    """

    def value(row: int) -> float:
        return coverage.gain(row) * (1.0 if factors is None else factors[row])

    left = budget_seconds
    waiting = [(-value(row), place, row) for place, row in enumerate(candidates)]
    heapq.heapify(waiting)
    while waiting:
        _, place, row = heapq.heappop(waiting)
        if seconds[row] > left + 1e-9:
            continue
        now = -value(row)
        if waiting and (now, place) > waiting[0][:2]:
            heapq.heappush(waiting, (now, place, row))
            continue
        if coverage.is_near_duplicate(row):
            continue
        left -= float(seconds[row])
        yield coverage.add(row)
